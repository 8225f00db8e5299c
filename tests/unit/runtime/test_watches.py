"""Watches: how many there may be, and who is told what."""

import asyncio
from dataclasses import replace

from shared.core.alarms import Alarm, Kind
from shared.core.ids import new_id
from shared.core.records import Record
from shared.core.states import Status
from shared.runtime.leases import Lease
from shared.runtime.watches import MOST, MOST_BYTES, Watch, Watches

NOW_MS = 1_800_000_000_000


def record(**fields: bytes) -> Record:
    """Return the record of a response that has begun."""
    return Record(new_id(), "ann", NOW_MS, NOW_MS + 3_600_000, Status.IN_PROGRESS, **fields)  # type: ignore[arg-type]


def watch(watches: Watches, one: Record) -> Watch:
    """Watch a response that must be admitted."""
    assert watches.admit(one.id, len(one.body))
    return watches.add(one, Lease(Alarm(NOW_MS + 15_000, Kind.POLL, one.id)), NOW_MS)


async def test_at_most_500_responses_are_watched() -> None:
    """The next one is admitted when one of them is over."""
    watches = Watches()
    first, *_ = [watch(watches, record()) for _ in range(MOST)]
    assert (MOST, len(watches)) == (500, 500)
    assert not watches.admit(new_id(), 0)
    watches.remove(first)
    assert watches.admit(new_id(), 0)


async def test_at_most_32_mib_of_records_are_watched() -> None:
    """A small response is admitted where a large one has no room."""
    watches, size = Watches(), 2 * 1024 * 1024
    assert 16 * size == MOST_BYTES
    for _ in range(15):
        assert watches.admit(new_id(), size)
    assert not watches.admit(new_id(), size + 1)
    assert watches.admit(new_id(), size)
    assert not watches.admit(new_id(), 1)
    assert watches.admit(new_id(), 0)


async def test_an_admission_without_a_watch_is_given_back() -> None:
    """A transition may ask again, and a start may come to nothing. A watch keeps its place until it is removed."""
    watches, one = Watches(1), record()
    assert watches.admit(one.id, 0)
    assert watches.admit(one.id, 0)
    watches.leave(one.id)
    held = watch(watches, one)
    watches.leave(one.id)
    assert not watches.admit(new_id(), 0)
    watches.remove(held)
    watches.remove(held)
    assert watches.admit(new_id(), 0)


async def test_a_response_that_is_waited_for_does_not_count() -> None:
    """It is watched without room, and takes none. When its callers have left, it counts, or its watch is over."""
    watches, one, other = Watches(1), record(), record()
    with watches.waiting(one.id), watches.waiting(one.id):
        held = watch(watches, one)
        assert watches.is_waited_for(one.id)
        assert watches.admit(other.id, 0)
    assert held.until_ms == 0
    assert held.lease.stirred.is_set()
    assert not watches.is_waited_for(one.id)

    watches = Watches(1)
    held = watch(watches, one)
    with watches.waiting(one.id):
        assert watches.admit(other.id, 0)
        watches.leave(other.id)
    assert held.until_ms == NOW_MS + 25_000
    assert not watches.admit(other.id, 0)


async def test_whoever_waits_is_told_the_end() -> None:
    """The record is that of the end. A record that is not terminal tells nothing."""
    watches, one = Watches(), record()
    held = watch(watches, one)
    waiting = [asyncio.create_task(held.end(60.0)) for _ in range(2)]
    await asyncio.sleep(0)
    watches.note(record())
    watches.note(replace(one, acknowledged=True))
    assert held.record.acknowledged
    assert not held.is_over
    ended = replace(one, status=Status.COMPLETED)
    watches.note(ended)
    assert [await asyncio.wait_for(task, 10) for task in waiting] == [ended, ended]
    assert held.lease.stirred.is_set()


async def test_whoever_waits_is_not_left_alone() -> None:
    """The time is over, or the watch is, or the response is gone: there is no end to tell."""
    watches, one = Watches(), record()
    assert await watch(watches, one).end(0.0) is None
    over = watch(watches, record())
    watches.remove(over)
    assert await over.end(60.0) is None
    gone = watch(watches, record())
    gone.conclude(None)
    assert await gone.end(60.0) is None
    assert gone.lease.is_over


async def test_a_later_watch_of_a_response_is_not_removed_by_an_earlier_one() -> None:
    """A response may be started twice in one process."""
    watches, one = Watches(), record()
    earlier, later = watch(watches, one), watch(watches, one)
    watches.remove(earlier)
    assert watches.of(one.id) is later
    assert len(watches) == 1
