"""Reading an event log while it grows: every event after a number, then the end, for any number of readers.

A reader holds one page of the log at a time, so a slow one costs nobody anything.
"""

import asyncio
from collections.abc import AsyncGenerator

import orjson

from shared.contract import stream_events
from shared.core import blobs, event_log
from shared.core.errors import StoreError
from shared.core.event_log import Page
from shared.core.ids import shard_of
from shared.core.records import Record
from shared.runtime.ports import World
from shared.telemetry.logs import logger

_SOON_MS = 1_000  # so that the readers of one process ask together: a nudge for the same second is sent once
_log = logger(__name__)


async def tail(world: World, record: Record, after: int) -> AsyncGenerator[bytes, None]:
    """Give the frames of all events above a number, as they come, up to the end of the stream; `record` is as read.

    Whoever starts from nothing is spared what a restart has made void: the events between `response.created` and it.

    Ends early only if the response is removed meanwhile. While storage is away, nothing comes; at the first event and
    the end, it may raise StoreError.
    """
    response_id = record.id
    if after < 0 and record.restarted:
        yield await _created(world, response_id)
        after = record.restarted - 1
    key = event_log.first_key(response_id, min(after, record.next_seq - 1))
    silence = _Silence(world, response_id)
    while True:
        page = await _page(world, response_id, key)
        for batch in page.batches:
            if batch.ends:
                if end := await _end(world, response_id, batch.first, after):
                    yield end
                return
            key = batch.next_key
            skipped = max(0, after + 1 - batch.first)
            if told := batch.events[skipped:]:
                yield stream_events.rendered(response_id, batch.first + skipped, told)
                after = batch.first + skipped + len(told) - 1
                silence.broken()
        if not page.is_full and not await silence.lasts():
            return


async def _page(world: World, response_id: str, from_key: str) -> Page:
    try:
        return await world.store.log(response_id, from_key)
    except StoreError as error:
        _log.warning("tail.deferred", extra={"response": response_id, "error": type(error).__name__})
        return Page([], is_full=False)


async def _created(world: World, response_id: str) -> bytes:
    page = await world.store.log(response_id, event_log.first_key(response_id, -1))
    return stream_events.rendered(response_id, 0, page.batches[0].events[:1]) if page.batches else b""


async def _end(world: World, response_id: str, first: int, after: int) -> bytes:
    """Return the frames of the end, which is made from the record."""
    record = await world.store.read(response_id)
    if record is None:
        return b""
    response = orjson.loads(blobs.expand(await world.store.body(record)))
    told = stream_events.terminal(record.status, response)
    skipped = max(0, after + 1 - first)
    return stream_events.rendered(response_id, first + skipped, told[skipped:], ends=True)


class _Silence:
    """How long a reader has seen nothing, and what it does then."""

    def __init__(self, world: World, response_id: str) -> None:
        self._world = world
        self._id = response_id
        self.broken()

    def broken(self) -> None:
        """Note that something came."""
        self._since_s = self._asked_s = asyncio.get_running_loop().time()

    async def lasts(self) -> bool:
        """Wait before the next look: longer the longer the silence lasts; say whether the response is still there.

        A silent stream may have lost its holder. So its reader asks for a look at the shard now and then, which finds
        a lease that has run out sooner than the heartbeat does.
        """
        pace, now_s = self._world.pace, asyncio.get_running_loop().time()
        if now_s - self._asked_s >= pace.nudge_s:
            self._asked_s = now_s
            await self._world.nudges.sweep(shard_of(self._id), self._world.now_ms() + _SOON_MS)
            if await self._is_gone():
                return False
        await self._world.sleep(min(max(pace.tail_s, (now_s - self._since_s) / 20), pace.tail_max_s))
        return True

    async def _is_gone(self) -> bool:
        try:
            record = await self._world.store.read(self._id, with_body=False)
        except StoreError:
            return False
        return record is None or record.deleted
