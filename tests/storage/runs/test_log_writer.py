"""The writer of an event log: its numbers, its batches, and what a live reader may see."""

import asyncio
import random
from base64 import b64encode

import pytest

from shared.contract.stream_events import frames
from shared.core import event_log
from shared.core.blobs import MAX_PACKED, Oversized
from shared.core.event_log import MAX_EVENTS, Event, batch_key_before
from shared.core.states import Status
from shared.runs import claims
from shared.runs.lease import RunLease
from shared.runs.log_writer import LogWriter
from shared.transitions.run_transitions import RESERVED_BLOCK
from tests.support.conditions import until
from tests.support.run_holders import followed, start_of
from tests.support.stage import Stage

KIND = "response.output_text.delta"


def event(text: str = "x") -> Event:
    """Return an event with this text."""
    return Event(KIND, b'{"type":"%b","delta":"%b"}' % (KIND.encode(), text.encode()))


def noise(size: int) -> str:
    """Return a text that hardly becomes smaller when it is packed, of about this size in bytes."""
    return b64encode(random.Random(size).randbytes(size)).decode()


async def append(log: LogWriter, *texts: str) -> None:
    """Append events with these texts, whose upstream numbers are those of the log."""
    for text in texts:
        await log.append(event(text), log.next_seq + 1, Status.IN_PROGRESS)


async def stored(stage: Stage, response_id: str) -> list[tuple[int, int]]:
    """Return the first number and the count of events of each batch in the log."""
    page = await stage.ports.store.log(response_id, batch_key_before(response_id, -1))
    return [(batch.first, len(batch.events)) for batch in page.batches]


async def bodies(stage: Stage, response_id: str) -> list[bytes]:
    """Return the events in the log, without `response.created`."""
    page = await stage.ports.store.log(response_id, batch_key_before(response_id, -1))
    return [one.body for batch in page.batches for one in batch.events][1:]


def appending(log: LogWriter, *texts: str) -> "asyncio.Task[None]":
    """Append events in a task."""
    return asyncio.create_task(append(log, *texts))


async def is_waiting(task: "asyncio.Task[None]") -> bool:
    """Return whether a task is not done although everything else had time to run."""
    for _ in range(10):
        await asyncio.sleep(0)
    return not task.done()


# Appending


async def test_appended_events_are_stored_under_the_next_numbers(stage: Stage, lease: RunLease) -> None:
    """Events are numbered after those in the log. A flush stores all of them and the log's position in one transaction.

    `response.created` has the number 0.
    """
    log = LogWriter(stage.ports, lease, None)
    await append(log, "a", "b", "c")
    assert (log.next_seq, await stored(stage, lease.record.id)) == (4, [(0, 1)])
    before = stage.proxy.counts["POST $batch"]
    await log.flush()
    assert stage.proxy.counts["POST $batch"] - before == 1
    assert await stored(stage, lease.record.id) == [(0, 1), (1, 3)]
    assert await bodies(stage, lease.record.id) == [event(text).body for text in "abc"]
    record = await stage.record(lease.record.id)
    assert record == lease.record
    assert (record.log.next_seq, record.log.upstream_next, record.status) == (4, 4, Status.IN_PROGRESS)


async def test_the_next_holder_continues_the_numbers(stage: Stage, lease: RunLease) -> None:
    """The writer of the next holder continues after the last event that was stored."""
    log = LogWriter(stage.ports, lease, None)
    await append(log, "a", "b")
    await log.flush()
    await append(log, "lost")
    await stage.fire_alarms(lease.record.id)
    claimed = await claims.claim(stage.ports, lease.record.id, 2)
    assert claimed
    following = LogWriter(stage.ports, RunLease(stage.ports, *claimed), None)
    assert (following.next_seq, following.upstream_next) == (3, 3)


async def test_an_event_that_is_not_for_callers_only_advances_the_position(stage: Stage, lease: RunLease) -> None:
    """Without an event, the upstream's number and the status are stored, and no number of ours is used."""
    log = LogWriter(stage.ports, lease, None)
    await log.append(None, 17, Status.IN_PROGRESS)
    await log.flush()
    record = await stage.record(lease.record.id)
    assert (record.log.next_seq, record.log.upstream_next, record.status) == (1, 17, Status.IN_PROGRESS)
    assert await stored(stage, lease.record.id) == [(0, 1)]


