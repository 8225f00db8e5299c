"""Grants: who has waited is started by the process that granted the permit, or by whoever goes on."""

import asyncio
from dataclasses import replace

from shared.core.alarms import Kind
from shared.core.gates.state import Gate, Place
from shared.core.keys import record_key
from shared.core.states import Status
from shared.gates.tools import NOBODY
from shared.starts.grants import AT_ONCE, STOPPING_MS, Starter, is_over, listeners
from tests.support.conditions import until
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.stage import ANN, Stage
from tests.support.turns import gates_of

GATE = Gate("default", 1)


def place_of(record: object) -> Place:
    """Return the place that a waiting response has."""
    one = record
    return Place(one.id, one.caller, one.created_ms, one.deadline_ms, one.deadline_ms)  # type: ignore[attr-defined]


async def test_a_grant_moves_the_alarm_and_starts(stage: Stage) -> None:
    """A second report of the same grant does nothing, because the alarm is no longer there."""
    stage.treat(limits={"*": 1})
    await stage.create()
    made = await stage.create()
    stage.treat(limits={"*": 2})
    starter = Starter(stage.ports)
    await starter.start_granted(GATE, [place_of(made)])
    assert stage.upstream.starts[made.id] == 1
    await starter.start_granted(GATE, [place_of(made)])
    assert stage.upstream.starts[made.id] == 1


async def test_more_than_can_be_started_here_are_left_to_sweeps(stage: Stage) -> None:
    """Their alarms are due at once, and a wake-up says so. So it is where no work goes on between invocations.

    All have their permits before. The gate has told nobody, as if the process that granted them had died.
    """
    stage.treat(limits={"*": 1})
    await stage.create()
    made = [await stage.create() for _ in range(AT_ONCE + 2)]
    stage.treat(limits={"*": 100})
    stage.ports.gates.listen(NOBODY)
    while (outlook := await stage.ports.gates.round(Gate("default", 100))) and outlook.waiting:
        pass
    gate = stage.upstream.hold_starts()
    starting = asyncio.create_task(Starter(stage.ports).start_granted(GATE, [place_of(one) for one in made]))

    async def is_as_expected() -> bool:
        left = [one for one in made if one.id not in stage.upstream.starts]
        alarms = [alarm for one in left for alarm in await stage.alarms(one.id)]
        return [(alarm.kind, alarm.due_ms) for alarm in alarms] == [(Kind.START, stage.clock.ms)] * 2

    await until(is_as_expected)
    left = [one for one in made if one.id not in stage.upstream.starts]
    assert stage.upstream.starts.total() == 1 + AT_ONCE
    gate.open()
    await starting
    assert all(stage.wakeups(one.id) for one in left)
    assert (await stage.finish(left[0].id)).status is Status.COMPLETED


async def test_a_grant_that_comes_before_its_response_is_written_is_not_lost(stage: Stage) -> None:
    """The place is in the line, and the record does not say so yet, when another process hands a permit on."""
    stage.treat(limits={"*": 1})
    first = await stage.create()
    stage.clock.ms += 1
    at_deadline = f"alarm|{stage.clock.ms + stage.ports.config.limits.deadline_ms:013d}|start".encode()
    waits = stage.proxy.pause(lambda request: is_transaction(request) and at_deadline in request.body)
    creating = asyncio.create_task(stage.create())
    await waits.reached.wait()
    await stage.finish(first.id)

    async def is_granted() -> bool:
        state = await stage.ports.gates.look(GATE)
        return state is not None and (state.used, state.waiting) == (1, 0)

    await until(is_granted)
    await stage.gate_tasks.finished()
    waits.open()
    made = await creating
    await asyncio.gather(*stage.ports.background.tasks)
    assert (await stage.record(made.id)).upstream.token
    assert stage.upstream.starts[made.id] == 1


async def test_storage_that_fails_is_only_logged(stage: Stage) -> None:
    """A round of the gate reports the grant again."""
    stage.treat(limits={"*": 1})
    await stage.create()
    made = await stage.create()
    async with stage.proxy.refusing():
        await Starter(stage.ports).start_granted(GATE, [place_of(made)])
    assert await stage.kinds(made.id) == [Kind.START]


