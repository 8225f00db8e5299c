"""Sweeps: move first, act after; every alarm on its own, whatever the others do."""

import asyncio
from dataclasses import replace

import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.changesets import ChangeSet
from shared.core.errors import UpstreamUnavailable
from shared.core.ids import shard_of
from shared.core.records import Record, Target
from shared.core.states import Status
from shared.scheduler.sweeps import sweep
from tests.support.clocks import START_MS
from tests.support.fakes.peers import Work
from tests.support.log_capture import log_events, log_lines
from tests.support.stage import ANN, CALLBACK_URL, NO_ALARMS, Stage, until, wakeup

NOW_S = START_MS // 1000
HOUR_MS = 3_600_000
OUTAGE = UpstreamUnavailable("ConnectError")
BUG = ZeroDivisionError("a bug of ours")


async def running(stage: Stage, count: int, shard: str = "a") -> list[Work]:
    """Plant the polls of as many responses of a shard, due now, whose work goes on for ever."""
    works = [Work(f"t{n}", {}, [Status.IN_PROGRESS], Status.QUEUED) for n in range(count)]
    stage.upstream.works |= {work.token: work for work in works}
    await stage.plant(
        [
            Alarm(
                START_MS,
                Kind.POLL,
                f"resp_{shard}{n:031x}",
                token=work.token,
                born_ms=START_MS,
                deadline_ms=START_MS + HOUR_MS,
                read_ms=START_MS - 1,
            )
            for n, work in enumerate(works)
        ]
    )
    return works


async def beside(stage: Stage, response_id: str) -> Work:
    """Return the work of another response of the same shard, which goes on for ever."""
    stage.upstream.course = [Status.IN_PROGRESS]
    while shard_of((other := await stage.create()).id) != shard_of(response_id):
        continue
    return stage.upstream.works[str(other.upstream.token)]


async def ring_until_ended(stage: Stage, response_id: str, rings: int) -> Record:
    """Ring the first alarm of a response that often, after which it must have ended."""
    for _ in range(rings):
        assert not (await stage.record(response_id)).status.is_terminal
        await stage.ring(response_id)
    return await stage.record(response_id)


# One sweep


async def test_a_sweep_takes_what_is_due_and_nudges_for_what_comes_next(stage: Stage) -> None:
    """What is due is moved and acted on; the next nudge is for the shard's earliest alarm."""
    works = await running(stage, 3)
    assert await sweep(stage.ports, "a", NOW_S) == 3
    assert [work.polls for work in works] == [1, 1, 1]
    assert stage.sent == [wakeup(NOW_S + 1, 1)]


async def test_a_sweep_that_finds_nothing_ends(stage: Stage) -> None:
    """It moves nothing and nudges for nothing, so that chains of nudges merge."""
    await running(stage, 1)
    stage.clock.ms -= 2_000
    assert await sweep(stage.ports, "a", 0) == 0
    assert stage.sent == []


@pytest.mark.parametrize(("behind_ms", "taken"), [(999, 1), (2_000, 1), (5_000, 1), (5_001, 0)])
async def test_the_time_of_the_message_counts_up_to_five_seconds_ahead(
    stage: Stage, behind_ms: int, taken: int
) -> None:
    """A sweeper whose clock is behind that of the one who nudged still takes the alarm; a wild time is not believed."""
    await running(stage, 1)
    stage.clock.ms -= behind_ms
    assert await sweep(stage.ports, "a", NOW_S) == taken


async def test_a_late_message_does_not_turn_the_clock_back(stage: Stage) -> None:
    """An old nudge is as good as one for now."""
    await running(stage, 1)
    assert await sweep(stage.ports, "a", NOW_S - 500) == 1


async def test_more_than_500_alarms_are_the_next_sweeps(stage: Stage) -> None:
    """A sweep takes 500 and nudges for now; the next one takes the rest."""
    works = await running(stage, 520)
    assert await sweep(stage.ports, "a", NOW_S) == 500
    assert stage.sent == [wakeup(NOW_S, 0)]
    assert await sweep(stage.ports, "a", NOW_S) == 20
    assert {work.polls for work in works} == {1}


async def test_two_sweeps_at_once_share_the_alarms(stage: Stage) -> None:
    """Every alarm is acted on by exactly one of them."""
    works = await running(stage, 120)
    other = await stage.new_ports(stage.clock)
    taken = await asyncio.gather(sweep(stage.ports, "a", NOW_S), sweep(other, "a", NOW_S))
    assert sum(taken) == 120
    assert {work.polls for work in works} == {1}


async def test_a_slow_alarm_holds_no_nudge_up(stage: Stage) -> None:
    """The next nudge is sent after a second at the latest, while the slow one is still under way."""
    await running(stage, 1)
    gate = stage.upstream.hold_polls()
    slow = asyncio.create_task(sweep(stage.ports, "a", NOW_S))

    async def is_nudged() -> bool:
        return stage.sent == [wakeup(NOW_S + 1, 1)]

    await until(is_nudged)
    assert not slow.done()
    gate.open()
    assert await slow == 1


async def test_an_alarm_of_a_kind_that_nobody_needs_is_removed(stage: Stage) -> None:
    """No response of this version runs: such an alarm goes without effect."""
    run = Alarm(START_MS, Kind.RUN, "resp_" + "a" * 32)
    await stage.plant([run])
    await stage.sweep(run.id)
    assert await stage.alarms(run.id) == []


# Alarms that cannot be handled