async def test_a_status_does_not_go_back(stage: Stage, lease: RunLease) -> None:
    """An event that says `queued` after work has begun does not change the status."""
    log = LogWriter(stage.ports, lease, None)
    for status in (Status.IN_PROGRESS, Status.QUEUED):
        await log.append(event(), 0, status)
        await log.flush()
        assert (await stage.record(lease.record.id)).status is Status.IN_PROGRESS


# Batches


async def test_events_are_gathered_in_batches(stage: Stage, lease: RunLease) -> None:
    """The events of `flush_s` seconds are stored in one transaction, or before that in a drain."""
    stage.pace(flush_s=600)
    log = LogWriter(stage.ports, lease, None)
    writing = asyncio.create_task(log.write())
    await append(log, "a", "b")
    assert await stored(stage, lease.record.id) == [(0, 1)]
    await log.drain()
    assert await stored(stage, lease.record.id) == [(0, 1), (1, 2)]
    writing.cancel()
    stage.pace(flush_s=0.05)
    log = LogWriter(stage.ports, lease, None)
    writing = asyncio.create_task(log.write())
    await append(log, "c", "d")

    async def is_stored() -> bool:
        return await stored(stage, lease.record.id) == [(0, 1), (1, 2), (3, 2)]

    await until(is_stored)
    writing.cancel()


@pytest.mark.parametrize("texts", [["x"] * MAX_EVENTS, ["x" * event_log.MAX_TEXT]], ids=["many events", "much text"])
async def test_a_full_batch_holds_up_the_next_event(stage: Stage, lease: RunLease, texts: list[str]) -> None:
    """An event waits while the batch before it is full, so that memory is bounded. It goes on after a flush."""
    log = LogWriter(stage.ports, lease, None)
    await append(log, *texts)
    next_seq = log.next_seq
    waiting = appending(log, "next")
    assert await is_waiting(waiting)
    assert log.next_seq == next_seq
    await log.flush()
    await waiting
    assert log.next_seq == next_seq + 1


async def test_an_event_that_alone_exceeds_a_batch_is_taken(stage: Stage, lease: RunLease) -> None:
    """An event that is larger than a batch is taken if no other is pending, and stored in a batch of its own."""
    log = LogWriter(stage.ports, lease, None)
    await append(log, "a")
    waiting = appending(log, "x" * 2 * event_log.MAX_TEXT)
    assert await is_waiting(waiting)
    await log.flush()
    await waiting
    await log.flush()
    assert await stored(stage, lease.record.id) == [(0, 1), (1, 1), (2, 1)]


async def test_an_event_too_large_to_store_raises(stage: Stage, lease: RunLease) -> None:
    """A flush of an event that is over the size limit when packed raises Oversized and writes nothing."""
    log = LogWriter(stage.ports, lease, None)
    before = await stage.record(lease.record.id)
    await append(log, noise(2 * MAX_PACKED))
    with pytest.raises(Oversized):
        await log.flush()
    assert await stage.record(lease.record.id) == before


# A live reader


async def test_a_live_reader_gets_an_event_before_it_is_stored(stage: Stage, lease: RunLease) -> None:
    """An event whose number is reserved is passed to the live reader at once, with that number."""
    await lease.begin(start_of(lease, "up_0", Status.IN_PROGRESS, is_background=True, live=True))
    log, feed = followed(stage, lease)
    await append(log, "a")
    assert await anext(feed.chunks()) == frames(lease.record.id, 1, [event("a")])
    assert (log.is_live, feed.last, await stored(stage, lease.record.id)) == (True, 1, [(0, 1)])


async def test_no_event_is_shown_before_its_number_is_reserved(stage: Stage, lease: RunLease) -> None:
    """A live reader gets an event only when the record has reserved its number, and a flush reserves more.

    Without such a reader, no number has to be reserved.
    """
    await lease.begin(start_of(lease, "up_0", Status.IN_PROGRESS, is_background=True, live=True))
    log, feed = followed(stage, lease)
    await append(log, *["x"] * 100)
    await log.flush()
    reserved = (await stage.record(lease.record.id)).log.high_water_mark
    assert reserved == 1 + RESERVED_BLOCK
    await append(log, *["x"] * (reserved - log.next_seq))
    await append(log, "next")
    assert feed.last == reserved - 1
    await log.flush()
    assert (await stage.record(lease.record.id)).log.high_water_mark > feed.last == reserved

    log = LogWriter(stage.ports, lease, None)
    before = lease.record.log.high_water_mark
    await append(log, *["x"] * MAX_EVENTS)
    await log.flush()
    assert (await stage.record(lease.record.id)).log.high_water_mark == max(before, log.next_seq)


