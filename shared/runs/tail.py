"""The tail of an event log: one task per response and process reads what is new, for all readers in this process."""

from shared import off_loop
from shared.contract import stream_events
from shared.core.errors import StoreError
from shared.core.event_log import Batch, Event, Page
from shared.core.ids import shard_of
from shared.core.records import Record
from shared.lifecycle import log_ends
from shared.runtime.broadcast import Broadcast
from shared.runtime.live_feed import LiveFeed
from shared.runtime.ports import Ports
from shared.telemetry.logs import logger

_SOON_MS = 1_000  # the tails in one process ask for the same second, and one message is sent
_log = logger(__name__)


def join(ports: Ports, record: Record, after: int, key: str) -> LiveFeed | None:
    """Return a feed with the events of a response above a number. Begin a tail if nothing in this process follows it.

    `key` is the row key from which the log is unread. Returns None if the reader has to read on by itself.
    """
    broadcast = ports.local.broadcast_of(record.id)
    if broadcast:
        return broadcast.join(after)
    broadcast = Broadcast(record.id, after + 1)
    feed = broadcast.join(after)
    ports.local.add(broadcast, is_tail=True)
    ports.background.start(
        _follow(ports, record, broadcast, key),
        lambda error: _log.error("tail.failed", extra={"response": record.id}, exc_info=error),
    )
    return feed


async def read_page(ports: Ports, response_id: str, from_key: str) -> Page | None:
    """Return a page of the log, or None if storage does not answer."""
    try:
        return await ports.store.log(response_id, from_key)
    except StoreError as error:
        _note(response_id, error)
        return None


async def events_of(record: Record, batch: Batch) -> tuple[Event, ...]:
    """Return the events of a batch as callers may read them. Large ones are read in a thread."""
    return await off_loop.run_packed(batch.packed, lambda: stream_events.stored_events(record, batch.events))


async def _follow(ports: Ports, record: Record, broadcast: Broadcast, key: str) -> None:
    """Publish what is appended to the log, until it ends or no reader is left."""
    silence, is_gone = _Silence(ports, broadcast), False
    try:
        while broadcast.has_readers and not is_gone:
            page = await read_page(ports, record.id, key) or Page([], is_full=False)
            for batch in page.batches:
                if batch.ends:
                    if await _finish(ports, broadcast):
                        return
                    break
                key = batch.next_key
                events = await events_of(record, batch)
                for number, event in enumerate(events, batch.first):
                    broadcast.publish(number, event)
                broadcast.note_stored(batch.first + len(events))
                silence.reset()
            is_gone = not page.is_full and not await silence.wait()
    finally:
        ports.local.remove(broadcast, is_gone=is_gone)


async def _finish(ports: Ports, broadcast: Broadcast) -> bool:
    """Publish the end of the stream, and return whether storage has answered."""
    try:
        if ends := await log_ends.read(ports, broadcast.response_id):
            broadcast.finish(ends)
        else:
            broadcast.close(is_gone=True)
    except StoreError as error:
        _note(broadcast.response_id, error)
        return False
    return True


def _note(response_id: str, error: StoreError) -> None:
    _log.warning("tail.deferred", extra={"response": response_id, "error": type(error).__name__})


class _Silence:
    """How long a tail has seen no event, and what it does then."""

    def __init__(self, ports: Ports, broadcast: Broadcast) -> None:
        self._ports = ports
        self._broadcast = broadcast
        self.reset()

    def reset(self) -> None:
        """Note that an event has arrived."""
        self._since_s = self._asked_s = self._ports.clock.elapsed_s()

    async def wait(self) -> bool:
        """Wait before the next read, longer in a longer silence. Return whether the response still exists.

        A silent stream may have lost its holder. So its tails ask for a sweep every few seconds, which finds an
        expired lease sooner than the heartbeat does.
        """
        clock, pace = self._ports.clock, self._ports.config.pace
        now_s = clock.elapsed_s()
        if now_s - self._asked_s >= pace.wake_s:
            self._asked_s = now_s
            await self._ports.wakeups.sweep(shard_of(self._broadcast.response_id), clock.now_ms() + _SOON_MS)
            if await self._is_gone():
                return False
        await clock.sleep(self._ports.local.tail_wait_s(pace, now_s - self._since_s))
        return True

    async def _is_gone(self) -> bool:
        try:
            record = await self._ports.store.read(self._broadcast.response_id, with_body=False)
        except StoreError:
            return False
        if record:
            self._broadcast.wait = record.wait
        return record is None or record.deleted
