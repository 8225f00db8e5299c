"""Watches: the young responses that this process polls itself, with their records in hand."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from shared.core.records import Record
from shared.runtime.leases import Lease

WATCHED_MS = 25_000
MOST = 500
MOST_BYTES = 32 * 1024 * 1024


class Watch:
    """One watched response: its record as this process last read or wrote it, and its lease."""

    def __init__(self, record: Record, lease: Lease, now_ms: int) -> None:
        self.record = record
        self.lease = lease
        self.until_ms = now_ms + WATCHED_MS  # it goes on after that while a caller waits
        self.write_ids = set[str]()  # of the tries to end the response. What has one was written by this process.
        self._over = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether the response has ended or is gone, or is no longer watched."""
        return self._over.is_set()

    def note(self, record: Record) -> None:
        """Take a record that this process has just written, and tell the end to whoever waits for it."""
        self.record = record
        if record.status.is_terminal:
            self.close()

    def conclude(self, record: Record | None) -> None:
        """Take the record as an end has left it, or None if it is gone. The lease went with the end."""
        self.record = record or self.record
        self.close()
        self.lease.finish()

    def close(self) -> None:
        """Note that the watch is over, with or without an end."""
        self._over.set()
        self.lease.stirred.set()

    async def end(self, within_s: float) -> Record | None:
        """Wait until the response has ended, and return its record. Return None if the time or the watch is over."""
        try:
            async with asyncio.timeout(within_s):
                await self._over.wait()
        except TimeoutError:
            return None
        return self.record if self.record.status.is_terminal else None


class Watches:
    """The watches of this process, of which at most 500 with 32 MiB of response objects are not waited for."""

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._watched: dict[str, Watch] = {}
        self._counted: dict[str, int] = {}  # bytes by id
        self._bytes = 0
        self._waiting = Counter[str]()

    def __len__(self) -> int:
        """Return how many responses are watched."""
        return len(self._watched)

    def of(self, response_id: str) -> Watch | None:
        """Return the watch of a response, or None."""
        return self._watched.get(response_id)

    def admit(self, response_id: str, size: int) -> bool:
        """Return whether a response of this size in bytes may be watched, and count it. One that is waited for may."""
        self.leave(response_id)
        return self.is_waited_for(response_id) or self._count(response_id, size)

    def leave(self, response_id: str) -> None:
        """Count a response no longer, unless it is watched."""
        if response_id not in self._watched:
            self._uncount(response_id)

    def add(self, record: Record, lease: Lease, now_ms: int) -> Watch:
        """Watch a response that was admitted."""
        watch = self._watched[record.id] = Watch(record, lease, now_ms)
        return watch

    def remove(self, watch: Watch) -> None:
        """Watch a response no longer."""
        if self._watched.get(watch.record.id) is watch:
            del self._watched[watch.record.id]
            self._uncount(watch.record.id)
        watch.close()

    def note(self, record: Record) -> None:
        """Take a record that this process has just written."""
        if watch := self.of(record.id):
            watch.note(record)

    def is_waited_for(self, response_id: str) -> bool:
        """Return whether a caller waits here for the end of a response."""
        return self._waiting[response_id] > 0

    @contextmanager
    def waiting(self, response_id: str) -> Iterator[None]:
        """Say for as long as the block runs that a caller waits for the end of a response."""
        self._waiting[response_id] += 1
        self._uncount(response_id)
        try:
            yield
        finally:
            self._waiting[response_id] -= 1
            if not self._waiting[response_id]:
                del self._waiting[response_id]
                self._count_again(response_id)

    def _count_again(self, response_id: str) -> None:
        watch = self.of(response_id)
        if watch and not self._count(response_id, len(watch.record.body)):
            watch.until_ms = 0
        if watch:
            watch.lease.stirred.set()

    def _count(self, response_id: str, size: int) -> bool:
        if len(self._counted) >= self._most or self._bytes + size > self._most_bytes:
            return False
        self._counted[response_id] = size
        self._bytes += size
        return True

    def _uncount(self, response_id: str) -> None:
        self._bytes -= self._counted.pop(response_id, 0)
