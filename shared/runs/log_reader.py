"""Reads an event log while it grows: every event after a number and then the end, for any number of readers.

A reader reads by itself what is stored. Then it joins those that wait in this process for what comes. A reader holds
one page of the log at a time, so a slow reader costs the others nothing.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from shared.contract import stream_events
from shared.core import event_log
from shared.core.errors import StoreError, StreamBroken
from shared.core.records import Record
from shared.lifecycle import log_ends
from shared.runs import tail
from shared.runtime.live_feed import LiveFeed
from shared.runtime.ports import Ports


async def read_log(ports: Ports, record: Record, after: int) -> AsyncGenerator[bytes, None]:
    """Yield all events with numbers above `after` as they arrive, up to the end of the stream.

    `record` is the record as last read. The events are server-sent events, in chunks of bytes. A reader that starts at
    the beginning does not get the events between `response.created` and the last restart, which voids them. Raises
    StreamBroken if the response is removed. While storage does not answer, it yields nothing. Only at the first event
    and at the end may it raise StoreError.
    """
    if after < 0 and record.log.valid_from:
        yield await _created_frame(ports, record)
        after = record.log.valid_from - 1
    reader = _Reader(ports, record, after, await _key_of(ports, record.id, min(after, record.log.next_seq - 1) + 1))
    while not reader.is_over:
        async with aclosing(reader.stored()) as chunks:
            async for chunk in chunks:
                yield chunk
        if reader.is_current and not reader.is_over and (feed := tail.join(ports, record, reader.after, reader.key)):
            async with aclosing(reader.coming(feed)) as chunks:
                async for chunk in chunks:
                    yield chunk


class _Reader:
    """A reader that has all events up to the number `after`, and reads the log by itself from the row key `key` on."""

    def __init__(self, ports: Ports, record: Record, after: int, key: str) -> None:
        self._ports = ports
        self._record = record
        self.after = after
        self.key = key
        self.is_current = False  # it has read whatever was stored
        self.is_over = False  # it has read the end

    async def stored(self) -> AsyncGenerator[bytes, None]:
        """Yield the events of the next page of the log, or the end."""
        page = await tail.read_page(self._ports, self._record.id, self.key)
        for batch in page.batches if page else ():
            if batch.ends:
                yield await self._ends()
                return
            self.key = batch.next_key
            skipped = max(0, self.after + 1 - batch.first)
            if events := (await tail.events_of(self._record, batch))[skipped:]:
                first = batch.first + skipped
                yield stream_events.frames(self._record.id, first, events)
                self.after = first + len(events) - 1
        self.is_current = page is not None and not page.is_full
        if page is None:
            await self._ports.clock.sleep(self._ports.config.pace.tail_idle_s)

    async def _ends(self) -> bytes:
        ends = await log_ends.read(self._ports, self._record.id)
        if not ends:
            raise StreamBroken
        self.is_over = True
        return b"".join(frame for number, frame in ends if number > self.after)

    async def coming(self, feed: LiveFeed) -> AsyncGenerator[bytes, None]:
        """Yield the events of a feed until it is closed."""
        async with aclosing(feed.chunks()) as chunks:
            try:
                async for chunk in chunks:
                    yield chunk
            finally:
                feed.close()
        if feed.is_gone:
            raise StreamBroken
        self.is_over = feed.is_complete
        if feed.last > self.after and not self.is_over:
            self.after, self.key = feed.last, max(self.key, await _key_of(self._ports, self._record.id, feed.last + 1))


async def _key_of(ports: Ports, response_id: str, number: int) -> str:
    """Return a row key at or below the batch that contains the event with a number, as near as storage tells."""
    with suppress(StoreError):
        return await ports.store.batch_key(response_id, number)
    return event_log.batch_key_before(response_id, number - 1)


async def _created_frame(ports: Ports, record: Record) -> bytes:
    page = await ports.store.log(record.id, event_log.batch_key_before(record.id, -1))
    first = (await tail.events_of(record, page.batches[0]))[:1] if page.batches else ()
    return stream_events.frames(record.id, 0, first)
