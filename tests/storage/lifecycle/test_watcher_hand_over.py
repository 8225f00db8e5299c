"""The end of a watch before the end of its response, and which responses are not watched at all."""

import asyncio
import itertools
from collections import Counter
from typing import Any

import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.errors import UpstreamError, UpstreamInvalid, UpstreamMissing, UpstreamUnavailable, UpstreamUncertain
from shared.core.ids import shard_of
from shared.core.records import Record
from shared.core.states import Status
from shared.lifecycle import cancellation
from tests.support.clocks import START_MS
from tests.support.conditions import until
from tests.support.fast_loop import BACKEND
from tests.support.passing_time import pass_seconds, pass_unnoticed, until_quiet
from tests.support.sent_messages import wakeup
from tests.support.stage import ANN, SECRET, Stage

OUTAGE = UpstreamUnavailable("ConnectError")
CUT = UpstreamUncertain("ReadError")


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run the tests of this module on a loop whose clock can be moved forward."""
    return BACKEND


async def watched(stage: Stage) -> Record:
    """Return a response that this process watches, and whose work does not end."""
    stage.watch()
    stage.upstream.course = [Status.IN_PROGRESS]
    return await stage.create()


async def handed_over(stage: Stage, record: Record) -> Alarm:
    """Return the alarm of a response once this process watches nothing."""

    async def nothing() -> bool:
        return not stage.ports.watches

    await until(nothing)
    (alarm,) = await stage.alarms(record.id)
    return alarm


# When


async def test_a_watch_is_handed_over_after_25_seconds(stage: Stage) -> None:
    """The alarm is set to the next poll, and a wake-up is sent for it. The record counts as never read."""
    made = await watched(stage)
    await pass_seconds(stage, 24)
    assert stage.ports.watches.of(made.id)
    polls = stage.upstream.polls
    await pass_seconds(stage, 1)
    alarm = await handed_over(stage, made)
    assert START_MS + 25_000 <= alarm.due_ms <= START_MS + 27_600
    assert (alarm.kind, alarm.attempt, alarm.tries, alarm.read_ms) == (Kind.POLL, 0, 0, 0)
    at_s = -(-alarm.due_ms // 1000)
    assert stage.sent == [wakeup(at_s, at_s - stage.clock.ms // 1000, shard_of(made.id))]
    assert stage.upstream.polls <= polls + 1


async def test_what_is_handed_over_goes_on_by_sweeps(stage: Stage) -> None:
    """A sweep reads the record, polls, and ends the response."""
    made = await watched(stage)
    await pass_seconds(stage, 25)
    await handed_over(stage, made)
    next(iter(stage.upstream.works.values())).course = [Status.COMPLETED]
    assert (await stage.finish(made.id)).status is Status.COMPLETED
    assert await stage.kinds(made.id) == [Kind.PURGE]


async def test_watches_of_one_shard_are_handed_over_together(stage: Stage) -> None:
    """Three watches of one shard take one transaction to renew, one to hand over, and one wake-up."""
    stage.watch()
    stage.upstream.course = [Status.IN_PROGRESS]
    made = list[Record]()
    for key in itertools.count():
        record = await stage.create(key=str(key))
        if made and shard_of(record.id) != shard_of(made[0].id):
            await stage.engine.cancel(ANN, record.id)
            continue
        made.append(record)
        if len(made) == 3:
            break
    before = stage.proxy.counts["POST $batch"]
    await pass_seconds(stage, 25)
    alarms = [await handed_over(stage, record) for record in made]
    assert len({alarm.due_ms for alarm in alarms}) == 1
    assert stage.proxy.counts["POST $batch"] - before == 3
    assert len(stage.wakeups(made[0].id)) == 1


async def test_the_second_error_in_a_row_ends_the_watch(stage: Stage) -> None:
    """The alarm notes both, so that a sweep goes on with the longer waits."""
    made = await watched(stage)
    stage.upstream.poll_errors = [OUTAGE]
    await pass_seconds(stage, 2)
    stage.upstream.poll_errors = [OUTAGE]
    await pass_seconds(stage, 1)
    assert stage.ports.watches.of(made.id)
    stage.upstream.poll_errors = [OUTAGE, OUTAGE]
    await pass_seconds(stage, 2)
    alarm = await handed_over(stage, made)
    assert alarm.tries == 2
    assert stage.clock.ms <= alarm.due_ms <= stage.clock.ms + 1_000


async def test_answers_without_a_response_object_count_on_in_sweeps(stage: Stage) -> None:
    """The third one ends the response, wherever the first two were met."""
    made = await watched(stage)
    stage.upstream.poll_errors = [UpstreamInvalid()] * 2
    await pass_seconds(stage, 3)
    alarm = await handed_over(stage, made)
    assert (alarm.tries, alarm.unusable) == (2, 2)
    stage.upstream.poll_errors = [UpstreamInvalid()]
    await stage.fire_alarms(made.id)
    assert (await stage.record(made.id)).status is Status.FAILED


@pytest.mark.parametrize("error", [None, UpstreamUnavailable("status 429", retry_after_s=40)])
async def test_a_longer_wait_that_the_upstream_asks_for_ends_the_watch(
    stage: Stage, error: UpstreamError | None
) -> None:
    """The alarm is set to the Retry-After, of an answer or of an error. The upstream is not asked before."""
    made = await watched(stage)
    if error:
        stage.upstream.poll_errors = [error]
    else:
        stage.upstream.retry_after_s = 40
    await pass_seconds(stage, 1)
    alarm = await handed_over(stage, made)
    assert alarm.due_ms - stage.clock.ms == (41_000 if error else 40_000)
    assert alarm.tries == (1 if error else 0)


async def test_a_wait_of_a_day_is_one_of_an_hour(stage: Stage) -> None:
    """Work that is done meanwhile is found long before the deadline."""
    made = await watched(stage)
    stage.upstream.retry_after_s = 86_400
    await pass_seconds(stage, 1)
    alarm = await handed_over(stage, made)
    assert alarm.due_ms - stage.clock.ms == 3_600_000
    next(iter(stage.upstream.works.values())).course = [Status.COMPLETED]
    assert (await stage.finish(made.id)).status is Status.COMPLETED


async def test_a_shorter_wait_that_the_upstream_asks_for_is_kept(stage: Stage) -> None:
    """The watch polls after the Retry-After and not before."""
    made = await watched(stage)
    stage.upstream.retry_after_s = 7
    await pass_seconds(stage, 7)
    assert stage.upstream.polls == 1
    await pass_seconds(stage, 1)
    assert stage.upstream.polls == 2
    assert stage.ports.watches.of(made.id)


async def test_the_first_404_is_noted(stage: Stage) -> None:
    """The two minutes for which a 404 is tolerated go on with the alarm."""
    made = await watched(stage)
    stage.upstream.poll_errors = [UpstreamMissing() for _ in range(100)]
    await pass_seconds(stage, 25)
    assert (await handed_over(stage, made)).missing_ms == START_MS + 1_000


@pytest.mark.parametrize("answers", [True, False])
async def test_a_poll_under_way_is_waited_for(stage: Stage, answers: bool) -> None:
    """At the end of the watch it has 5 s left. Without an answer the response is handed over."""
    made = await watched(stage)
    await pass_seconds(stage, 23)
    next(iter(stage.upstream.works.values())).course = [Status.COMPLETED]
    gate = stage.upstream.hold_polls()
    while not gate.reached.is_set():
        await pass_seconds(stage, 0.5)
    while stage.clock.ms < START_MS + 29_000:
        await pass_seconds(stage, 1)
    assert stage.ports.watches.of(made.id)
    if answers:
        gate.open()

        async def ended() -> bool:
            return (await stage.record(made.id)).status is Status.COMPLETED

        await until(ended)
        assert await stage.kinds(made.id) == [Kind.PURGE]
    else:
        await pass_seconds(stage, 2)
        assert (await handed_over(stage, made)).due_ms > START_MS + 29_000


async def test_a_response_that_ends_during_its_hand_over_takes_its_lease_along(stage: Stage) -> None:
    """The end waits for the move and takes out the alarm under its new key."""
    made = await watched(stage)
    await pass_seconds(stage, 24)
    gate = stage.proxy.pause(lambda request: request.kind == "POST $batch")
    stage.clock.advance(1)
    await pass_unnoticed(1)
    await pass_unnoticed(0.1)
    await gate.reached.wait()
    cancel = asyncio.create_task(cancellation.cancel(stage.ports, made))
    await pass_unnoticed(0)
    gate.open()
    await cancel
    await until_quiet(stage.ports)
    assert await stage.kinds(made.id) == [Kind.STOP, Kind.PURGE]


# What is not watched


async def is_polled_by_sweeps(stage: Stage, record: Record) -> bool:
    """Return whether a response has an alarm at its first poll, and a wake-up for it."""
    (alarm,) = await stage.alarms(record.id)
    return alarm.due_ms == START_MS + 1_000 and len(stage.wakeups(record.id)) == 1


async def test_the_501st_response_is_not_watched(stage: Stage) -> None:
    """A process watches only so many. The others are polled by sweeps, until a watch has ended."""
    stage.watch(2)
    stage.upstream.course = [Status.COMPLETED]
    made = [await stage.create() for _ in range(3)]
    assert len(stage.ports.watches) == 2
    assert await is_polled_by_sweeps(stage, made[2])
    await stage.shown(made[0].id)

    async def has_room() -> bool:
        return len(stage.ports.watches) == 1

    await until(has_room)
    assert stage.ports.watches.of((await stage.create()).id)


@pytest.mark.parametrize("why", ["unwatched", "announced"])
async def test_some_deployments_do_not_watch(stage: Stage, why: str) -> None:
    """With WATCH off, and where the upstream announces its ends, no response is watched."""
    stage.watch()
    if why == "unwatched":
        stage.limit(watch=False)
    else:
        stage.treat(webhook_secrets=(SECRET,))
    made = await stage.create()
    (alarm,) = await stage.alarms(made.id)
    assert alarm.due_ms == START_MS + (1_000 if why == "unwatched" else 60_000)
    assert not stage.ports.watches
    assert not stage.ports.leases


async def test_a_start_that_is_not_confirmed_is_not_watched(stage: Stage) -> None:
    """Storage is away when the start is recorded. The response is accepted, and its start alarm goes on."""
    stage.watch()
    gate = stage.upstream.hold_starts()
    create = asyncio.create_task(stage.create())
    await gate.reached.wait()
    async with stage.proxy.refusing():
        gate.open()
        made = await create
    assert not stage.ports.watches
    assert not stage.ports.leases
    assert await stage.kinds(made.id) == [Kind.START]


@pytest.mark.parametrize("error", [CUT, OUTAGE], ids=["sweep", "turn"])
async def test_a_later_start_is_watched_too(stage: Stage, error: UpstreamError) -> None:
    """Whoever records the start watches, whether an alarm began it or the turn of the response came."""
    stage.watch()
    stage.upstream.start_errors = [error]
    made = await stage.create()
    assert not stage.ports.watches
    await stage.fire_alarms(made.id)
    assert stage.ports.watches.of(made.id)
    (lease,) = await stage.alarms(made.id)
    assert lease.due_ms == stage.clock.ms + 15_000


async def test_a_start_is_a_lease_too(stage: Stage) -> None:
    """Where the upstream honours keys, the start alarm fires after 15 s. It is renewed while the start is under way."""
    stage.watch()
    stage.treat(honours_keys=True)
    gate = stage.upstream.hold_starts()
    create = asyncio.create_task(stage.create(key="k"))
    await gate.reached.wait()
    (response_id,) = stage.upstream.starts
    (lease,) = await stage.alarms(response_id)
    assert lease.due_ms == START_MS + 15_000
    await pass_seconds(stage, 12)
    (renewed,) = await stage.alarms(response_id)
    assert (renewed.kind, renewed.counted) == (Kind.START, 1)
    assert renewed.due_ms >= START_MS + 24_000
    gate.open()
    made = await create
    assert await stage.kinds(made.id) == [Kind.POLL]
    assert stage.upstream.starts == Counter({made.id: 1})
