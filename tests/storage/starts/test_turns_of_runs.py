"""Turns of runs: what waits is neither a message nor a lease, and is offered when it has its permit."""

import asyncio
from urllib.parse import unquote

import pytest

from shared.core.alarms import Kind
from shared.core.errors import UpstreamRefused, UpstreamUnavailable
from shared.core.states import WaitReason
from shared.engine import Engine
from shared.starts.submission import on_start_alarm
from shared.starts.turns import place_at, wait_instead_of_running
from tests.support.run_holders import driving, refused_runs
from tests.support.stage import ANN, Stage
from tests.support.stream_clients import Reader, kinds, offers, streamed

HOUR_MS = 3_600_000
AWAY = UpstreamUnavailable("ConnectError")
BUSY = UpstreamUnavailable("status 429", retry_after_s=20, waits_for=WaitReason.RATE_LIMIT)
DENIED = UpstreamUnavailable("status 401", waits_for=WaitReason.CREDENTIALS)


@pytest.mark.parametrize("is_background", [True, False], ids=["background", "foreground"])
async def test_a_run_has_its_permit_before_it_is_offered(stage: Stage, is_background: bool) -> None:
    """What waits is no message, no invocation and no lease. Its reader gets the first event when its turn comes."""
    stage.treat(limits={"*": 1})
    stage.upstream.is_background = is_background
    gate = stage.upstream.streams.hold(1)
    first = await streamed(stage)
    second = await streamed(stage)
    gate.open()
    record = await stage.record(second.id)
    assert (record.wait.reason, record.run.claimed) == (WaitReason.TURN, False)
    assert await stage.kinds(second.id) == [Kind.START]
    if not is_background:
        await driving(stage.engine, first.id, 1)
    assert kinds(await first.rest())[-1] == "completed"
    await asyncio.gather(*stage.ports.background.tasks)
    await stage.gate_tasks.finished()
    assert await stage.kinds(second.id) == [Kind.RUN]
    await driving(stage.engine, second.id, (await stage.record(second.id)).run.epoch)
    assert kinds(await second.rest())[-1] == "completed"


async def test_a_run_that_has_begun_before_waits_and_goes_on(stage: Stage) -> None:
    """Its stream broke, and its upstream takes nothing now. It has a token already, and still gets its turn."""
    stage.pace(patience_s=0)
    stage.upstream.is_background = False
    stage.upstream.streams.breaks = [2]
    stage.upstream.streams.run_errors = []
    reader = await streamed(stage)
    await driving(stage.engine, reader.id, 1)
    record = await stage.record(reader.id)
    assert record.upstream.token
    stage.upstream.streams.run_errors = [BUSY]
    await stage.fire_alarms(reader.id)
    await driving(stage.engine, reader.id, (await stage.record(reader.id)).run.epoch)
    waiting = await stage.record(reader.id)
    assert (waiting.wait.reason, await stage.kinds(reader.id)) == (WaitReason.RATE_LIMIT, [Kind.START])
    await stage.fire_gates()
    assert await stage.kinds(reader.id) == [Kind.RUN]
    await driving(stage.engine, reader.id, (await stage.record(reader.id)).run.epoch)
    assert kinds(await reader.rest())[-1] == "completed"


async def restarting(stage: Stage) -> Reader:
    """Return the reader of a run whose stream broke, and which waits in the line because its upstream is busy."""
    stage.pace(patience_s=0)
    stage.upstream.is_background = False
    stage.upstream.streams.breaks = [2]
    reader = await streamed(stage)
    await driving(stage.engine, reader.id, 1)
    stage.upstream.streams.run_errors = [BUSY]
    await stage.fire_alarms(reader.id)
    await driving(stage.engine, reader.id, (await stage.record(reader.id)).run.epoch)
    assert (await stage.record(reader.id)).wait.gate
    return reader


async def seen(stage: Stage) -> tuple[int, int]:
    """Return how many permits are used, and how many responses wait, once nothing is under way."""
    await asyncio.gather(*stage.ports.background.tasks)
    await stage.gate_tasks.finished()
    state = await stage.ports.gates.look(stage.ports.upstreams.gate_named("default"))
    assert state
    return state.used, state.waiting


async def test_a_run_that_has_begun_before_leaves_the_line_when_it_is_cancelled(stage: Stage) -> None:
    """It has work to stop and no permit. So it does not get the only permit, and the next one is the probe."""
    stage.treat(limits={"*": 1})
    reader = await restarting(stage)
    stage.clock.ms += 1
    second = await streamed(stage)
    assert await seen(stage) == (0, 2)
    await stage.engine.cancel(ANN, reader.id)
    assert await seen(stage) == (0, 1)
    await stage.sweep(reader.id)
    await stage.fire_gates()
    assert await seen(stage) == (1, 0)
    assert await stage.kinds(second.id) == [Kind.RUN]