async def test_damaged_input_fails_its_response_and_delays_no_other(stage: Stage) -> None:
    """After five failures in a row the response ends with internal_error, without its input being read again."""
    stage.upstream.start_errors = [OUTAGE]
    made = await stage.create(callback_url=CALLBACK_URL)
    await stage.put(made.id, f"resp|{made.id}|input|00", p0=b"damaged")
    work = await beside(stage, made.id)
    failed = await ring_until_ended(stage, made.id, 6)
    assert failed.status is Status.FAILED
    assert stage.upstream.starts[made.id] == 1
    assert work.polls >= 6
    shown = await stage.shown(made.id)
    assert shown["error"]["code"] == "internal_error"
    assert await stage.kinds(made.id) == [Kind.DELIVER, Kind.PURGE]


async def test_a_poll_that_always_raises_fails_its_response(stage: Stage) -> None:
    """Five times the unexpected, with back-off; then the response ends and its work is stopped."""
    made = await stage.create()
    stage.upstream.poll_errors = [BUG] * 5
    failed = await ring_until_ended(stage, made.id, 6)
    assert failed.status is Status.FAILED
    await stage.ring(made.id)
    assert stage.upstream.stopped == ["up_0"]


async def test_the_unexpected_is_forgotten_once_it_ends(stage: Stage) -> None:
    """Four failures, one poll that ends well, four failures again: only five in a row count."""
    stage.upstream.course = [Status.IN_PROGRESS]
    made = await stage.create()
    for _ in range(2):
        stage.upstream.poll_errors = [BUG] * 4
        for _ in range(5):
            await stage.ring(made.id)
    assert not (await stage.record(made.id)).status.is_terminal


async def test_a_death_counts_like_a_failure(stage: Stage) -> None:
    """The attempt is counted before the action, so a poll that kills every process ends the response, too."""
    stage.upstream.course = [Status.IN_PROGRESS]
    made = await stage.create()
    for _ in range(8):
        gate = stage.upstream.hold_polls()
        (alarm,) = await stage.alarms(made.id)
        stage.clock.ms = alarm.due_ms
        process = asyncio.create_task(sweep(await stage.new_ports(stage.clock), shard_of(made.id), 0))
        await gate.reached.wait()
        process.cancel()
        await asyncio.wait([process])
        gate.open()
    await stage.ring(made.id)
    assert (await stage.record(made.id)).status is Status.FAILED


async def test_a_damaged_result_fails_its_delivery(stage: Stage) -> None:
    """What cannot be read cannot be sent: the delivery ends failed, the response keeps its status and its purge."""
    stage.upstream.first = Status.COMPLETED
    made = await stage.create(callback_url=CALLBACK_URL)
    await stage.ports.store.commit(ChangeSet(replace(made, body=b"damaged"), writes_body=True))
    for _ in range(6):
        await stage.ring(made.id)
    ended = await stage.record(made.id)
    assert ended.status is Status.COMPLETED
    delivery = ended.delivery(Target.CALLBACK)
    assert delivery is not None
    assert delivery.state == "failed"
    assert stage.receiver.posts == []
    assert await stage.kinds(made.id) == [Kind.PURGE]


async def test_a_damaged_record_delays_no_other(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A row that is not a record can neither be handled nor ended: its alarm gets five tries, then one every hour."""
    stage.upstream.course = [Status.COMPLETED]
    made = await stage.create()
    await stage.put(made.id, f"resp|{made.id}", facts="damaged")
    work = await beside(stage, made.id)
    for failures in (5, 1, 1):
        caplog.clear()
        while "row.unreadable" not in log_events(caplog):
            await stage.ring(made.id)
        assert log_events(caplog).count("alarm.failed") == failures
        (alarm,) = await stage.alarms(made.id)
        assert alarm.due_ms - stage.clock.ms == HOUR_MS
    assert work.polls >= 5


async def test_a_stop_that_always_raises_is_tried_every_hour(stage: Stage) -> None:
    """The upstream's work costs money: five failures slow its stop down and do not end it."""
    made = await stage.create()
    stage.upstream.stop_errors = [BUG] * 5
    await stage.engine.cancel(ANN, made.id)
    while not stage.upstream.stopped:
        await stage.ring(made.id)
        assert stage.clock.ms < START_MS + 2 * HOUR_MS
    assert stage.clock.ms > START_MS + HOUR_MS


async def test_a_purge_that_always_raises_is_tried_every_hour(stage: Stage) -> None:
    """What was deleted must go in the end, whatever keeps it now."""
    stage.upstream.first = Status.COMPLETED
    made = await stage.create()
    stage.upstream.forget_errors = [BUG] * 5
    await stage.engine.delete(ANN, made.id)
    while await stage.alarms(made.id):
        await stage.ring(made.id)
        assert stage.clock.ms < START_MS + 2 * HOUR_MS
    assert stage.clock.ms > START_MS + HOUR_MS
    assert await stage.ports.store.read(made.id) is None


async def test_rows_that_are_no_alarms_stop_nobody(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """They are logged, and the alarms behind them ring in time, one sweep leading to the next."""
    for key in NO_ALARMS:
        await stage.put("resp_a", key, facts="damaged", write_id="")
    (work,) = await running(stage, 1)
    assert await sweep(stage.ports, "a", NOW_S) == 1
    assert work.polls == 1
    assert stage.sent == [wakeup(NOW_S + 1, 1)]
    logged = {line["key"] for line in log_lines(caplog) if line["event"] == "alarm.unreadable"}
    assert logged == set(NO_ALARMS)