async def test_a_record_that_cannot_be_read_stops_no_other_grant(stage: Stage) -> None:
    """Its permit stays, and the other response is started."""
    stage.treat(limits={"*": 1})
    await stage.create()
    damaged, made = await stage.create(), await stage.create()
    await stage.put(damaged.id, record_key(damaged.id), facts="damaged")
    stage.treat(limits={"*": 3})
    places = [replace(place_of(damaged), start_due_ms=1), place_of(made)]
    await Starter(stage.ports).start_granted(GATE, places)
    assert stage.upstream.starts[made.id] == 1


async def test_what_is_being_stopped_is_not_over(stage: Stage) -> None:
    """It has five minutes, because the upstream may still be at work on it."""
    made = await stage.create()
    assert not await is_over(stage.ports, GATE, made.id)
    await stage.engine.cancel(ANN, made.id)
    assert not await is_over(stage.ports, GATE, made.id)
    stage.clock.ms += STOPPING_MS
    assert await is_over(stage.ports, GATE, made.id)
    assert await is_over(stage.ports, GATE, f"resp_{'0' * 32}")
    assert await is_over(stage.ports, GATE, (await stage.ended()).id)


async def test_a_response_that_passes_another_gate_needs_no_permit_here(stage: Stage) -> None:
    """It has moved on, or its model has a limit of its own by now."""
    made = await stage.create()
    assert await is_over(stage.ports, Gate("other", 1), made.id)
    assert not await is_over(stage.ports, GATE, made.id)


async def test_a_granted_response_that_has_ended_gives_its_permit_back(stage: Stage) -> None:
    """It was cancelled at the very grant."""
    stage.treat(limits={"*": 1})
    await stage.create()
    made = await stage.create()
    await stage.engine.cancel(ANN, made.id)
    await stage.ports.gates.take(Gate("default", 9), place_of(made), again=True)
    await Starter(stage.ports).start_granted(GATE, [place_of(made), replace(place_of(made), start_due_ms=1)])
    await asyncio.gather(*stage.ports.background.tasks)
    state = await stage.ports.gates.look(GATE)
    assert state
    assert state.used == 1


async def test_a_process_that_waits_for_its_grants_goes_on_after_one_to_an_ended_response(stage: Stage) -> None:
    """Without WATCH, a gate waits for what follows a grant. That gives the permit back at the same gate."""
    stage.treat(limits={"*": 1})
    first, made = await stage.create(), await stage.create()
    await stage.engine.cancel(ANN, made.id)
    gates = gates_of(stage.gate_table, stage.clock, stage.gate_tasks, goes_on=False)
    ports = replace(stage.ports, gates=gates)
    gates.listen(listeners(ports))
    for alarm in await stage.alarms(made.id):
        await stage.ports.store.remove(alarm)
    await gates.take(GATE, place_of(made), again=True)  # its place was not taken out of the line
    async with asyncio.timeout(10):
        await gates.release(GATE, first.id, first.caller)
        await asyncio.gather(*ports.background.tasks)
    state = await gates.look(GATE)
    assert state
    assert (state.used, state.waiting) == (0, 0)


async def test_a_granted_response_that_has_ended_and_has_its_alarm_gives_its_permit_back(stage: Stage) -> None:
    """A cancellation leaves the `start` alarm. If it could not take the place out of the line, the grant moves it."""
    stage.treat(limits={"*": 1})
    first, made = await stage.create(), await stage.create()
    await stage.engine.cancel(ANN, made.id)
    (start, *_) = [alarm for alarm in await stage.alarms(made.id) if alarm.kind is Kind.START]
    await stage.ports.gates.take(GATE, replace(place_of(made), start_due_ms=start.due_ms), again=True)
    await stage.ports.gates.release(GATE, first.id, first.caller)
    await stage.gate_tasks.finished()
    state = await stage.ports.gates.look(GATE)
    assert state
    assert (state.used, state.waiting) == (0, 0)
    assert Kind.START not in await stage.kinds(made.id)
