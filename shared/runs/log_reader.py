"""Reads an event log while it grows: every event after a number and then the end, for any number of readers.

A reader holds one page of the log at a time, so a slow reader costs the others nothing.
"""

from collections.abc import AsyncGenerator

from shared.contract import responses, stream_events
from shared.core import event_log
from shared.core.errors import StoreError
from shared.core.event_log import Page
from shared.core.ids import shard_of
from shared.core.records import Record
from shared.runtime import off_loop
from shared.runtime.ports import Ports
from shared.telemetry.logs import logger

_SOON_MS = 1_000  # the readers in one process ask for the same second, and one message is sent
_log = logger(__name__)


async def read_log(ports: Ports, record: Record, after: int) -> AsyncGenerator[bytes, None]:
    """Yield all events with numbers above `after` as they arrive, up to the end of the stream.

    `record` is the record as last read. The events are server-sent events, in chunks of bytes. A reader that starts at
    the beginning does not get the events between `response.created` and the last restart, which voids them. This ends
    early only if the response is removed. While storage does not answer, it yields nothing. Only at the first event and
    at the end may it raise StoreError.
    """
    response_id = record.id
    if after < 0 and record.log.valid_from:
        yield await _created_frame(ports, record)
        after = record.log.valid_from - 1
    key = event_log.batch_key_before(response_id, min(after, record.log.next_seq - 1))
    silence = _Silence(ports, response_id)
    while True:
        page = await _page(ports, response_id, key)
        for batch in page.batches:
            if batch.ends:
                if end := await _end_frames(ports, response_id, batch.first, after):
                    yield end
                return
            key = batch.next_key
            skipped = max(0, after + 1 - batch.first)
            if events := batch.events[skipped:]:
                yield stream_events.frames(
                    response_id, batch.first + skipped, stream_events.stored_events(record, events)
                )
                after = batch.first + skipped + len(events) - 1
                silence.reset()
        if not page.is_full and not await silence.wait():
            return


async def _page(ports: Ports, response_id: str, from_key: str) -> Page:
    try:
        return await ports.store.log(response_id, from_key)
    except StoreError as error:
        _log.warning("tail.deferred", extra={"response": response_id, "error": type(error).__name__})
        return Page([], is_full=False)


async def _created_frame(ports: Ports, record: Record) -> bytes:
    page = await ports.store.log(record.id, event_log.batch_key_before(record.id, -1))
    first = page.batches[0].events[:1] if page.batches else ()
    return stream_events.frames(record.id, 0, stream_events.stored_events(record, first))


async def _end_frames(ports: Ports, response_id: str, first: int, after: int) -> bytes:
    """Return the events above a number that end the stream. They are made from the record."""
    record = await ports.store.read(response_id)
    if record is None:
        return b""
    body = await ports.store.body(record)
    response = await off_loop.run_packed(body, responses.stored_response, record, body)
    events = stream_events.terminal_events(record.status, response)
    skipped = max(0, after + 1 - first)
    return stream_events.frames(response_id, first + skipped, events[skipped:], ends=True)


class _Silence:
    """How long a reader has seen no event, and what it does then."""

    def __init__(self, ports: Ports, response_id: str) -> None:
        self._ports = ports
        self._id = response_id
        self.reset()

    def reset(self) -> None:
        """Note that an event has arrived."""
        self._since_s = self._asked_s = self._ports.clock.elapsed_s()

    async def wait(self) -> bool:
        """Wait before the next read, longer in a longer silence. Return whether the response still exists.

        A silent stream may have lost its holder. So its readers ask for a sweep every few seconds, which finds an
        expired lease sooner than the heartbeat does.
        """
        clock, pace = self._ports.clock, self._ports.config.pace
        now_s = clock.elapsed_s()
        if now_s - self._asked_s >= pace.wake_s:
            self._asked_s = now_s
            await self._ports.wakeups.sweep(shard_of(self._id), clock.now_ms() + _SOON_MS)
            if await self._is_gone():
                return False
        await clock.sleep(min(max(pace.tail_s, (now_s - self._since_s) / 20), pace.tail_max_s))
        return True

    async def _is_gone(self) -> bool:
        try:
            record = await self._ports.store.read(self._id, with_body=False)
        except StoreError:
            return False
        return record is None or record.deleted
