"""The pace of polls where a process is late, at the deadline, and where the upstream tells of its ends."""

import pytest

from shared.core.alarms import Kind
from shared.core.errors import UpstreamMissing, UpstreamUnavailable
from shared.core.ids import shard_of
from shared.core.records import Record
from shared.core.states import Status
from tests.support.clocks import START_MS
from tests.support.stage import ANN, SECRET, Stage


async def running(stage: Stage) -> Record:
    """Return a response whose work never ends."""
    stage.upstream.course = [Status.IN_PROGRESS]
    return await stage.create()


async def test_late_polls_stretch_the_waits_of_their_shard(stage: Stage) -> None:
    """A process whose polls come more than 2 s late polls more rarely, and returns to the usual waits afterwards."""
    made = await running(stage)
    for _ in range(8):
        (alarm,) = await stage.alarms(made.id)
        stage.clock.ms = alarm.due_ms + 10_000
        await stage.sweep(made.id)
    stretch = stage.ports.poll_pace.stretch(shard_of(made.id))
    assert stretch == pytest.approx(1.1**8)
    (alarm,) = await stage.alarms(made.id)
    assert alarm.due_ms - stage.clock.ms == pytest.approx((stage.clock.ms - START_MS) / 10 * stretch, abs=3)
    for _ in range(60):
        await stage.fire_alarms(made.id)
    assert stage.ports.poll_pace.stretch(shard_of(made.id)) == 1.0


@pytest.mark.parametrize("error", [None, UpstreamUnavailable("status 429", retry_after_s=900)])
async def test_a_wait_beyond_the_deadline_is_half_of_the_time_until_it(
    stage: Stage, error: UpstreamUnavailable | None
) -> None:
    """So work that is done before the deadline is found, whatever its upstream asks for."""
    stage.limit(deadline_ms=600_000)
    made = await running(stage)
    if error:
        stage.upstream.poll_errors = [error]
    else:
        stage.upstream.retry_after_s = 900
    await stage.fire_alarms(made.id)
    (alarm,) = await stage.alarms(made.id)
    assert alarm.due_ms - stage.clock.ms == (made.deadline_ms - stage.clock.ms) // 2
    next(iter(stage.upstream.works.values())).course = [Status.COMPLETED]
    assert (await stage.finish(made.id)).status is Status.COMPLETED


async def test_no_poll_sleeps_through_the_deadline(stage: Stage) -> None:
    """The last poll is due at the deadline, which ends the response, however much the waits are stretched."""
    stage.limit(deadline_ms=100_000)
    made = await running(stage)
    for _ in range(100):
        stage.ports.poll_pace.note(shard_of(made.id), 60_000)
    while not (await stage.record(made.id)).status.is_terminal:
        await stage.fire_alarms(made.id)
    assert stage.clock.ms == START_MS + 100_000
    assert (await stage.shown(made.id))["error"]["code"] == "deadline_exceeded"


@pytest.mark.parametrize("lateness_ms", [0, 60_000])
async def test_an_upstream_that_tells_of_its_ends_is_polled_once_a_minute_at_most(
    stage: Stage, lateness_ms: int
) -> None:
    """Its polls are only a safety net. They come a minute apart or later, and never more than 5 minutes."""
    stage.treat(webhook_secrets=(SECRET,))
    made = await running(stage)
    for _ in range(12):
        (alarm,) = await stage.alarms(made.id)
        assert 60_000 <= alarm.due_ms - stage.clock.ms <= 300_000
        stage.clock.ms = alarm.due_ms + lateness_ms
        await stage.sweep(made.id)


async def test_a_404_about_a_response_that_has_ended_has_no_effect(stage: Stage) -> None:
    """Before it acts on a 404, a poll reads its record, whenever it was read last. Only the alarm is removed."""
    made = await running(stage)
    await stage.engine.cancel(ANN, made.id)
    stage.upstream.poll_errors = [UpstreamMissing("status 404")]
    stage.clock.advance(2)
    await stage.sweep(made.id)
    assert stage.upstream.poll_errors == []
    assert await stage.kinds(made.id) == [Kind.PURGE]
