"""Polling: what a poll costs, when the next one is, what it bears, and how it ends a response."""

import asyncio
import os
from collections import Counter

import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.errors import UpstreamMissing, UpstreamOversized, UpstreamUnavailable
from shared.core.ids import new_id, shard_of
from shared.core.records import Record
from shared.core.states import Status
from shared.runtime.single_flight import SingleFlight
from shared.scheduler.sweeps import sweep
from tests.support.clocks import START_MS
from tests.support.fakes.peers import Outcome
from tests.support.stage import ANN, CALLBACK_URL, Stage, until

OUTAGE = UpstreamUnavailable("ConnectError")
RUNNING: list[Outcome] = [Status.IN_PROGRESS]
# A sweep asks what is due, moves it, and asks what is next.
SWEEP = Counter({"GET responses()": 2, "POST $batch": 1})


async def running(stage: Stage, *course: Outcome) -> Record:
    """Return a response whose work goes on for ever, or takes the course given."""
    stage.upstream.course = list(course) or RUNNING
    return await stage.create()


async def poll(stage: Stage, response_id: str) -> Counter[str]:
    """Ring the poll of a response when it is due; return the storage requests of that."""
    (alarm,) = await stage.alarms(response_id)
    stage.clock.ms = alarm.due_ms
    before = stage.proxy.counts.copy()
    await stage.sweep(response_id)
    return stage.proxy.counts - before


async def waits_s(stage: Stage, response_id: str, count: int) -> list[int]:
    """Return the seconds from one poll to the next, that many times."""
    waits = []
    for _ in range(count):
        (alarm,) = await stage.alarms(response_id)
        waits.append((alarm.due_ms - stage.clock.ms) // 1000)
        await stage.ring(response_id)
    return waits


async def error_code(stage: Stage, response_id: str) -> str:
    """Return the code with which a response has failed."""
    shown = await stage.shown(response_id)
    assert shown["status"] == "failed"
    return str(shown["error"]["code"])


# What a poll costs


async def test_a_poll_without_news_writes_nothing_and_reads_no_record(stage: Stage) -> None:
    """Its alarm was moved before, and that is all; every fourth in a row puts the count of attempts back."""
    made = await running(stage)
    costs = [await poll(stage, made.id) for _ in range(8)]
    back = Counter({"POST $batch": 1})
    assert costs == [SWEEP, SWEEP, SWEEP, SWEEP + back] * 2
    assert await stage.record(made.id) == made


async def test_the_record_is_read_once_a_minute(stage: Stage) -> None:
    """However often it polls, an alarm looks at its record once a minute; what it learned is then written there."""
    made = await running(stage)
    reads = 0
    while stage.clock.ms < START_MS + 600_000:
        reads += (await poll(stage, made.id))["GET responses(key)"]
    assert 8 <= reads <= 10
    assert (await stage.record(made.id)).status is Status.IN_PROGRESS


async def test_a_poll_whose_response_is_over_goes_without_effect(stage: Stage) -> None:
    """Within a minute an alarm learns that its record is terminal, and does not ask the upstream again."""
    made = await running(stage)
    await stage.engine.cancel(ANN, made.id)
    stage.clock.advance(61)
    await stage.sweep(made.id)
    assert await stage.kinds(made.id) == [Kind.PURGE]
    assert stage.upstream.polls == 0


async def test_a_poll_whose_response_is_gone_goes_without_effect(stage: Stage) -> None:
    """An alarm without a record is nobody's, and is removed."""
    orphan = Alarm(START_MS, Kind.POLL, new_id(), token="up_0", born_ms=START_MS)
    await stage.plant([orphan])
    await stage.sweep(orphan.id)
    assert await stage.alarms(orphan.id) == []
    assert stage.upstream.polls == 0


# When the next one is


async def test_the_wait_is_a_tenth_of_the_time_that_has_passed(stage: Stage) -> None:
    """From one second up to thirty, as long as the response runs."""
    made = await running(stage)
    waits = await waits_s(stage, made.id, 60)
    assert waits[:10] == [1] * 10
    assert waits == sorted(waits)
    assert waits[-1] == 30


async def test_an_upstream_that_asks_for_patience_gets_it(stage: Stage) -> None:
    """Retry-After of an unfinished answer is the least wait, at the cost of one more move, and at most an hour."""
    made = await running(stage)
    stage.upstream.retry_after_s = 45
    await stage.ring(made.id)
    assert await waits_s(stage, made.id, 2) == [45, 45]
    stage.upstream.retry_after_s = 86_400
    await stage.ring(made.id)
    assert await waits_s(stage, made.id, 1) == [3_600]


async def test_an_upstream_outage_is_borne_with_growing_waits(stage: Stage) -> None:
    """Errors never end the response before its deadline; when the upstream is back, polling is as before."""
    made = await running(stage)
    stage.upstream.poll_errors = [OUTAGE] * 8
    assert await waits_s(stage, made.id, 9) == [1, 1, 1, 2, 4, 8, 16, 30, 30]
    assert await waits_s(stage, made.id, 2) == [9, 10]
    assert (await stage.record(made.id)).status is not Status.FAILED


async def test_a_throttled_poll_waits_as_long_as_it_is_told(stage: Stage) -> None:
    """A 429 with Retry-After sets the time of the next poll, a second later for a sweep that is early."""
    made = await running(stage)
    stage.upstream.poll_errors = [UpstreamUnavailable("status 429", retry_after_s=90)]
    await stage.ring(made.id)
    assert await waits_s(stage, made.id, 1) == [91]


# What it bears, and what it does not


async def test_a_404_is_borne_for_two_minutes(stage: Stage) -> None:
    """Azure answers 404 soon after a create: what is found again in time has lost nothing."""
    made = await running(stage, *[UpstreamMissing()] * 30, Status.IN_PROGRESS, Status.COMPLETED)
    assert (await stage.finish(made.id)).status is Status.COMPLETED
    assert stage.clock.ms > START_MS + 60_000


async def test_a_response_that_stays_missing_is_lost(stage: Stage) -> None:
    """After two minutes of 404 the response fails with upstream_lost; an answer between starts the time anew."""
    made = await running(stage, *[UpstreamMissing()] * 20, Status.IN_PROGRESS, UpstreamMissing())
    failed = await stage.finish(made.id)
    assert await error_code(stage, made.id) == "upstream_lost"
    assert failed.ended_ms - START_MS > 20_000 + 120_000
    assert await stage.kinds(made.id) == [Kind.PURGE]


async def test_the_deadline_ends_the_response_and_stops_the_work(stage: Stage) -> None:
    """A response that runs too long fails with deadline_exceeded, and its upstream is told."""
    stage.limit(deadline_ms=120_000)
    made = await running(stage)
    failed = await stage.finish(made.id)
    assert await error_code(stage, made.id) == "deadline_exceeded"
    assert 120_000 <= failed.ended_ms - START_MS <= 150_000
    await stage.ring(made.id)
    assert stage.upstream.stopped == ["up_0"]


async def test_an_answer_over_the_upstreams_limit_fails_the_response(stage: Stage) -> None:
    """What cannot be read whole will not be smaller next time: output_too_large, not a stuck response."""
    made = await running(stage, UpstreamOversized())
    await stage.finish(made.id)
    assert await error_code(stage, made.id) == "output_too_large"


@pytest.mark.parametrize("by", ["sweep", "caller"])
async def test_an_output_that_cannot_be_kept_fails_the_response(stage: Stage, by: str) -> None:
    """An output that is over the limit when packed ends the response with output_too_large, whoever finds it."""
    stage.upstream.output = os.urandom(3_000_000).hex()
    made = await running(stage, Status.COMPLETED)
    if by == "sweep":
        await stage.finish(made.id)
    assert await error_code(stage, made.id) == "output_too_large"


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.INCOMPLETE, Status.CANCELLED])
async def test_every_end_of_the_upstream_is_an_end_here(stage: Stage, status: Status) -> None:
    """The response takes over status and output, and only its purge is left."""
    made = await running(stage, Status.IN_PROGRESS, status)
    assert (await stage.finish(made.id)).status is status
    shown = await stage.shown(made.id)
    assert shown["status"] == status
    assert (shown["output"] == []) is (status is Status.CANCELLED)
    assert await stage.kinds(made.id) == [Kind.PURGE]
    assert stage.upstream.stopped == []


