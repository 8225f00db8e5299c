"""What a client of a stream is sent: events as they come, heartbeats in between, an end in time.

The client whose request began a run hears it live, and holds it for as long as it listens; when that feed ends, for
whatever reason, it goes on from the log like every other reader.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import replace
from typing import Any, Self

from shared.contract import sse
from shared.core.errors import RefusedByUpstream, UpstreamRefused
from shared.core.records import Record
from shared.lifecycle import submission
from shared.runs.live_feed import Feed
from shared.runs.log_reader import tail
from shared.runs.runner import Run
from shared.runtime.ports import World
from shared.telemetry import tracing
from shared.telemetry.logs import logger

_log = logger(__name__)


class Stream:
    """The frames of one answer, as chunks. To stop listening is to close it, whether it was begun or not."""

    def __init__(self, world: World, record: Record, after: int, feed: Feed | None = None) -> None:
        self._feed = feed
        self._frames = _frames(world, record, after, feed)

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next chunk; raise StoreError if storage does not give the end of the stream."""
        return await anext(self._frames)

    async def aclose(self) -> None:
        """Listen no longer: a run that was held for this reader is handed over."""
        if self._feed:
            self._feed.left.set()
        await self._frames.aclose()


async def open_stream(world: World, record: Record, request: dict[str, Any]) -> Stream:
    """Accept a response that is streamed, and return its stream from the first event on.

    Where the upstream replays, the reader of this stream holds the run; else the `runs` queue offers it. Raises as
    `open_and_start` does.
    """
    opened = await submission.open_run(world, record, request, held=world.upstreams.of(record.model).replays)
    if opened.alarm is None:
        return Stream(world, opened.record, -1)
    feed = Feed()
    feed.put(0, opened.first_frame)
    run = Run(world, opened.record, opened.alarm, request, feed)
    _hold(world, run, opened.record)
    stream = Stream(world, opened.record, -1, feed)
    async with AsyncExitStack() as unless_begun:
        unless_begun.push_async_callback(stream.aclose)
        await _decided(world, run)
        unless_begun.pop_all()
    return stream


async def _decided(world: World, run: Run) -> None:
    """Wait for the upstream's word on the request, as long as a create may take; raise RefusedByUpstream."""
    with suppress(TimeoutError):
        async with asyncio.timeout(world.limits.start_wait_s):
            await run.decided.wait()
    try:
        await run.promise()
    except UpstreamRefused as refusal:
        raise RefusedByUpstream(refusal) from refusal


def _hold(world: World, run: Run, record: Record) -> None:
    """Drive a run beside its reader; what nobody expected is logged, and the lease runs out."""

    def over(task: asyncio.Task[None]) -> None:
        world.runs.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("run.failed", extra={"response": record.id}, exc_info=error)

    with tracing.under(record.trace):
        task = asyncio.ensure_future(run.drive())
        task.add_done_callback(over)
    world.runs.add(task)


async def _frames(world: World, record: Record, after: int, feed: Feed | None = None) -> AsyncGenerator[bytes, None]:
    """Give the stream of a response above a number, for as long as one answer may last."""
    pace = world.pace
    loop = asyncio.get_running_loop()
    until_s = loop.time() + pace.stream_s
    chunks = _chunks(world, record, after, feed)
    coming: asyncio.Task[bytes | None] | None = None
    try:
        while (left_s := until_s - loop.time()) > 0:
            coming = coming or asyncio.ensure_future(_next(chunks))
            if not (await asyncio.wait({coming}, timeout=min(pace.heartbeat_s, left_s)))[0]:
                yield sse.HEARTBEAT
                continue
            chunk, coming = coming.result(), None
            if chunk is None:
                return
            yield chunk
    finally:
        if coming:
            coming.cancel()
            await asyncio.wait({coming})
        await chunks.aclose()


async def _chunks(world: World, record: Record, after: int, feed: Feed | None) -> AsyncGenerator[bytes, None]:
    if feed:
        async with aclosing(feed.chunks()) as live:
            async for chunk in live:
                yield chunk
        after, record = feed.last, replace(record, next_seq=feed.last + 1)  # so far the log goes, or soon will
    async with aclosing(tail(world, record, after)) as logged:
        async for chunk in logged:
            yield chunk


async def _next(chunks: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(chunks, None)
