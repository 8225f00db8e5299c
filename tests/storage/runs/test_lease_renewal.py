"""How a lease is kept and lost: renewals, the watch over the record, and two processes that both believe to hold it."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from shared.core.alarms import Kind
from shared.core.states import Status
from shared.runs import renewal
from shared.runs.lease import HOLD_MAX_MS, Lost, RunLease
from shared.storage.messages import RunOffer
from tests.support.conditions import until
from tests.support.fakes.streams import story
from tests.support.proxies.fault_proxy import StorageRequest, is_read
from tests.support.run_holders import claimed, driving, held, logged, released
from tests.support.stage import ANN, Stage
from tests.support.stream_clients import expected_lines, kinds, lines_of, replayed, streamed

SLACK_S = 0.3
"""Seconds that a busy machine may add to a duration."""


# Renewal


async def test_a_silent_upstream_is_not_called_twice(stage: Stage) -> None:
    """While an upstream is silent for longer than a lease, its lease is renewed and its work is not started again."""
    stage.pace(renew_s=0.05)
    stage.upstream.is_background = False
    gate = stage.upstream.streams.hold(0)
    made = await stage.create(stream=True)
    running = driving(stage.engine, made.id, 1)
    await gate.reached.wait()
    for _ in range(4):
        stage.clock.advance(20)
        await renewed(stage, made.id)
        assert await stage.sweep(made.id) == 0
    gate.open()
    await running
    assert lines_of(await replayed(stage, made.id)) == expected_lines(story(6))
    assert stage.upstream.streams.runs == [made.id]


async def renewed(stage: Stage, response_id: str) -> None:
    """Wait until the lease has been renewed at the current time."""

    async def is_renewed() -> bool:
        return (await stage.alarms(response_id))[0].due_ms >= stage.clock.ms + 30_000

    await until(is_renewed)


async def test_a_lease_that_has_expired_is_not_renewed(stage: Stage, lease: RunLease) -> None:
    """If a sweep has taken the alarm of the lease, the next renewal raises Lost and writes no alarm."""
    stage.pace(renew_s=0.05)
    await stage.fire_alarms(lease.record.id)
    before = await stage.alarms(lease.record.id)
    with pytest.raises(Lost):
        await asyncio.wait_for(renewal.keep(stage.ports, lease), 5)
    assert await stage.alarms(lease.record.id) == before


async def test_a_renewal_whose_outcome_stays_unknown_does_not_lose_the_run(
    stage: Stage, until_logged: Callable[[str], Awaitable[None]]
) -> None:
    """A renewal may be committed and its answer lost, and storage may fail before the alarm is read again.

    The next renewal finds the alarm where that one moved it.
    """
    stage.pace(renew_s=0.1)
    stage.upstream.is_background = False
    gate = stage.upstream.streams.hold(3)
    reader = await streamed(stage)
    running = driving(stage.engine, reader.id, 1)
    await logged(stage, reader.id, 3)
    fault = stage.proxy.drop_answer(is_renewal)
    stage.proxy.delay(is_read, 60)
    stage.clock.advance(11)
    await fault.happened.wait()
    async with stage.proxy.refusing():
        stage.proxy.heal()
        await until_logged("run.unrenewed")
    stage.clock.advance(11)
    await renewed(stage, reader.id)
    gate.open()
    await running
    assert lines_of(await reader.rest()) == expected_lines(story(6))
    assert stage.upstream.begun == {reader.id: 1}


def is_renewal(request: StorageRequest) -> bool:
    """Return whether a request moves the alarm of a run and writes nothing else."""
    return request.kind == "POST $batch" and b"|run|" in request.body and b"resp|" not in request.body


# Watching the record


async def test_a_holder_that_has_lost_its_run_stops_reading_within_its_watch(stage: Stage) -> None:
    """A holder that has lost its run notices within its watch interval, even if the upstream sends nothing."""
    stage.upstream.streams.hold(3)
    reader = await streamed(stage)
    await reader.take(2)
    await stage.fire_alarms(reader.id)
    await released(stage)
    assert stage.upstream.streams.closed == stage.upstream.streams.opened
    assert (await stage.record(reader.id)).run.epoch == 2


async def test_a_cancel_right_after_a_write_is_noticed_in_time(stage: Stage) -> None:
    """A holder reads its record one watch interval after it last knew it, not at fixed times.

    So it notices a cancel right after a write within that interval.
    """
    stage.pace(watch_s=1.0)
    stage.upstream.is_background = False
    streams = stage.upstream.streams
    gate, _ = streams.hold(2), streams.hold(3)
    reader = await streamed(stage)
    running = driving(stage.engine, reader.id, 1)
    await logged(stage, reader.id, 2)
    await looked(stage)
    gate.open()
    await logged(stage, reader.id, 3)
    began_s = time.monotonic()
    await stage.engine.cancel(ANN, reader.id)
    await running
    assert time.monotonic() - began_s < 1.0 + SLACK_S
    assert streams.closed == streams.opened == 1


async def looked(stage: Stage) -> None:
    """Wait until a record is read."""
    before = stage.proxy.counts["GET responses(key)"]

    async def is_read_again() -> bool:
        return stage.proxy.counts["GET responses(key)"] > before

    await until(is_read_again)


async def test_a_watch_outlasts_an_outage_of_storage(stage: Stage, lease: RunLease) -> None:
    """A record that cannot be read does not lose the run, because no other process can claim it either."""
    unread = stage.proxy.drop_answer(is_read)
    watching = asyncio.create_task(lease.watch())
    await unread.happened.wait()
    await looked(stage)
    assert not watching.done()
    await stage.engine.cancel(ANN, lease.record.id)
    with pytest.raises(Lost):
        await asyncio.wait_for(watching, 5)


@pytest.mark.parametrize("is_background", [True, False], ids=["background", "foreground"])
async def test_an_end_by_deadline_frees_its_holder_at_once(stage: Stage, is_background: bool) -> None:
    """At the deadline of a silent response, its holder ends it, closes the upstream connection and is free at once."""
    stage.upstream.is_background = is_background
    stage.upstream.streams.hold(3)
    reader = await streamed(stage)
    running: asyncio.Future[object] = (
        asyncio.ensure_future(released(stage)) if is_background else driving(stage.engine, reader.id, 1)
    )
    await logged(stage, reader.id, 3)
    stage.clock.ms = (await stage.record(reader.id)).deadline_ms
    async with asyncio.timeout(5):
        assert kinds(await reader.rest())[-1] == "failed"
        await running
    assert stage.upstream.streams.closed == stage.upstream.streams.opened


async def test_no_run_is_held_longer_than_an_invocation_may_last(stage: Stage) -> None:
    """A run that is held for 21,000 s fails with `deadline_exceeded`, even if the response's deadline is later."""
    assert HOLD_MAX_MS == 21_000_000
    stage.limit(deadline_ms=7 * 86_400_000)
    stage.upstream.is_background = False
    gate = stage.upstream.streams.hold(0)
    made = await stage.create()
    running = driving(stage.engine, made.id, 1)
    await gate.reached.wait()
    stage.clock.ms += HOLD_MAX_MS - 1
    for _ in range(2):
        await looked(stage)
    assert not running.done()
    stage.clock.ms += 1
    await running
    assert (await stage.shown(made.id))["error"]["code"] == "deadline_exceeded"


