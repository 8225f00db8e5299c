"""Sweeps: an alarm is moved before it is acted on, and a failure of one alarm does not affect the others."""

import asyncio
from dataclasses import replace

import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.changesets import ChangeSet
from shared.core.errors import UpstreamUnavailable, UpstreamUncertain
from shared.core.ids import shard_of
from shared.core.records import Record, Target
from shared.core.states import Status
from shared.scheduler.sweeps import sweep
from tests.support.clocks import START_MS
from tests.support.conditions import until
from tests.support.fakes.peers import Work
from tests.support.log_capture import WrittenLines, log_events, log_lines
from tests.support.sent_messages import wakeup
from tests.support.stage import ANN, CALLBACK_URL, NO_ALARMS, Stage

NOW_S = START_MS // 1000
HOUR_MS = 3_600_000
OUTAGE = UpstreamUnavailable("ConnectError")
BUG = ZeroDivisionError("a bug of ours")


async def running(stage: Stage, count: int, shard: str = "a") -> list[Work]:
    """Plant the polls of `count` responses of a shard, due now, whose work never ends. Return the works."""
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
    """Create another response in the same shard whose work never ends. Return its work."""
    stage.upstream.course = [Status.IN_PROGRESS]
    while shard_of((other := await stage.create()).id) != shard_of(response_id):
        continue
    return stage.upstream.works[str(other.upstream.token)]


async def ring_until_ended(stage: Stage, response_id: str, rings: int) -> Record:
    """Act on the first alarm of a response `rings` times, and check that it runs until then. Return its record."""
    for _ in range(rings):
        assert not (await stage.record(response_id)).status.is_terminal
        await stage.fire_alarms(response_id)
    return await stage.record(response_id)


# One sweep


async def test_a_sweep_acts_on_due_alarms_and_wakes_for_the_next_one(stage: Stage) -> None:
    """A sweep moves and acts on the due alarms. Its wake-up is for the earliest alarm that follows."""
    works = await running(stage, 3)
    assert await sweep(stage.ports, "a", NOW_S) == 3
    assert [work.polls for work in works] == [1, 1, 1]
    assert stage.sent == [wakeup(NOW_S + 1, 1)]


async def test_a_sweep_takes_one_query_and_one_transaction(stage: Stage) -> None:
    """One query reads the due alarms and the next one. The times of the moved ones are known without another."""
    await running(stage, 3)
    await stage.plant([Alarm(START_MS + 40_000, Kind.PURGE, f"resp_a{9:031x}")])
    before = stage.proxy.counts.copy()
    assert await sweep(stage.ports, "a", NOW_S) == 3
    assert stage.proxy.counts - before == {"GET responses()": 1, "POST $batch": 1}


async def test_a_sweep_asks_for_no_wakeup_for_alarms_that_are_gone(stage: Stage) -> None:
    """The wake-up is for the next alarm that stands. The alarm of a response that has just ended is not counted."""
    (work,) = await running(stage, 1)
    work.course = [Status.COMPLETED]
    await stage.plant([Alarm(START_MS + 40_000, Kind.PURGE, f"resp_a{9:031x}")])
    assert await sweep(stage.ports, "a", NOW_S) == 1
    assert stage.sent == [wakeup(NOW_S + 40, 40)]


async def test_polls_come_after_the_other_kinds(stage: Stage) -> None:
    """An alarm of another kind is acted on at once, however many polls are due before it and wait."""
    await running(stage, 120)
    await stage.plant([(last := Alarm(START_MS, Kind.PURGE, f"resp_a{'f' * 31}"))])
    gate = stage.upstream.hold_polls()
    sweeping = asyncio.create_task(sweep(stage.ports, "a", NOW_S))

    async def is_purged() -> bool:
        return not await stage.alarms(last.id)

    await until(is_purged)
    assert not sweeping.done()
    gate.open()
    assert await sweeping == 121


