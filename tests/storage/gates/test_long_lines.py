"""A line of 100,000 responses: it delays no other caller, and its length costs nothing when a permit is handed on."""

from collections.abc import Awaitable
from dataclasses import replace

from shared.core.gates.plans import Changes
from shared.core.gates.state import NEXT_OF_A_LINE, Place
from tests.support.gate_processes import NAME, GateWorld, place
from tests.support.stage import Say, Stage

LENGTH = 100_000
A_TRANSACTION = 99  # beside the row of the gate


async def test_another_caller_gets_the_next_free_permit(stage: Stage, say: Say) -> None:
    """A has the only permit and 100,000 in line. B arrives, and is served before them. Then the oldest of A is."""
    world = GateWorld(stage, 1)
    await world.start(is_checked=False)
    working, *waiting = (place(number, "a") for number in range(LENGTH + 1))
    await world.ask(world.first, working)
    await _stand_in_line(world, waiting[0], waiting[1:])
    arrived = place(LENGTH + 1, "b")

    asked = await _counted(stage, world.ask(world.process(1), arrived))
    assert world.turns[arrived.id].place == 1
    handed_on = await _counted(stage, world.end(world.process(2), working))
    await world.settle()
    assert list(world.at_work) == [arrived.id]

    await world.end(world.process(0), arrived)
    await world.settle()
    assert list(world.at_work) == [waiting[0].id]

    round_ = await _counted(stage, world.first.gates.round(world.gate))
    state = await world.state()
    assert state
    assert (state.used, state.waiting) == (1, LENGTH - 1)
    assert asked <= 2, "one read and one transaction"
    assert handed_on <= 2, "one read and one transaction"
    say(f"a line of {LENGTH}: {asked} requests to enter another, {handed_on} to hand on, {round_} for a round")
    await world.stop()


async def _stand_in_line(world: GateWorld, first: Place, rest: list[Place]) -> None:
    """Let one response of a caller wait, and write the rows of the others as an agent would."""
    await world.ask(world.first, first)
    table = world.stage.gate_table
    stored = await table.read(NAME)
    for begin in range(0, len(rest), A_TRANSACTION):
        assert stored
        entering = tuple(rest[begin : begin + A_TRANSACTION])
        line = stored.state.lines[first.caller]
        line = replace(line, put=line.put + len(entering), next=(first, *rest[: NEXT_OF_A_LINE - 1]))
        state = replace(stored.state, lines={first.caller: line})
        stored = await table.commit(NAME, stored, state, Changes(waits_in=entering), f"w{begin}")


async def _counted(stage: Stage, work: Awaitable[object]) -> int:
    """Wait for a call, and return how many storage requests it made."""
    before = sum(stage.proxy.counts.values())
    await work
    return sum(stage.proxy.counts.values()) - before
