"""Gates as the flows use them: permits, turns, refusals, and what they cost."""

import asyncio

import pytest

from shared.core.gates.state import Gate, Phase, Turn
from tests.support.gate_processes import GateWorld, place


async def requests_of(world: GateWorld) -> int:
    """Return how many storage requests there were so far."""
    return sum(world.stage.proxy.counts.values())


# Permits and lines


async def test_a_limit_holds_over_all_processes(world: GateWorld) -> None:
    """Three of nine responses get a permit, whichever process asks. The others learn their places."""
    await asyncio.gather(*(world.ask(world.process(number), place(number)) for number in range(9)))
    assert len(world.at_work) == 3
    assert {turn.reason for turn in world.turns.values()} == {"turn"}
    assert {turn.place for turn in world.turns.values()} <= set(range(1, 7))
    await world.end_all()
    assert world.most_at_work == 3
    assert await world.is_quiet()


async def test_one_permit_goes_round_the_callers(world: GateWorld) -> None:
    """With one permit, three callers have one response each in every turn."""
    world.limit(1)
    await world.ask(world.first, place(0, "zoe"))
    places = [place(number, ("ann", "bob", "cat")[number // 4 - 1]) for number in range(4, 16)]
    await asyncio.gather(*(world.ask(world.process(number), one) for number, one in enumerate(places)))
    await world.end_all()
    assert world.most_at_work == 1
    assert [set(world.order[at : at + 3]) for at in range(1, 13, 3)] == [{"ann", "bob", "cat"}] * 4


async def test_a_second_request_finds_what_the_first_has_done(world: GateWorld) -> None:
    """Whoever may have asked before keeps the permit or the place, in every process."""
    world.limit(1)
    await world.ask(world.first, place(0))
    await world.ask(world.first, place(1))
    for process in world.processes:
        assert await process.gates.take(world.gate, place(0), again=True) is None
        assert await process.gates.take(world.gate, place(1), again=True) == Turn(1, "turn")
        assert await process.gates.holds(world.gate, place(0).id)
        assert not await process.gates.holds(world.gate, place(1).id)
    assert len(await world.rows()) == 3


async def test_a_repeat_that_does_not_say_so_is_recognised(world: GateWorld) -> None:
    """A row that is there already means held or waiting, and a permit that is gone means given back."""
    world.limit(2)
    await world.ask(world.first, place(0))
    assert await world.process(1).gates.take(world.gate, place(0)) is None
    await world.process(2).gates.release(world.gate, place(7).id, "ann")
    state = await world.state()
    assert state
    assert state.used == 1


async def test_a_response_that_ends_in_the_line_leaves_it(world: GateWorld) -> None:
    """Its place goes out, or the permit that it was granted meanwhile. What has neither changes nothing."""
    world.limit(1)
    for number in range(3):
        await world.ask(world.process(number), place(number))
    await world.process(0).gates.leave(world.gate, place(2))
    await world.process(1).gates.leave(world.gate, place(9))
    world.over.add(place(2).id)
    await world.end(world.first, place(0))
    await world.settle()
    assert world.at_work.keys() == {place(1).id}
    await world.process(2).gates.leave(world.gate, place(1))
    assert await world.is_quiet()


async def test_a_grant_to_a_response_that_has_ended_is_given_back(world: GateWorld) -> None:
    """A cancel that could not leave the line costs nobody a permit."""
    world.limit(1)
    for number in range(3):
        await world.ask(world.process(number), place(number))
    world.over.add(place(1).id)
    await world.end(world.first, place(0))
    await world.settle()
    assert world.at_work.keys() == {place(2).id}


@pytest.mark.parametrize("skew_ms", [5_000, -5_000])
async def test_clocks_that_differ_do_not_matter(world: GateWorld, skew_ms: int) -> None:
    """With clocks 5 s apart the limit holds, also through a refusal."""
    await world.start(skew_ms=(skew_ms,))
    await asyncio.gather(*(world.ask(world.process(number), place(number)) for number in range(8)))
    refused = next(iter(world.at_work.values()))
    del world.at_work[refused.id]
    await world.process(5).gates.refuse(world.gate, refused, retry_after_s=2.0, reason="rate_limit")
    for _ in range(30):
        world.time.advance(1)
        await world.settle()
    await world.end_all()
    assert world.most_at_work == 3
    assert await world.is_quiet()


# Limits that change


async def test_a_lowered_limit_waits_and_a_raised_one_is_used(world: GateWorld) -> None:
    """From 40 permits to 3 and to 60, under load. Nobody loses a permit, and nobody gets one above the limit."""
    world.limit(40)
    await asyncio.gather(*(world.ask(world.process(number), place(number)) for number in range(120)))
    assert len(world.at_work) == 40
    world.limit(3)
    ending = list(world.at_work.values())
    await asyncio.gather(*(world.end(world.process(number), one) for number, one in enumerate(ending[:38])))
    await world.settle()
    assert len(world.at_work) == 3
    world.limit(60)
    await world.first.gates.round(world.gate)
    await world.settle()
    assert len(world.at_work) == 60
    await world.end_all()
    assert await world.is_quiet()


async def test_a_gate_without_its_setting_grants_to_all_and_loses_its_rows(world: GateWorld) -> None:
    """A round of the gate does both, from its name in the registry."""
    for number in range(30):
        await world.ask(world.process(number), place(number))
    world.gate = Gate(world.gate.name, None, is_gone=True)
    world.time.advance(121)
    assert await world.first.gates.registered() == [world.gate.name]
    await world.first.gates.round(world.gate)
    await world.settle()
    assert len(world.at_work) == 30
    await world.end_all()
    await world.recover()
    assert await world.rows() == {}
    assert await world.first.gates.registered() == []


# Refusals


async def test_a_gate_without_a_limit_costs_nothing_while_it_is_open(world: GateWorld) -> None:
    """Takes, acceptances and releases read and write nothing."""
    world.limit(None)
    before = await requests_of(world)
    for number in range(5):
        await world.ask(world.first, place(number))
        await world.end(world.first, place(number))
    assert await requests_of(world) == before
    assert world.first.gates.is_open(world.gate)


@pytest.mark.parametrize("limit", [2, None])
async def test_a_refusal_closes_the_gate_until_a_probe_is_accepted(world: GateWorld, limit: int | None) -> None:
    """Nothing starts before the time that the upstream asked for. Then one, and with it all, until nothing is left."""
    world.limit(limit)
    refused = await world.first.gates.refuse(world.gate, place(0), retry_after_s=30.0, reason="rate_limit")
    world.asked[place(0).id] = place(0)
    until_ms = world.time.ms + 30_000
    assert refused == Turn(1, "rate_limit", until_ms)
    assert world.closed == [until_ms]
    assert not world.first.gates.is_open(world.gate)
    for number in range(1, 6):
        await world.ask(world.first, place(number))
    assert world.turns[place(5).id] == Turn(6, "rate_limit", until_ms)
    world.time.advance(29)
    await world.settle()
    assert not world.at_work
    world.time.advance(2)
    await world.settle()
    assert place(0).id in world.at_work
    for _ in range(8):
        world.time.advance(1.1)
        await world.settle()
    assert len(world.at_work) == (limit or 6)
    await world.end_all()
    await world.recover()
    assert await world.is_quiet()
    if limit is None:
        assert await world.rows() == {}
        assert await world.first.gates.registered() == []


async def test_an_upstream_that_refuses_for_a_while_is_probed(world: GateWorld) -> None:
    """Refused probes close the gate for longer each time. When one is accepted, all go through, and none is lost."""
    world.limit(5)
    world.refuses = True
    await asyncio.gather(*(world.ask(world.process(number), place(number)) for number in range(20)))
    for _ in range(40):
        world.time.advance(1)
        await world.settle()
    waits_s = [later - earlier for earlier, later in zip(world.closed, world.closed[1:], strict=False)]
    assert waits_s == sorted(waits_s)
    assert len(world.closed) <= 8
    world.refuses = False
    for _ in range(80):
        world.time.advance(1)
        await world.settle()
    await world.end_all()
    assert world.most_at_work == 5
    assert await world.is_quiet()


async def test_an_upstream_that_flaps_loses_nobody(world: GateWorld) -> None:
    """It refuses every few seconds. Each response is served in the end, and the limit holds throughout."""
    world.limit(4)
    places = [place(number, f"caller{number % 3}") for number in range(24)]
    await asyncio.gather(*(world.ask(world.process(number), one) for number, one in enumerate(places)))
    for second in range(60):
        world.refuses = second % 4 < 2
        world.time.advance(1)
        await world.settle()
        await asyncio.gather(*(world.end(world.process(second), one) for one in [*world.at_work.values()][:2]))
    world.refuses = False
    for _ in range(70):
        world.time.advance(1)
        await world.settle()
    await world.end_all()
    assert world.most_at_work <= 4
    assert await world.is_quiet()


async def test_a_response_that_moves_to_another_gate_leaves_no_place(world: GateWorld) -> None:
    """Its refusal closes the gate and gives its permit back."""
    await world.ask(world.first, place(0))
    turn = await world.first.gates.refuse(world.gate, place(0), retry_after_s=5.0, reason="upstream_down", stays=False)
    assert turn == Turn(None, "upstream_down")
    state = await world.state()
    assert state
    assert (state.phase, state.used, state.waiting) == (Phase.CLOSED, 0, 0)


# What a process knows


async def test_whether_a_gate_is_open_is_known_without_a_request(world: GateWorld) -> None:
    """A process knows it by its own transactions: full, closed, or open again."""
    gates = world.first.gates
    world.limit(2)
    assert gates.is_open(world.gate)
    await world.ask(world.first, place(0))
    assert gates.is_open(world.gate)
    await world.ask(world.first, place(1))
    assert not gates.is_open(world.gate)
    await world.end(world.first, place(0))
    assert gates.is_open(world.gate)
    await gates.refuse(world.gate, place(1), retry_after_s=3.0, reason="rate_limit")
    assert not gates.is_open(world.gate)
    assert gates.is_open(Gate("another", 1))
    assert gates.is_open(Gate(world.gate.name, 1, is_gone=True))


async def test_another_process_may_start_the_probe(world: GateWorld) -> None:
    """It learns from the permit that the gate waits for a probe, and its acceptance opens the gate."""
    world.limit(None)
    first, second = world.process(0).gates, world.process(1).gates
    await first.refuse(world.gate, place(0), retry_after_s=1.0, reason="rate_limit")
    world.processes[0].is_dead = True  # so that it does not start what it grants
    world.time.advance(2)
    await world.settle()
    assert await second.holds(world.gate, place(0).id)
    await second.accepted(world.gate)
    await second.release(world.gate, place(0).id, "ann")
    assert await world.rows() == {}


# Cost


async def test_one_process_alone_needs_one_request_a_take(world: GateWorld) -> None:
    """It knows the gate from its own last transaction."""
    await world.stop()
    world.processes.clear()
    await world.start(1, is_checked=False)
    world.limit(50)
    for number in range(3):
        await world.ask(world.first, place(number))
    before = await requests_of(world)
    for number in range(3, 8):
        await world.ask(world.first, place(number))
    assert await requests_of(world) - before == 5
    await asyncio.gather(*(world.ask(world.first, place(number)) for number in range(8, 40)))
    assert await requests_of(world) - before == 6
