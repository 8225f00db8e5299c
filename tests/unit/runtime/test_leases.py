"""Leases: which of them are to be moved, where to, and how their holder learns what happened."""

import asyncio

import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.ids import new_id
from shared.runtime.leases import HandOver, Lease, Leases

NOW_MS = 1_800_000_000_000


def alarm(due_ms: int = NOW_MS + 15_000, deadline_ms: int = NOW_MS + 3_600_000) -> Alarm:
    """Return a poll alarm."""
    return Alarm(due_ms, Kind.POLL, new_id(), deadline_ms=deadline_ms)


@pytest.mark.parametrize(
    ("left_ms", "moves"), [(15_000, False), (6_001, False), (6_000, True), (1, True), (0, False), (-1, False)]
)
async def test_a_lease_is_moved_in_its_last_six_seconds(left_ms: int, moves: bool) -> None:
    """Not before, because the response may end until then. Not after, because another process may have it."""
    lease = Lease(alarm(NOW_MS + left_ms))
    assert lease.is_to_move(NOW_MS) is moves
    assert lease.is_past(NOW_MS) is (left_ms <= 0)


async def test_a_renewed_lease_fires_15_seconds_later_or_at_the_deadline() -> None:
    """One that fires at the deadline stays where it is, because the holder enforces the deadline."""
    assert Lease(alarm(NOW_MS + 5_000)).moved(NOW_MS).due_ms == NOW_MS + 15_000
    deadline_ms = NOW_MS + 9_000
    assert Lease(alarm(NOW_MS + 5_000, deadline_ms)).moved(NOW_MS).due_ms == deadline_ms
    assert not Lease(alarm(deadline_ms, deadline_ms)).is_to_move(deadline_ms - 1_000)


async def test_a_lease_that_is_given_up_moves_at_once() -> None:
    """It moves to the time that was asked for, which may be earlier, with what its alarm has to say."""
    lease = Lease(alarm())
    lease.hand_over = HandOver(NOW_MS + 2_500, {"tries": 2})
    assert lease.is_to_move(NOW_MS)
    assert (lease.moved(NOW_MS).due_ms, lease.moved(NOW_MS).tries) == (NOW_MS + 2_500, 2)
    lease.hand_over = HandOver(lease.alarm.due_ms, {})
    assert lease.moved(NOW_MS).key != lease.alarm.key
    lease.finish()
    assert not lease.is_to_move(NOW_MS)


async def test_a_hand_over_does_not_sleep_through_the_deadline() -> None:
    """A Retry-After may reach past it. Then half of the time until it is waited."""
    lease = Lease(alarm(NOW_MS + 5_000, NOW_MS + 20_000))
    lease.hand_over = HandOver(NOW_MS + 3_600_000, {})
    assert lease.moved(NOW_MS).due_ms == NOW_MS + 10_000


async def test_a_lease_in_a_transaction_is_left_alone() -> None:
    """Whoever ends the response writes its alarm."""
    leases = Leases()
    lease = leases.add(alarm(NOW_MS + 1_000))
    async with lease.writing:
        assert leases.to_move(NOW_MS) == []
    assert leases.to_move(NOW_MS) == [lease]
    leases.drop(lease)
    assert leases.to_move(NOW_MS) == []
    assert not leases


async def test_the_holder_is_stirred() -> None:
    """It waits for what changes, or for its time."""
    lease = Lease(alarm())
    await lease.stir(0.0)
    waiting = asyncio.create_task(lease.stir(60.0))
    await asyncio.sleep(0)
    lease.finish()
    await asyncio.wait_for(waiting, 10)


async def test_a_hand_over_is_not_waited_for() -> None:
    """Whoever renews leases learns at once that one is wanted, also if that came first."""
    leases = Leases()
    assert not await leases.wanted(0.0)
    leases.want()
    assert await leases.wanted(60.0)
    assert not await leases.wanted(0.0)
