"""Turns of runs: what waits is neither a message nor a lease, and is offered when it has its permit."""

import asyncio
from urllib.parse import unquote

import pytest

from shared.core.alarms import Kind
from shared.core.errors import UpstreamRefused, UpstreamUnavailable
from shared.core.states import WaitReason
from shared.engine import Engine
from tests.support.run_holders import driving
from tests.support.stage import ANN, Stage
from tests.support.stream_clients import kinds, offers, streamed

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
    stage.upstream.is_background = False
    stage.upstream.streams.run_errors = [BUSY] * 3
    readers = [await streamed(stage) for _ in range(3)]
    for reader in readers:
        await driving(stage.engine, reader.id, 1)
    await stage.fire_gates()
    (probe,) = [reader for reader in readers if await stage.kinds(reader.id) == [Kind.RUN]]
    other = await stage.new_ports(stage.clock)
    await driving(Engine(other), probe.id, (await stage.record(probe.id)).run.epoch)
    await asyncio.gather(*other.background.tasks)
    await stage.gate_tasks.finished()
    assert [await stage.kinds(reader.id) for reader in readers if reader is not probe] == [[Kind.RUN]] * 2