async def test_a_sweep_that_finds_nothing_ends(stage: Stage) -> None:
    """A sweep that finds nothing due sends no wake-up, so that chains of wake-ups merge."""
    await running(stage, 1)
    stage.clock.ms -= 2_000
    assert await sweep(stage.ports, "a", 0) == 0
    assert stage.sent == []


@pytest.mark.parametrize(("behind_ms", "taken"), [(999, 1), (2_000, 1), (5_000, 1), (5_001, 0)])
async def test_the_time_of_the_message_counts_up_to_five_seconds_ahead(
    stage: Stage, behind_ms: int, taken: int
) -> None:
    """A sweep takes alarms up to its wake-up's time even if its clock is behind by up to 5 s.

    A time further ahead is ignored.
    """
    await running(stage, 1)
    stage.clock.ms -= behind_ms
    assert await sweep(stage.ports, "a", NOW_S) == taken


async def test_a_late_message_does_not_turn_the_clock_back(stage: Stage) -> None:
    """A wake-up for a time in the past has the same effect as one for now."""
    await running(stage, 1)
    assert await sweep(stage.ports, "a", NOW_S - 500) == 1


async def test_alarms_beyond_500_are_left_to_the_next_sweep(stage: Stage) -> None:
    """A sweep takes at most 500 alarms and sends an immediate wake-up. The next sweep takes the rest."""
    works = await running(stage, 520)
    assert await sweep(stage.ports, "a", NOW_S) == 500
    assert stage.sent == [wakeup(NOW_S, 0)]
    assert await sweep(stage.ports, "a", NOW_S) == 20
    assert {work.polls for work in works} == {1}


async def test_two_sweeps_at_once_share_the_alarms(stage: Stage) -> None:
    """When two processes sweep a shard at once, each alarm is acted on exactly once."""
    works = await running(stage, 120)
    other = await stage.new_ports(stage.clock)
    taken = await asyncio.gather(sweep(stage.ports, "a", NOW_S), sweep(other, "a", NOW_S))
    assert sum(taken) == 120
    assert {work.polls for work in works} == {1}


async def test_a_slow_alarm_does_not_delay_the_next_wakeup(stage: Stage) -> None:
    """A sweep sends its next wake-up although one of its alarms is still being acted on."""
    await running(stage, 1)
    gate = stage.upstream.hold_polls()
    slow = asyncio.create_task(sweep(stage.ports, "a", NOW_S))

    async def is_sent() -> bool:
        return stage.sent == [wakeup(NOW_S + 1, 1)]

    await until(is_sent)
    assert not slow.done()
    gate.open()
    assert await slow == 1


# Alarms that cannot be handled


async def test_damaged_input_fails_its_response_and_delays_no_other(stage: Stage) -> None:
    """After five failures in a row a response ends with `internal_error`, without another read of its damaged input.

    The polls of another response of the shard go on.
    """
    stage.upstream.start_errors = [UpstreamUncertain("ReadError")]
    made = await stage.create(callback_url=CALLBACK_URL)
    await stage.put(made.id, f"resp|{made.id}|input|00", p0=b"damaged")
    work = await beside(stage, made.id)
    failed = await ring_until_ended(stage, made.id, 6)
    assert failed.status is Status.FAILED
    assert stage.upstream.starts[made.id] == 1
    assert work.polls >= 5
    shown = await stage.shown(made.id)
    assert shown["error"]["code"] == "internal_error"
    await stage.deliver()
    assert await stage.kinds(made.id) == [Kind.PURGE]


async def test_a_poll_that_always_raises_fails_its_response(stage: Stage) -> None:
    """After five polls that raise an unexpected error, the response fails and its work upstream is stopped."""
    made = await stage.create()
    stage.upstream.poll_errors = [BUG] * 5
    failed = await ring_until_ended(stage, made.id, 6)
    assert failed.status is Status.FAILED
    await stage.fire_alarms(made.id)
    assert stage.upstream.stopped == ["up_0"]


async def test_a_success_resets_the_count_of_failures(stage: Stage) -> None:
    """A poll that succeeds resets the count of failures. Only five in a row end the response."""
    stage.upstream.course = [Status.IN_PROGRESS]
    made = await stage.create()
    for _ in range(2):
        stage.upstream.poll_errors = [BUG] * 4
        for _ in range(5):
            await stage.fire_alarms(made.id)
    assert not (await stage.record(made.id)).status.is_terminal