async def test_a_cancelled_run_gives_back_what_it_was_granted(stage: Stage) -> None:
    """Its grant and its cancel cross. The process that then starts it finds that it has ended."""
    stage.treat(limits={"*": 1})
    reader = await restarting(stage)
    (start,) = await stage.alarms(reader.id)
    await stage.engine.cancel(ANN, reader.id)
    await seen(stage)
    gate = stage.ports.upstreams.gate_named("default")
    await stage.ports.gates.take(gate, place_at(await stage.record(reader.id), start), again=True)
    assert sum(await seen(stage)) == 1
    await on_start_alarm(stage.ports, start)
    assert await seen(stage) == (0, 0)


async def test_a_run_that_ends_while_it_enters_the_line_leaves_it(stage: Stage) -> None:
    """Its place was committed before its end, and its `start` alarm was not."""
    stage.treat(limits={"*": 1})
    reader = await restarting(stage)
    record = await stage.record(reader.id)
    (start,) = await stage.alarms(reader.id)
    await stage.engine.cancel(ANN, reader.id)
    await seen(stage)
    gate = stage.ports.upstreams.gate_named("default")
    turn = await stage.ports.gates.take(gate, place_at(record, None), again=True)
    assert turn
    assert not await wait_instead_of_running(stage.ports, record, start, turn)
    assert await seen(stage) == (0, 0)


async def test_a_refused_request_is_an_answer_of_a_probe(stage: Stage) -> None:
    """The next runs are offered at once."""
    stage.upstream.is_background = False
    stage.upstream.streams.run_errors = [BUSY] * 3
    readers = [await streamed(stage) for _ in range(3)]
    for reader in readers:
        await driving(stage.engine, reader.id, 1)
    stage.upstream.streams.run_errors = [UpstreamRefused(400, "No.")]
    await stage.fire_gates()
    (probe,) = [reader for reader in readers if await stage.kinds(reader.id) == [Kind.RUN]]
    await driving(stage.engine, probe.id, (await stage.record(probe.id)).run.epoch)
    await asyncio.gather(*stage.ports.background.tasks)
    await stage.gate_tasks.finished()
    assert [await stage.kinds(reader.id) for reader in readers if reader is not probe] == [[Kind.RUN]] * 2


async def test_a_gate_that_cannot_be_asked_ends_no_run(stage: Stage) -> None:
    """It was accepted, and is offered when its gate can be asked again, however long that takes."""
    stage.treat(limits={"*": 1})
    stage.upstream.is_background = False
    stage.proxy.refuse(lambda request: "gate:" in unquote(request.path) or b"gate:" in request.body)
    made = await stage.create()
    for _ in range(7):
        await stage.fire_alarms(made.id)
    (alarm,) = await stage.alarms(made.id)
    assert (alarm.kind, alarm.attempt) == (Kind.START, 0)
    stage.proxy.heal()
    await stage.fire_alarms(made.id)
    assert offers(stage, made.id) == [1]


async def test_a_run_that_waits_for_hours_costs_no_invocation(stage: Stage) -> None:
    """Heartbeats send nothing for it and sweep nothing, up to the end of the work before it. Then it is offered."""
    stage.treat(limits={"*": 1})
    stage.limit(deadline_ms=8 * HOUR_MS)
    stage.upstream.is_background = False
    working, waiting = await streamed(stage), await streamed(stage)
    for alarm in await stage.alarms(working.id):  # its holder would renew it
        await stage.ports.store.remove(alarm)
    assert await stage.kinds(waiting.id) == [Kind.START]
    sent, until_ms = list(stage.sent), stage.clock.ms + 4 * HOUR_MS
    while stage.clock.ms < until_ms:
        stage.clock.ms += HOUR_MS // 6
        await stage.engine.heartbeat()
        await asyncio.gather(*stage.ports.background.tasks)
    assert stage.sent == sent
    record = await stage.record(waiting.id)
    assert (record.wait.reason, await stage.kinds(waiting.id)) == (WaitReason.TURN, [Kind.START])
    await stage.engine.cancel(ANN, working.id)
    await asyncio.gather(*stage.ports.background.tasks)
    await stage.gate_tasks.finished()
    assert await stage.kinds(waiting.id) == [Kind.RUN]
    assert offers(stage, waiting.id) == [(await stage.record(waiting.id)).run.epoch]


async def test_another_process_tells_that_a_probe_was_accepted(stage: Stage) -> None:
    """The one that takes the run has not seen the gate. It reads the permit, and the others follow."""
    readers, probe = await refused_runs(stage, 3, BUSY)
    other = await stage.new_ports(stage.clock)
    await driving(Engine(other), probe.id, (await stage.record(probe.id)).run.epoch)
    await asyncio.gather(*other.background.tasks)
    await stage.gate_tasks.finished()
    assert [await stage.kinds(reader.id) for reader in readers if reader is not probe] == [[Kind.RUN]] * 2