# Callers who ask


async def test_a_get_is_a_poll_at_most_once_a_second(stage: Stage) -> None:
    """Callers who ask together share one question to the upstream, and the alarm is left alone."""
    made = await running(stage)
    alarms = await stage.alarms(made.id)
    for shown in await asyncio.gather(*(stage.shown(made.id) for _ in range(10))):
        assert shown["status"] == "in_progress"
    assert stage.upstream.polls == 1
    assert await stage.alarms(made.id) == alarms

    async def asked_again() -> bool:
        await stage.shown(made.id)
        return stage.upstream.polls == 2

    await until(asked_again)


async def test_a_status_never_goes_back(stage: Stage) -> None:
    """Once a caller has read in_progress, an upstream that says queued again is not repeated."""
    made = await running(stage, Status.IN_PROGRESS, Status.QUEUED)
    assert (await stage.shown(made.id))["status"] == "in_progress"
    stage.change(polls=SingleFlight())
    assert (await stage.shown(made.id))["status"] == "in_progress"
    assert stage.upstream.polls == 2


async def test_a_get_during_an_outage_shows_what_is_known(stage: Stage) -> None:
    """An upstream that cannot be asked is no error of the caller."""
    made = await running(stage)
    stage.upstream.poll_errors = [OUTAGE]
    shown = await stage.shown(made.id)
    assert (shown["status"], shown["id"]) == ("queued", made.id)
    assert shown["continuation_token"]


async def test_a_get_and_a_sweep_of_one_process_share_a_poll(stage: Stage) -> None:
    """The upstream is asked once for both, and the end is written once."""
    stage.upstream.course = [Status.COMPLETED]
    made = await stage.create(callback_url=CALLBACK_URL)
    gate = stage.upstream.hold_polls()
    get = asyncio.create_task(stage.shown(made.id))
    await gate.reached.wait()
    gate.open()
    await stage.ring(made.id)
    assert (await get)["status"] == "completed"
    assert len(stage.deliveries()) == 1


async def test_two_processes_that_both_see_the_end_write_it_once(stage: Stage) -> None:
    """Both have the upstream's last word in hand: one terminal transaction, one delivery."""
    stage.upstream.course = [Status.COMPLETED]
    made = await stage.create(callback_url=CALLBACK_URL)
    stage.clock.advance(1)
    gate = stage.upstream.hold_polls()
    get = asyncio.create_task(stage.shown(made.id))
    ring = asyncio.create_task(sweep(await stage.new_ports(stage.clock), shard_of(made.id), 0))

    async def both_hold() -> bool:
        return stage.upstream.polls == 2

    await until(both_hold)
    gate.open()
    assert await ring == 1
    assert (await get)["status"] == "completed"
    assert await stage.kinds(made.id) == [Kind.DELIVER, Kind.PURGE]
    assert len(stage.deliveries()) == 1
