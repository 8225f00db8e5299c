"""Writes the event log of a run. Events are numbered at once, told to the readers here, and stored in batches.

The start of the work is stored with the first batch, and the last batch with the end of the response.
"""

import asyncio
from collections.abc import Callable

from shared import off_loop
from shared.contract.output_items import told_by
from shared.core import event_log
from shared.core.blobs import MAX_PACKED
from shared.core.errors import UpstreamOversized
from shared.core.event_log import Event
from shared.core.records import Record
from shared.core.states import Status, later, terminal_count
from shared.lifecycle import endings, log_ends
from shared.lifecycle.endings import Outcome
from shared.runs.lease import Lost, RunLease
from shared.runs.unstored import Beginning, Unstored
from shared.runtime.broadcast import Broadcast
from shared.runtime.condition import Condition
from shared.runtime.ports import Ports
from shared.transitions.run_transitions import LogPosition, Ownership

JOINS_END = 262_144  # bytes of text of events that still fit beside the largest output


class LogWriter:
    """The end of an event log whose last events are not stored yet.

    The readers in this process get an event only when the record has reserved its number, so no later holder gives that
    number to another event. A response that was not created as a stream has no log. Only its status and its finished
    items are kept.
    """

    def __init__(self, ports: Ports, lease: RunLease, broadcast: Broadcast | None) -> None:
        record = lease.record
        self._ports = ports
        self._lease = lease
        self._broadcast = broadcast
        # Earlier holders may have given the numbers below this one.
        self._others_mark = record.log.high_water_mark if record.run.epoch > 1 else 0
        self._has_log = record.request.stream
        self._beginning: Beginning | None = None
        self._pending: list[Event] = []
        self._told = 0  # how many of them the readers here have
        self._size = 0
        self._told_here = 0  # events of the upstream, of a response without a log, too
        self._status = record.status
        self._drains = False  # everything is to be stored at once
        self._settles = False  # somebody waits until the start of the work is stored
        self._changed = Condition()
        self._storing = asyncio.Lock()
        self._valid_from = record.log.valid_from
        self.next_seq = record.log.next_seq  # the number of the next event
        self.upstream_next = record.log.upstream_next  # the number of the upstream's next event
        self.total = record.log.size  # bytes of text that were appended, by all holders if there is a log

    @property
    def is_live(self) -> bool:
        """Whether a reader gets the events before they are stored."""
        return self._broadcast is not None and self._broadcast.has_readers

    @property
    def told(self) -> Status | None:
        """The status that the events after `response.created` have told, or None if there are none."""
        return self._status if self.next_seq > 1 else None

    @property
    def may_have_told(self) -> bool:
        """Whether a reader may have an event after `response.created`."""
        return max(self.next_seq, self._others_mark) > 1

    @property
    def lacks_progress(self) -> bool:
        """Whether there is a log, and `response.in_progress` has not been told in it."""
        return self._has_log and self.told is not Status.IN_PROGRESS

    # Appending

    def begin(self, beginning: Beginning) -> None:
        """Have the start of the work stored with the first events that follow, or alone if none follows soon."""
        self._beginning = beginning
        self._changed.notify()

    async def append(self, event: Event | None, upstream_next: int, status: Status) -> None:
        """Append an event. Wait while a batch is full.

        `upstream_next` is the number of the upstream's next event, and `status` the response's status after this one.
        Without an event, only these two advance.
        """
        await self._changed.until(lambda: self._has_room(event))
        if event is not None and not self._has_log:
            self._lease.items.take(await off_loop.run(len(event.body), told_by, event))
        self.upstream_next = upstream_next
        self._status = later(self._status, status)
        self.total += len(event.body) if event else 0
        if event is not None and self._has_log:
            self._take(event)
        self._changed.notify()

    def check_room(self) -> None:
        """Note that an event of the upstream follows. Raise UpstreamOversized if the limits allow no more."""
        self._told_here += 1
        limits = self._ports.config.limits
        if max(self._told_here, self.next_seq) > limits.max_events:
            raise UpstreamOversized(f"The upstream's stream has more than {limits.max_events} events.")
        if self.total > limits.max_log:
            raise UpstreamOversized(f"The events of this response have more than {limits.max_log} bytes.")

    def _has_room(self, event: Event | None = None) -> bool:
        size = self._size + len(event.body) if event and self._pending else self._size
        return not event_log.is_full(len(self._pending), size)

    def _take(self, event: Event) -> None:
        if len(event.body) > MAX_PACKED:
            self._close()  # the log may reject it, and no reader may see what is not in the log
        self._pending.append(event)
        self._size += len(event.body)
        self.next_seq += 1
        self._tell()

    def _tell(self) -> None:
        """Give the readers here the events whose numbers are reserved."""
        first = self.next_seq - len(self._pending)
        until = min(len(self._pending), self._lease.record.log.high_water_mark - first)
        if self._broadcast:
            for place in range(self._told, until):
                self._broadcast.publish(first + place, self._pending[place])
        self._told = max(self._told, until)

    def _close(self) -> None:
        if self._broadcast:
            self._ports.local.remove(self._broadcast)

    async def restart(self, event: Event, upstream_next: int = 0) -> None:
        """Append an event that voids all earlier ones, with a number above all that a reader may have seen.

        `upstream_next` is as in `append`.
        """
        await self.drain()
        self.next_seq = max(self.next_seq, self._others_mark)
        self._valid_from = self.next_seq
        await self.append(event, upstream_next, Status.IN_PROGRESS)

    # Storing

    async def settle(self) -> None:
        """Wait until the start of the work is stored, if it is not. Then it is known who owns the work."""
        self._settles = True
        self._changed.notify()
        await self._changed.until(lambda: self._beginning is None)
        self._settles = False

    async def drain(self) -> None:
        """Wait until everything is stored. Meanwhile, events are stored without waiting for a batch to gather."""
        self._drains = True
        self._changed.notify()
        await self._changed.until(lambda: not self._is_due())
        self._drains = False

    async def write(self) -> None:
        """Store events until cancelled, each time after a batch has gathered.

        Raises Lost if this process has lost the run, and Oversized if an event is too large to be stored.
        """
        while True:
            await self._changed.until(self._is_due)
            if beginning := self._beginning:
                await self._gather(beginning.within_s, lambda: bool(self._pending))
            if beginning is None or beginning.is_told:
                wait_s = self._ports.local.flush_wait_s(self._ports.config.pace)
                await self._gather(wait_s, lambda: not self._has_room() or self._needs_numbers())
            await self.flush()

    async def _gather(self, within_s: float, is_enough: Callable[[], bool]) -> None:
        """Wait for a batch to gather, unless there is enough before or everything is to be stored."""
        try:
            async with asyncio.timeout(within_s):
                await self._changed.until(lambda: self._drains or self._is_hurried() or is_enough())
        except TimeoutError:
            return

    def _is_hurried(self) -> bool:
        """Return whether the start of the work is to be stored at once."""
        return self._settles and self._beginning is not None

    def _needs_numbers(self) -> bool:
        return self._told < len(self._pending) and self.is_live

    def _is_due(self) -> bool:
        is_later = later(self._lease.record.status, self._status) != self._lease.record.status
        return bool(self._pending) or is_later or self._beginning is not None

    async def flush(self) -> None:
        """Store the start of the work and the events in one transaction, and retry while storage is unavailable.

        Raises as `write`.
        """
        async with self._storing:
            unstored = self._unstored()
            unstored = await off_loop.run(unstored.size, unstored.packed)
            if unstored.beginning:
                await self._begin(unstored, unstored.beginning)
            else:
                await self._lease.write(lambda current: unstored.append(current, live=self.is_live))
                self._note_stored(unstored)
        self._changed.notify()

    async def _begin(self, unstored: Unstored, beginning: Beginning) -> None:
        try:
            ownership = await self._lease.begin(lambda current: unstored.begin(current, live=self.is_live))
        except Lost:
            beginning.tell(Ownership.LOST)
            raise
        if ownership is Ownership.OURS:
            self._note_stored(unstored)
        else:
            self._discard()
        beginning.tell(ownership)

    async def end(self, outcome: Outcome, *, is_replayed: bool = False) -> None:
        """End the response after its last events, unless this process has lost the run. Retry as `flush` does.

        `is_replayed`: this holder has told all that earlier ones may have told, under the same numbers, or has begun
        again above them. Otherwise the number of the end is above all that a reader may have seen.
        """
        skips = self._has_log and not is_replayed and self._others_mark > self.next_seq
        if skips or not self._fits_end(outcome):
            await self.drain()
        async with self._storing:
            self.next_seq = max(self.next_seq, self._others_mark) if skips else self.next_seq
            unstored = self._unstored()
            ended = await self._lease.end(outcome, unstored.add_to if skips or self._is_due() else None)
            self._note_stored(unstored)
            if unstored.beginning:
                unstored.beginning.tell(Ownership.OURS)
            if ended and ended.status.is_terminal:
                await self._tell_end(ended)
        self._changed.notify()

    async def abandon(self, outcome: Outcome) -> None:
        """End the response without the events that are not stored, because one of them cannot be."""
        async with self._storing:
            beginning = self._beginning
            self._discard()
            if beginning:
                await self._begin(self._unstored(beginning), beginning)
            await self._lease.end(outcome)
        self._changed.notify()

    def _fits_end(self, outcome: Outcome) -> bool:
        """Return whether what is not stored fits into the transaction of an end, which does not depend on it."""
        is_independent = not outcome.stop and (self._beginning is None or self._beginning.joins_end)
        return is_independent and self._size <= JOINS_END and not (self._pending and endings.lacks_output(outcome))

    async def _tell_end(self, ended: Record) -> None:
        """Give the readers here the end, unless there are events before it that are only in the log."""
        first = ended.log.next_seq - terminal_count(ended.status)
        if self.is_live and self._broadcast and ended.body and first == self.next_seq:
            self._broadcast.finish(await log_ends.made_from(ended, ended.body))

    def _unstored(self, beginning: Beginning | None = None) -> Unstored:
        position = LogPosition(self.next_seq, self.upstream_next, self._valid_from, self.total)
        first = self.next_seq - len(self._pending)
        begun = beginning or self._beginning
        return Unstored(first, tuple(self._pending), self._size, position, self._status, begun)

    def _note_stored(self, unstored: Unstored) -> None:
        self._tell()  # a flush reserves the numbers of what it stores
        del self._pending[: len(unstored.events)]
        self._told = max(0, self._told - len(unstored.events))
        if unstored.events:
            self._ports.local.note_flush(self._lease.record.id, self._ports.clock.elapsed_s())
        if self._broadcast:
            self._broadcast.note_stored(unstored.position.next_seq)
        self._size -= unstored.size
        self._beginning = None if self._beginning is unstored.beginning else self._beginning

    def _discard(self) -> None:
        """Forget the start and the events that are not stored. Their numbers will be those of others."""
        log = self._lease.record.log
        if self._told:
            self._close()
        self._pending.clear()
        self._told = self._size = 0
        self._beginning = None
        self._status, self._valid_from = self._lease.record.status, log.valid_from
        self.next_seq, self.upstream_next, self.total = log.next_seq, log.upstream_next, log.size