# Two processes


@pytest.mark.parametrize("place", [5, 8])
async def test_a_holder_that_has_lost_its_run_can_neither_append_nor_end(stage: Stage, place: int) -> None:
    """A live holder whose lease has expired can neither append events nor end the response.

    Events that it had sent are logged by the next holder.
    """
    stage.pace(watch_s=600)
    gate = stage.upstream.streams.hold(place)
    reader = await streamed(stage)
    await reader.take(place - 1)
    await logged(stage, reader.id, place)
    await stage.fire_alarms(reader.id)
    gate.open()
    await released(stage)
    left = await stage.record(reader.id)
    assert (left.status, left.run.epoch, left.log.next_seq) == (Status.IN_PROGRESS, 2, place)
    await (await stage.process()).drive(RunOffer(reader.id, 2))
    assert lines_of(await reader.rest()) == expected_lines(story(6))
    assert await replayed(stage, reader.id) == reader.received


@pytest.mark.parametrize("place", [5, 8])
async def test_of_two_holders_only_the_newer_writes(stage: Stage, place: int) -> None:
    """When two holders read the same events, only the newer one writes them.

    No event comes twice, and both close their upstream connections.
    """
    stage.pace(watch_s=600)
    gate = stage.upstream.streams.hold(place)
    reader = await streamed(stage)
    await reader.take(place - 1)
    await logged(stage, reader.id, place)
    older = held(stage)
    await stage.fire_alarms(reader.id)
    newer = driving(await stage.process(), reader.id, 2)
    await claimed(stage, reader.id, 2)
    gate.open()
    await asyncio.wait({older, newer}, timeout=20)
    assert (older.exception(), newer.exception()) == (None, None)
    assert lines_of(await reader.rest()) == expected_lines(story(6))
    assert await replayed(stage, reader.id) == reader.received
    assert stage.upstream.streams.closed == stage.upstream.streams.opened == 2
    assert await stage.kinds(reader.id) == [Kind.PURGE]