async def test_a_crash_counts_like_a_failure(stage: Stage) -> None:
    """The attempt is counted before the action, so a poll that kills every process fails the response in the end."""
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
    await stage.fire_alarms(made.id)
    assert (await stage.record(made.id)).status is Status.FAILED


async def test_a_damaged_result_fails_its_delivery(stage: Stage) -> None:
    """A result that cannot be read fails its delivery. The response keeps its status and its purge alarm."""
    stage.upstream.first = Status.COMPLETED
    stage.receiver.is_busy = True
    made = await stage.create(callback_url=CALLBACK_URL)
    stage.receiver.is_busy = False
    await stage.ports.store.commit(ChangeSet(replace(made, body=b"damaged"), writes_body=True))
    for _ in range(6):
        await stage.fire_alarms(made.id)
    ended = await stage.record(made.id)
    assert ended.status is Status.COMPLETED
    delivery = ended.delivery(Target.CALLBACK)
    assert delivery is not None
    assert delivery.state == "failed"
    assert stage.receiver.posts == []
    assert await stage.kinds(made.id) == [Kind.PURGE]


async def test_a_damaged_record_delays_no_other(stage: Stage, written: WrittenLines) -> None:
    """An alarm whose record cannot be read gets five attempts, then one every hour.

    Other responses are polled on time.
    """
    stage.upstream.course = [Status.COMPLETED]
    made = await stage.create()
    await stage.put(made.id, f"resp|{made.id}", facts="damaged")
    work = await beside(stage, made.id)
    for failures in (5, 1, 1):
        written.clear()
        while "row.unreadable" not in log_events(written):
            await stage.fire_alarms(made.id)
        assert log_events(written).count("alarm.failed") == failures
        (alarm,) = await stage.alarms(made.id)
        assert alarm.due_ms - stage.clock.ms == HOUR_MS
    assert work.polls >= 5


async def test_a_stop_that_always_raises_is_tried_every_hour(stage: Stage) -> None:
    """A stop that fails five times is tried again every hour, because the upstream's work costs money."""
    made = await stage.create()
    stage.upstream.stop_errors = [BUG] * 5
    await stage.engine.cancel(ANN, made.id)
    while not stage.upstream.stopped:
        await stage.fire_alarms(made.id)
        assert stage.clock.ms < START_MS + 2 * HOUR_MS
    assert stage.clock.ms > START_MS + HOUR_MS


async def test_a_purge_that_always_raises_is_tried_every_hour(stage: Stage) -> None:
    """A purge that fails five times is tried again every hour until the response is removed."""
    stage.upstream.first = Status.COMPLETED
    made = await stage.create()
    stage.upstream.forget_errors = [BUG] * 5
    await stage.engine.delete(ANN, made.id)
    while await stage.alarms(made.id):
        await stage.fire_alarms(made.id)
        assert stage.clock.ms < START_MS + 2 * HOUR_MS
    assert stage.clock.ms > START_MS + HOUR_MS
    assert await stage.ports.store.read(made.id) is None


async def test_rows_that_are_not_alarms_stop_nothing(stage: Stage, written: WrittenLines) -> None:
    """Rows with unreadable alarm keys are logged. The alarms behind them are acted on, and the next wake-up is sent."""
    for key in NO_ALARMS:
        await stage.put("resp_a", key, facts="damaged", write_id="")
    await stage.plant([newer := Alarm(1, Kind.DELIVER, f"resp_{'a' * 32}", "newer")])
    (work,) = await running(stage, 1)
    assert (await sweep(stage.ports, "a", NOW_S), work.polls) == (1, 1)
    assert stage.sent == [wakeup(NOW_S + 1, 1)]
    told = {line["key"] for line in log_lines(written) if line["event"] == "alarm.unreadable"}
    assert told == {*NO_ALARMS, newer.key}
