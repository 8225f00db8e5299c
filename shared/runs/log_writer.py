"""Writing the event log of a run that is held: numbered at once, passed to the live reader, stored in batches."""

import asyncio

from shared.contract import stream_events
from shared.core import event_log, run_transitions
from shared.core.blobs import MAX_PACKED
from shared.core.changesets import Write
from shared.core.event_log import Event
from shared.core.records import Record
from shared.core.run_transitions import Place
from shared.core.states import Status, later
from shared.runs.lease import Lease
from shared.runs.live_feed import Feed
from shared.runtime.ports import World


class Log:
    """The end of an event log, whose last events are still on their way into the table.

    A number is passed to a live reader only once the record has reserved it, so that no later holder gives it to
    another event. Without a log, for a response that was not created as a stream, only the status is kept.
    """

    def __init__(self, world: World, lease: Lease, feed: Feed | None) -> None:
        record = lease.record
        self._world = world
        self._lease = lease
        self._feed = feed
        self._is_kept = record.stream
        self._pending: list[Event] = []
        self._size = 0
        self._status = record.status
        self._hurries = False
        self._changed = asyncio.Condition()
        self._restarted = record.restarted
        self.next = record.next_seq  # the number of the next event
        self.upstream_next = record.upstream_next  # the upstream's number after its last event

    @property
    def is_live(self) -> bool:
        """Say whether a reader is passed the events before they are stored."""
        return self._feed is not None and self._feed.is_open

    async def append(self, event: Event | None, upstream_next: int, status: Status) -> None:
        """Take an event in; wait while a batch is full, or while its number is not reserved for the live reader.

        Without an event only the upstream's number and the status go on.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._has_room(event))
            self.upstream_next = upstream_next
            self._status = later(self._status, status)
            if event is not None and self._is_kept:
                self._take(event)
            self._changed.notify_all()

    def _has_room(self, event: Event | None = None) -> bool:
        is_reserved = not self.is_live or self.next < self._lease.record.reserved
        size = self._size + len(event.body) if event and self._pending else self._size
        return is_reserved and not event_log.is_full(len(self._pending), size)

    def _take(self, event: Event) -> None:
        if self._feed and len(event.body) > MAX_PACKED:
            self._feed.close()  # the log may not take it, and nobody shall have seen what is not in the log
        if self._feed and self._feed.is_open:
            self._feed.put(self.next, stream_events.rendered(self._lease.record.id, self.next, [event]))
        self._pending.append(event)
        self._size += len(event.body)
        self.next += 1

    async def restart(self, event: Event) -> None:
        """Go on above every number that was ever sent, with the event that makes void what was told before."""
        await self.drain()
        self.next = self._restarted = max(self.next, self._lease.record.reserved)
        await self.append(event, 0, Status.IN_PROGRESS)

    async def drain(self) -> None:
        """Wait until everything is stored, without letting batches gather."""
        async with self._changed:
            self._hurries = True
            self._changed.notify_all()
            await self._changed.wait_for(lambda: not self._is_due())
            self._hurries = False

    async def write(self) -> None:
        """Store what comes, at most every `flush_s`, for ever; raise Lost, or Oversized at an event too large."""
        while True:
            async with self._changed:
                await self._changed.wait_for(self._is_due)
            await self.flush()
            await self._pause()

    async def _pause(self) -> None:
        """Let a batch gather, unless it is full before or a live reader needs numbers."""
        try:
            async with asyncio.timeout(self._world.pace.flush_s), self._changed:
                await self._changed.wait_for(lambda: self._hurries or not self._has_room())
        except TimeoutError:
            return

    def _is_due(self) -> bool:
        return bool(self._pending) or later(self._lease.record.status, self._status) != self._lease.record.status

    async def flush(self) -> None:
        """Store what has come, in one transaction, however long storage is away."""
        taken, size = tuple(self._pending), self._size
        place, status = Place(self.next, self.upstream_next, self._restarted), self._status
        first = place.next - len(taken)

        def plan(current: Record) -> Write | None:
            done = max(0, current.next_seq - first)  # by an earlier try that was carried out after all
            rows = event_log.rows(first + done, taken[done:])
            return run_transitions.logged(current, rows, place, status, live=self.is_live)

        await self._lease.write(plan)
        del self._pending[: len(taken)]
        self._size -= size
        async with self._changed:
            self._changed.notify_all()
