"""Leases: alarms that this process holds for as long as it works on something itself.

A lease fires only if the process does not move it in time. So a crash costs the rest of the lease, and nobody sends a
wake-up for one. The wall clock decides, because a process can be frozen without noticing. Once the time of a lease is
past, another process may have its alarm, and this one moves it no more.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shared.core.alarms import Alarm
from shared.core.backoff import before_deadline

RENEWED_MS = 15_000
RENEW_BEFORE_MS = 6_000  # more than the 5 s by which a sweep may be ahead of its clock


@dataclass(frozen=True, slots=True)
class HandOver:
    """The time for which a lease is set when this process gives it up, in unix milliseconds.

    `changes` are other attributes of its alarm.
    """

    due_ms: int
    changes: Mapping[str, Any]


class Lease:
    """One lease. `alarm` is its alarm as it stands, as far as this process knows."""

    def __init__(self, alarm: Alarm) -> None:
        self.alarm = alarm
        self.writing = asyncio.Lock()  # held by whoever writes a transaction that contains the alarm
        self.stirred = asyncio.Event()  # set when something has changed for the holder
        self.hand_over: HandOver | None = None
        self.is_over = False  # handed over, removed, or gone to another process
        self.doubtful: Alarm | None = None  # where a move has put it whose outcome is unknown

    def is_past(self, now_ms: int) -> bool:
        """Return whether its time is past, so that another process may have it."""
        return now_ms >= self.alarm.due_ms

    def is_to_move(self, now_ms: int) -> bool:
        """Return whether it is to be handed over, or fires within 6 s. One that fires at the deadline stays there."""
        fires_soon = self.alarm.due_ms - now_ms <= RENEW_BEFORE_MS and self.alarm.due_ms < self.alarm.deadline_ms
        return not self.is_over and not self.is_past(now_ms) and (self.hand_over is not None or fires_soon)

    def moved(self, now_ms: int) -> Alarm:
        """Return its alarm as it is to be moved now."""
        if self.hand_over:
            due_ms = before_deadline(self.hand_over.due_ms, now_ms, self.alarm.deadline_ms)
            return self.alarm.at(due_ms, **self.hand_over.changes)
        latest_ms = max(self.alarm.deadline_ms, now_ms + 1_000)
        return self.alarm.moved(min(now_ms + RENEWED_MS, latest_ms))

    async def stir(self, within_s: float) -> None:
        """Wait until something changes for the holder, or until this many seconds have passed."""
        self.stirred.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.stirred.wait()

    def finish(self) -> None:
        """Note that this process no longer holds it."""
        self.is_over = True
        self.stirred.set()


class Leases:
    """The leases of this process."""

    def __init__(self) -> None:
        self._held: dict[Lease, None] = {}  # in the order in which they were taken, so that a run can be repeated
        self._wanted = asyncio.Event()
        self.is_kept = False  # a task renews them

    def __len__(self) -> int:
        """Return how many leases are held."""
        return len(self._held)

    def __iter__(self) -> Iterator[Lease]:
        """Yield the leases that are held."""
        return iter(tuple(self._held))

    def add(self, alarm: Alarm) -> Lease:
        """Hold the lease of an alarm that this process has just written or moved."""
        lease = Lease(alarm)
        self._held[lease] = None
        return lease

    def drop(self, lease: Lease) -> None:
        """Hold a lease no longer."""
        self._held.pop(lease, None)

    def to_move(self, now_ms: int) -> list[Lease]:
        """Return the leases to move now that no transaction contains."""
        return [one for one in self._held if one.is_to_move(now_ms) and not one.writing.locked()]

    def want(self) -> None:
        """Ask for a pass at once, because a lease is to be handed over."""
        self._wanted.set()

    async def wanted(self, within_s: float) -> bool:
        """Wait until a pass is asked for. Return whether that happened within this many seconds."""
        try:
            async with asyncio.timeout(within_s):
                await self._wanted.wait()
        except TimeoutError:
            return False
        self._wanted.clear()
        return True
