"""The agent of a gate: one transaction for many, lost answers, processes that are killed, storage that is away."""

import asyncio
import re
from itertools import count

import pytest

from shared.core.errors import StoreUnavailable
from shared.core.gates.requests import Kind
from shared.core.gates.state import Turn
from shared.gates.gates import Gates
from tests.support.conditions import until
from tests.support.gate_processes import GateWorld, ignoring_outages, place
from tests.support.proxies.fault_proxy import StorageRequest, is_transaction

GATE = re.compile(rb"gate(:|%3A)")  # in the body of an insertion, and in the address of a change


def is_of_gate(request: StorageRequest) -> bool:
    """Return whether a request is a transaction about a gate."""
    return is_transaction(request) and GATE.search(request.body) is not None


async def load(world: GateWorld, responses: int = 12) -> None:
    """Let responses of three callers ask, and end, in all processes."""
    places = [place(number, f"caller{number % 3}") for number in range(responses)]
    await ignoring_outages(*(world.ask(world.process(number), one) for number, one in enumerate(places)))
    for _ in range(responses):
        some = [*world.at_work.values()][:2]
        await ignoring_outages(*(world.end(world.process(number), one) for number, one in enumerate(some)))


async def test_what_is_wanted_at_the_same_time_is_one_transaction(world: GateWorld) -> None:
    """A hundred responses of one process are two transactions, because one has room for 98 rows."""
    world.limit(200)
    before = world.stage.proxy.counts["POST $batch"]
    await asyncio.gather(*(world.ask(world.first, place(number)) for number in range(100)))
    assert len(world.at_work) == 100
    assert world.stage.proxy.counts["POST $batch"] - before == 5  # and three that note the gate in the registry


async def test_a_caller_that_gave_up_takes_no_permit(world: GateWorld) -> None:
    """A take that was cancelled before its transaction is left out. A release is carried out anyway."""
    await world.ask(world.first, place(0))
    taking = asyncio.ensure_future(world.first.gates.take(world.gate, place(1)))
    releasing = asyncio.ensure_future(world.first.gates.release(world.gate, place(0).id, "ann"))
    await asyncio.sleep(0)
    taking.cancel()
    releasing.cancel()
    await asyncio.gather(taking, releasing, return_exceptions=True)
    await world.settle()
    assert await world.is_quiet()


@pytest.mark.parametrize("nth", range(1, 8))
async def test_a_lost_answer_is_no_lost_permit(world: GateWorld, nth: int) -> None:
    """Whichever transaction was carried out without an answer, it is recognised, and every response is served once."""
    lost = world.stage.proxy.drop_answer(is_of_gate, nth)
    await load(world)
    await world.end_all()
    assert lost.happened.is_set()
    assert len(world.order) == 12
    assert world.most_at_work <= 3
    assert await world.is_quiet()


async def test_many_lost_answers(world: GateWorld) -> None:
    """Every third answer is lost, while three processes write. The limit holds, and nobody is forgotten."""
    numbers = count()
    world.stage.proxy.drop_answer(lambda request: is_of_gate(request) and next(numbers) % 3 == 0, None)
    await load(world, 20)
    world.stage.proxy.heal()
    await world.end_all()
    await world.recover()
    assert world.most_at_work <= 3
    assert await world.is_quiet()


@pytest.mark.parametrize("carried_out", [False, True])
@pytest.mark.parametrize("nth", range(1, 9))
async def test_a_process_may_die_at_every_write(world: GateWorld, nth: int, carried_out: bool) -> None:
    """The others serve all responses: alarms ask again, and rounds find what the dead process has left."""
    holding = world.stage.proxy.hold(is_of_gate, nth, carried_out=carried_out)
    loading = asyncio.ensure_future(load(world))
    reached = asyncio.ensure_future(holding.reached.wait())
    await asyncio.wait({loading, reached}, return_when=asyncio.FIRST_COMPLETED)
    assert reached.done()
    await world.process(0).kill()
    holding.open()
    await asyncio.wait_for(asyncio.gather(loading, return_exceptions=True), 60)
    world.stage.proxy.heal()
    await world.recover()
    await world.end_all()
    for number in range(20, 24):  # more than there are permits: G3 holds for a permit that a line wants
        await world.ask(world.first, place(number))
    await world.recover()
    await world.end_all()
    await world.recover()
    assert world.most_at_work <= 3
    assert await world.is_quiet()


async def test_storage_that_is_away_is_told_to_who_waits(world: GateWorld) -> None:
    """A take raises StoreUnavailable, a leave and an acceptance do not raise. Afterwards the gate goes on."""
    await world.ask(world.first, place(0))
    async with world.stage.proxy.refusing():
        with pytest.raises(StoreUnavailable):
            await world.first.gates.take(world.gate, place(1))
        await world.first.gates.leave(world.gate, place(1))
        with pytest.raises(StoreUnavailable):
            await world.first.gates.release(world.gate, place(0).id, "ann")
    await world.ask(world.first, place(1))
    await world.recover()
    await world.end_all()
    await world.recover()
    assert await world.is_quiet()


