"""Polling: the cost of a poll, when the next one is due, which errors are tolerated, and how a poll ends a response."""

import asyncio
import os
from collections import Counter
from itertools import pairwise

import pytest

from shared.core.alarms import Alarm, AnsweredPolls, Kind
from shared.core.errors import UpstreamMissing, UpstreamOversized, UpstreamUnavailable
from shared.core.ids import new_id, shard_of
from shared.core.records import Record
from shared.core.states import Status
from shared.runtime.single_flight import SingleFlight
from shared.scheduler.sweeps import sweep
from tests.support.clocks import START_MS
from tests.support.conditions import until
from tests.support.fakes.peers import Outcome
from tests.support.stage import ANN, CALLBACK_URL, Stage

OUTAGE = UpstreamUnavailable("ConnectError")
RUNNING: list[Outcome] = [Status.IN_PROGRESS]
# A sweep queries the due alarms and the next one, and moves those that are due.
SWEEP = Counter({"GET responses()": 1, "POST $batch": 1})


async def running(stage: Stage, *course: Outcome) -> Record:
    """Return a response whose work never ends, or follows the given course."""
    stage.upstream.course = list(course) or RUNNING
    return await stage.create()


async def poll(stage: Stage, response_id: str) -> Counter[str]:
    """Sweep the poll of a response when it is due. Return the storage requests that this took."""
    (alarm,) = await stage.alarms(response_id)
    stage.clock.ms = alarm.due_ms
    before = stage.proxy.counts.copy()
    await stage.sweep(response_id)
    return stage.proxy.counts - before


async def waits_s(stage: Stage, response_id: str, count: int) -> list[int]:
    """Return the next `count` waits before a poll, in seconds."""
    waits = []
    for _ in range(count):
        (alarm,) = await stage.alarms(response_id)
        waits.append((alarm.due_ms - stage.clock.ms) // 1000)
        await stage.fire_alarms(response_id)
    return waits


async def error_code(stage: Stage, response_id: str) -> str:
    """Return the error code of a failed response."""
    shown = await stage.shown(response_id)
    assert shown["status"] == "failed"
    return str(shown["error"]["code"])


# The cost of a poll


async def test_a_poll_without_change_writes_nothing_and_reads_no_record(stage: Stage) -> None:
    """A poll that finds no change only moves its alarm, and the move counts it as the first attempt again."""
    made = await running(stage)
    assert [await poll(stage, made.id) for _ in range(8)] == [SWEEP] * 8
    (alarm,) = await stage.alarms(made.id)
    assert alarm.attempt == 1
    assert await stage.record(made.id) == made


async def test_a_process_does_not_know_how_the_polls_of_others_went(stage: Stage) -> None:
    """Whether they were answered is not stored. So the fourth attempt in a row resets the count when it is answered."""
    made = await running(stage)
    costs = []
    for _ in range(8):
        stage.change(answered=AnsweredPolls())
        costs.append(await poll(stage, made.id))
    assert costs == [SWEEP, SWEEP, SWEEP, SWEEP + Counter({"POST $batch": 1})] * 2


async def test_the_record_is_read_once_a_minute(stage: Stage) -> None:
    """The polls of a response read its record at least once a minute, and write a changed status then."""
    made = await running(stage)
    reads_ms = [START_MS]
    while stage.clock.ms < START_MS + 600_000:
        if (await poll(stage, made.id))["GET responses(key)"]:
            reads_ms.append(stage.clock.ms)
    assert max(later - earlier for earlier, later in pairwise(reads_ms)) <= 60_000
    assert len(reads_ms) <= 18
    assert (await stage.record(made.id)).status is Status.IN_PROGRESS


async def test_a_poll_whose_response_has_ended_has_no_effect(stage: Stage) -> None:
    """Within a minute, a poll alarm finds that its response has ended and is removed without a poll."""
    made = await running(stage)
    await stage.engine.cancel(ANN, made.id)
    stage.clock.advance(61)
    await stage.sweep(made.id)
    assert await stage.kinds(made.id) == [Kind.PURGE]
    assert stage.upstream.polls == 0


async def test_a_poll_whose_response_does_not_exist_has_no_effect(stage: Stage) -> None:
    """A poll alarm without a record is removed without a poll."""
    orphan = Alarm(START_MS, Kind.POLL, new_id(), token="up_0", born_ms=START_MS)
    await stage.plant([orphan])
    await stage.sweep(orphan.id)
    assert await stage.alarms(orphan.id) == []
    assert stage.upstream.polls == 0


# The next poll


async def test_the_wait_is_a_tenth_of_the_elapsed_time(stage: Stage) -> None:
    """The wait before the next poll grows with the response's age, from 1 s to 60 s."""
    made = await running(stage)
    waits = await waits_s(stage, made.id, 60)
    assert waits[:10] == [1] * 10
    assert waits == sorted(waits)
    assert waits[-1] == 60


async def test_the_retry_after_of_an_unfinished_answer_is_the_minimum_wait(stage: Stage) -> None:
    """The Retry-After of an unfinished answer is the minimum wait, up to an hour."""
    made = await running(stage)
    stage.upstream.retry_after_s = 45
    await stage.fire_alarms(made.id)
    assert await waits_s(stage, made.id, 2) == [45, 45]
    stage.upstream.retry_after_s = 86_400
    await stage.fire_alarms(made.id)
    assert await waits_s(stage, made.id, 1) == [3_600]


async def test_an_upstream_outage_is_tolerated_with_growing_waits(stage: Stage) -> None:
    """Errors of the upstream lengthen the waits and do not end the response.

    After the outage the usual waits return.
    """
    made = await running(stage)
    stage.upstream.poll_errors = [OUTAGE] * 8
    assert await waits_s(stage, made.id, 9) == [1, 1, 1, 2, 4, 8, 16, 30, 30]
    assert await waits_s(stage, made.id, 2) == [9, 10]
    assert (await stage.record(made.id)).status is not Status.FAILED


async def test_a_throttled_poll_waits_for_its_retry_after(stage: Stage) -> None:
    """A 429 with Retry-After sets the time of the next poll. One second is added, because a sweep may be early."""
    made = await running(stage)
    stage.upstream.poll_errors = [UpstreamUnavailable("status 429", retry_after_s=90)]
    await stage.fire_alarms(made.id)
    assert await waits_s(stage, made.id, 1) == [91]


# Errors that are tolerated, and ends


async def test_a_404_is_tolerated_for_two_minutes(stage: Stage) -> None:
    """A 404 does not end the response for two minutes, because Azure may answer 404 soon after a create."""
    made = await running(stage, *[UpstreamMissing()] * 30, Status.IN_PROGRESS, Status.COMPLETED)
    assert (await stage.finish(made.id)).status is Status.COMPLETED
    assert stage.clock.ms > START_MS + 60_000


async def test_a_response_that_stays_missing_is_lost(stage: Stage) -> None:
    """After two minutes of 404 the response fails with `upstream_lost`. Any other answer restarts the two minutes."""
    made = await running(stage, *[UpstreamMissing()] * 20, Status.IN_PROGRESS, UpstreamMissing())
    failed = await stage.finish(made.id)
    assert await error_code(stage, made.id) == "upstream_lost"
    assert failed.ended_ms - START_MS > 20_000 + 120_000
    assert await stage.kinds(made.id) == [Kind.PURGE]


async def test_the_deadline_ends_the_response_and_stops_the_work(stage: Stage) -> None:
    """At its deadline a response fails with `deadline_exceeded`, and the upstream's work is stopped."""
    stage.limit(deadline_ms=120_000)
    made = await running(stage)
    failed = await stage.finish(made.id)
    assert await error_code(stage, made.id) == "deadline_exceeded"
    assert 120_000 <= failed.ended_ms - START_MS <= 150_000
    await stage.fire_alarms(made.id)
    assert stage.upstream.stopped == ["up_0"]


async def test_an_answer_over_the_upstreams_limit_fails_the_response(stage: Stage) -> None:
    """An answer too large to read fails the response with `output_too_large`. Another poll would get the same."""
    made = await running(stage, UpstreamOversized())
    await stage.finish(made.id)
    assert await error_code(stage, made.id) == "output_too_large"


@pytest.mark.parametrize("by", ["sweep", "caller"])
async def test_an_output_that_cannot_be_kept_fails_the_response(stage: Stage, by: str) -> None:
    """An output over the limit when packed fails the response with `output_too_large`, for a sweep and for a GET."""
    stage.upstream.output = os.urandom(3_000_000).hex()
    made = await running(stage, Status.COMPLETED)
    if by == "sweep":
        await stage.finish(made.id)
    assert await error_code(stage, made.id) == "output_too_large"


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.INCOMPLETE, Status.CANCELLED])
async def test_every_end_of_the_upstream_is_an_end_here(stage: Stage, status: Status) -> None:
    """The response gets the upstream's final status and output, and only its purge alarm is left."""
    made = await running(stage, Status.IN_PROGRESS, status)
    assert (await stage.finish(made.id)).status is status
    shown = await stage.shown(made.id)
    assert shown["status"] == status
    assert (shown["output"] == []) is (status is Status.CANCELLED)
    assert await stage.kinds(made.id) == [Kind.PURGE]
    assert stage.upstream.stopped == []