async def test_a_reader_that_joins_gets_no_number_that_nobody_reserved(stage: Stage, lease: RunLease) -> None:
    """Without readers no number is reserved ahead. A reader that joins then gets an event only once it is stored.

    Its numbers are reserved by then, so it gets the next event at once.
    """
    log, first = followed(stage, lease)
    first.close()
    await append(log, "a")
    broadcast = stage.ports.local.broadcast_of(lease.record.id)
    feed = broadcast.join(0) if broadcast else None
    assert feed
    assert feed.last == 0
    await log.flush()
    assert feed.last == 1
    assert (await stage.record(lease.record.id)).log.high_water_mark >= 1 + RESERVED_BLOCK
    await append(log, "b")
    assert (feed.last, await stored(stage, lease.record.id)) == (2, [(0, 1), (1, 1)])


async def test_a_live_reader_does_not_get_an_event_that_may_not_be_stored(stage: Stage, lease: RunLease) -> None:
    """An event over the size limit closes the live feed. Its reader continues from the log, if the event is there."""
    await lease.begin(start_of(lease, "up_0", Status.IN_PROGRESS, is_background=True, live=True))
    log, feed = followed(stage, lease)
    await append(log, "a")
    await log.flush()
    await append(log, "x" * (MAX_PACKED + 1))
    assert (log.is_live, feed.is_open, feed.last) == (False, False, 1)
    await log.flush()
    assert await stored(stage, lease.record.id) == [(0, 1), (1, 1), (2, 1)]


# Draining and restarting


async def test_a_drain_waits_until_everything_is_stored(stage: Stage, lease: RunLease) -> None:
    """A drain returns once all events and the status are stored, and at once if there is nothing to store."""
    log = LogWriter(stage.ports, lease, None)
    await asyncio.wait_for(log.drain(), 1)
    await append(log, "a")
    draining = asyncio.create_task(log.drain())
    assert await is_waiting(draining)
    await log.flush()
    await draining
    await log.append(None, 9, Status.QUEUED)
    await asyncio.wait_for(log.drain(), 1)


async def test_a_restart_is_numbered_above_everything_that_a_reader_may_have_seen(
    stage: Stage, lease: RunLease
) -> None:
    """The event that voids the earlier ones has a number at or above the reserved ones, and a replay begins with it.

    The upstream's numbers begin again.
    """
    await lease.begin(start_of(lease, "up_0", Status.IN_PROGRESS, is_background=True, live=True))
    reserved = lease.record.log.high_water_mark
    await stage.fire_alarms(lease.record.id)
    claimed = await claims.claim(stage.ports, lease.record.id, 2)
    assert claimed
    lease = RunLease(stage.ports, *claimed)
    log = LogWriter(stage.ports, lease, None)
    writing = asyncio.create_task(log.write())
    await append(log, "a", "b")
    await log.restart(event("again"))
    assert (log.next_seq, log.upstream_next) == (reserved + 1, 0)
    await log.drain()
    assert await stored(stage, lease.record.id) == [(0, 1), (1, 2), (reserved, 1)]
    record = await stage.record(lease.record.id)
    assert (record.log.valid_from, record.log.next_seq) == (reserved, reserved + 1)
    writing.cancel()


async def test_a_restart_goes_on_with_the_numbers_of_a_live_reader(stage: Stage, lease: RunLease) -> None:
    """No other holder has given numbers, so none is left out, and the restart waits for no reservation."""
    await lease.begin(start_of(lease, "up_0", Status.IN_PROGRESS, is_background=True, live=True))
    log, feed = followed(stage, lease)
    writing = asyncio.create_task(log.write())
    await append(log, "a", "b")
    await asyncio.wait_for(log.restart(event("again"), 7), 1)
    assert (log.next_seq, log.upstream_next, feed.last) == (4, 7, 3)
    await log.drain()
    record = await stage.record(lease.record.id)
    assert (record.log.valid_from, record.log.upstream_next) == (3, 7)
    writing.cancel()