async def test_a_line_is_served_after_an_outage(world: GateWorld) -> None:
    """A process whose hand-over failed tries again in a second."""
    world.limit(1)
    for number in range(3):
        await world.ask(world.first, place(number))
    async with world.stage.proxy.refusing():
        with pytest.raises(StoreUnavailable):
            await world.end(world.first, place(0))
    await world.first.gates.release(world.gate, place(0).id, "ann")
    await world.settle()
    assert world.at_work.keys() == {place(1).id}


async def test_a_killed_agent_fails_its_waiters(world: GateWorld) -> None:
    """Who waits for a process's agent is told that it has ended."""
    holding = world.stage.proxy.hold(is_of_gate, 1, carried_out=False)
    takes = [asyncio.ensure_future(world.first.gates.take(world.gate, place(number))) for number in range(2)]
    await holding.reached.wait()
    takes.append(asyncio.ensure_future(world.first.gates.take(world.gate, place(2))))
    await asyncio.sleep(0)
    await world.first.kill()
    holding.open()
    results = await asyncio.gather(*takes, return_exceptions=True)
    assert [type(one) for one in results] == [StoreUnavailable] * 3


async def test_a_caller_with_many_places_is_served_in_order(world: GateWorld) -> None:
    """Places beyond the 16 that the row of the gate names are read from the table when they are needed."""
    world.limit(1)
    await world.ask(world.first, place(0, "zoe"))
    await asyncio.gather(*(world.ask(world.first, place(number)) for number in range(35, 0, -1)))
    served: list[str] = []

    async def is_over() -> bool:
        for one in [*world.at_work.values()]:
            served.append(one.id)
            await world.end(world.first, one)
        return len(served) == 36

    await until(is_over, 60)
    assert served == [place(number).id for number in range(36)]


def test_the_kinds_are_served_in_an_order_that_closes_before_it_grants() -> None:
    """A refusal in a transaction prevents the grants of the same transaction."""
    assert Kind.RELEASE < Kind.REFUSE < Kind.ACCEPT < Kind.FAIL < Kind.TAKE < Kind.GRANT


# The time of a closed gate


@pytest.mark.parametrize("number", [0, 1], ids=["the one that closed it", "another"])
@pytest.mark.parametrize("how", ["moves on", "leaves"])
async def test_the_time_of_a_gate_is_kept_for_who_enters_its_empty_line(
    world: GateWorld, how: str, number: int
) -> None:
    """Nobody has waited: the refused response has moved to another gate, or it was cancelled in the line."""
    gates = world.first.gates
    await gates.refuse(world.gate, place(0), retry_after_s=None, reason="rate_limit", stays=how == "leaves")
    await gates.leave(world.gate, place(0))
    await world.ask(world.process(number), place(1))
    assert place(1).id in world.turns
    world.time.advance(1.1)
    await world.settle()
    assert world.at_work.keys() == {place(1).id}


# What writes nothing


@pytest.fixture
async def known_alone(world: GateWorld) -> Gates:
    """Return the gates of a process that has written the row twice, so that it takes its own last row for the newest.

    Its gate has one permit, which response 1 has.
    """
    world.limit(1)
    gates = world.process(0).gates
    assert await gates.take(world.gate, place(0)) is None
    await gates.release(world.gate, place(0).id, place(0).caller)
    assert await gates.take(world.gate, place(1)) is None
    return gates


async def test_a_full_gate_is_read_before_it_is_called_full(world: GateWorld, known_alone: Gates) -> None:
    """No write tells that another process has given the permit back meanwhile."""
    assert await known_alone.take(world.gate, place(2), stays=False) == Turn(None, "turn")
    await world.process(1).gates.release(world.gate, place(1).id, place(1).caller)
    assert await known_alone.take(world.gate, place(2), stays=False) is None


async def test_a_release_of_a_permit_of_another_process_is_not_lost(world: GateWorld, known_alone: Gates) -> None:
    """The process that commits the end of a response may know of no permit in use."""
    await known_alone.release(world.gate, place(1).id, place(1).caller)
    assert await world.process(1).gates.take(world.gate, place(2)) is None
    await known_alone.release(world.gate, place(2).id, place(2).caller)
    assert await world.process(1).gates.take(world.gate, place(3)) is None


async def test_a_place_that_was_given_up_elsewhere_is_taken_again(world: GateWorld, known_alone: Gates) -> None:
    """Otherwise the response would be in no line, and nothing would start it before its deadline."""
    assert await known_alone.take(world.gate, place(2)) == Turn(1, "turn")
    await world.process(1).gates.leave(world.gate, place(2))
    assert await known_alone.take(world.gate, place(2), again=True) == Turn(1, "turn")
    await known_alone.release(world.gate, place(1).id, place(1).caller)
    assert await known_alone.holds(world.gate, place(2).id)
