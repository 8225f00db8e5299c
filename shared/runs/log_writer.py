"""Writes the event log of a run. Events are numbered at once, passed to the live reader, and stored in batches."""

import asyncio

from shared.contract import stream_events
from shared.core import event_log, run_transitions
from shared.core.blobs import MAX_PACKED
from shared.core.changesets import ChangeSet
from shared.core.event_log import Event
from shared.core.records import Record
from shared.core.run_transitions import LogPosition
from shared.core.states import Status, later
from shared.runs.lease import Lease
from shared.runs.live_feed import LiveFeed
from shared.runtime.ports import Ports


class LogWriter:
    """The end of an event log whose last events are not stored yet.

    A live reader gets an event only when the record has reserved its number, so no later holder gives that number to
    another event. A response that was not created as a stream has no log. Only its status and its finished items are
    kept.
    """

    def __init__(self, ports: Ports, lease: Lease, feed: LiveFeed | None) -> None:
        record = lease.record
        self._pace = ports.config.pace
        self._lease = lease
        self._feed = feed
        self._has_log = record.request.stream
        self._pending: list[Event] = []
        self._size = 0
        self._status = record.status
        self._drains = False
        self._changed = asyncio.Condition()
        self._valid_from = record.log.valid_from
        self.next_seq = record.log.next_seq  # the number of the next event
        self.upstream_next = record.log.upstream_next  # the number of the upstream's next event

    @property
    def is_live(self) -> bool:
        """Whether a reader gets the events before they are stored."""
        return self._feed is not None and self._feed.is_open

    @property
    def told(self) -> Status | None:
        """The status that the events after `response.created` have told, or None if there are none."""
        return self._status if self.next_seq > 1 else None

    @property
    def lacks_progress(self) -> bool:
        """Whether there is a log, and `response.in_progress` has not been told in it."""
        return self._has_log and self.told is not Status.IN_PROGRESS

    async def append(self, event: Event | None, upstream_next: int, status: Status) -> None:
        """Append an event. Wait while a batch is full, or until the event's number is reserved for the live reader.

        `upstream_next` is the number of the upstream's next event, and `status` the response's status after this one.
        Without an event, only these two advance.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._has_room(event))
            self.upstream_next = upstream_next
            self._status = later(self._status, status)
            if event is not None and self._has_log:
                self._take(event)
            elif event is not None:
                self._lease.items.take(event)
            self._changed.notify_all()

    def _has_room(self, event: Event | None = None) -> bool:
        is_reserved = not self.is_live or self.next_seq < self._lease.record.log.high_water_mark
        size = self._size + len(event.body) if event and self._pending else self._size
        return is_reserved and not event_log.is_full(len(self._pending), size)

    def _take(self, event: Event) -> None:
        if self._feed and len(event.body) > MAX_PACKED:
            self._feed.close()  # the log may reject it, and no reader may see what is not in the log
        if self._feed and self._feed.is_open:
            self._feed.put(self.next_seq, stream_events.frames(self._lease.record.id, self.next_seq, [event]))
        self._pending.append(event)
        self._size += len(event.body)
        self.next_seq += 1

    async def restart(self, event: Event, upstream_next: int = 0) -> None:
        """Append an event that voids all earlier ones, with a number above all that a reader may have seen.

        `upstream_next` is as in `append`.
        """
        await self.drain()
        if not self.is_live:  # only the first holder has a live reader, and then no other one gave numbers
            self.next_seq = max(self.next_seq, self._lease.record.log.high_water_mark)
        self._valid_from = self.next_seq
        await self.append(event, upstream_next, Status.IN_PROGRESS)

    async def drain(self) -> None:
        """Wait until everything is stored. Meanwhile, events are stored without waiting for a batch to gather."""
        async with self._changed:
            self._drains = True
            self._changed.notify_all()
            await self._changed.wait_for(lambda: not self._is_due())
            self._drains = False

    async def write(self) -> None:
        """Store events until cancelled, at most once every `flush_s` seconds.

        Raises Lost if this process has lost the run, and Oversized if an event is too large to be stored.
        """
        while True:
            async with self._changed:
                await self._changed.wait_for(self._is_due)
            await self.flush()
            await self._gather()

    async def _gather(self) -> None:
        """Wait for a batch to gather, unless it is full before or a live reader needs numbers."""
        try:
            async with asyncio.timeout(self._pace.flush_s), self._changed:
                await self._changed.wait_for(lambda: self._drains or not self._has_room())
        except TimeoutError:
            return

    def _is_due(self) -> bool:
        return bool(self._pending) or later(self._lease.record.status, self._status) != self._lease.record.status

    async def flush(self) -> None:
        """Store the pending events in one transaction, and retry while storage is unavailable. Raises as `write`."""
        taken, size = tuple(self._pending), self._size
        position = LogPosition(self.next_seq, self.upstream_next, self._valid_from)
        status, first = self._status, self.next_seq - len(taken)

        def transition(current: Record) -> ChangeSet | None:
            done = max(0, current.log.next_seq - first)  # stored by an earlier try whose answer was lost
            rows = event_log.event_rows(first + done, taken[done:])
            return run_transitions.append_events(current, rows, position, status, live=self.is_live)

        await self._lease.write(transition)
        del self._pending[: len(taken)]
        self._size -= size
        async with self._changed:
            self._changed.notify_all()