# Callers that read


async def test_a_get_is_a_poll_at_most_once_a_second(stage: Stage) -> None:
    """Callers that read a response at the same time share one poll per second. The poll alarm does not change."""
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
    """If an upstream says queued after in_progress, callers still read in_progress."""
    made = await running(stage, Status.IN_PROGRESS, Status.QUEUED)
    assert (await stage.shown(made.id))["status"] == "in_progress"
    stage.change(polls=SingleFlight())
    assert (await stage.shown(made.id))["status"] == "in_progress"
    assert stage.upstream.polls == 2


async def test_a_get_during_an_outage_shows_what_is_known(stage: Stage) -> None:
    """If the upstream cannot be polled, a GET returns the response as last known and no error."""
    made = await running(stage)
    stage.upstream.poll_errors = [OUTAGE]
    shown = await stage.shown(made.id)
    assert (shown["status"], shown["id"]) == ("queued", made.id)
    assert shown["continuation_token"]


async def test_a_get_and_a_sweep_of_one_process_share_a_poll(stage: Stage) -> None:
    """A GET and a sweep in one process share a poll, and the end is written once."""
    stage.upstream.course = [Status.COMPLETED]
    made = await stage.create(callback_url=CALLBACK_URL)
    gate = stage.upstream.hold_polls()
    get = asyncio.create_task(stage.shown(made.id))
    await gate.reached.wait()
    gate.open()
    await stage.fire_alarms(made.id)
    assert (await get)["status"] == "completed"
    await stage.deliver()
    assert len(stage.receiver.posts) == 1


async def test_two_processes_that_both_see_the_end_write_it_once(stage: Stage) -> None:
    """If two processes see the upstream's end at once, there is one terminal transaction and one delivery."""
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

    async def is_delivered() -> bool:
        return not (await stage.delivery(made.id)).is_open

    await until(is_delivered)
    assert await stage.kinds(made.id) == [Kind.PURGE]
    assert len(stage.receiver.posts) == 1
