"""Streams for clients: events as they arrive, heartbeats in between, and a time limit for each answer.

The client whose request begins a run reads it live, and this process holds the run while that client listens. When the
live feed ends, for any reason, the client continues from the log like every other reader.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import replace
from typing import Any, Self

from shared.contract import responses, sse
from shared.core.errors import RefusedByUpstream, StoreError, StreamBroken, UpstreamRefused
from shared.core.records import Record
from shared.gates import waits
from shared.runs import in_place
from shared.runs.log_reader import read_log
from shared.runs.runner import Run
from shared.runtime.live_feed import LiveFeed
from shared.runtime.ports import Ports
from shared.starts import run_submission, withdrawal


class Stream:
    """The server-sent events of one answer, as chunks of bytes. Close it in every case, even if nothing was read."""

    def __init__(self, ports: Ports, record: Record, after: int, feed: LiveFeed | None = None) -> None:
        """Read the events with numbers above `after`, from a live feed first if it is given."""
        self._feed = feed
        self._frames = _frames(ports, record, after, feed)

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next chunk.

        Raises StoreError if storage does not return the end of the stream, and StreamBroken if the response is removed,
        or at the time limit of an answer.
        """
        return await anext(self._frames)

    async def aclose(self) -> None:
        """Stop listening. If this process holds the run for this reader, the run is handed over."""
        if self._feed:
            self._feed.left.set()
        await self._frames.aclose()


async def open_stream(ports: Ports, record: Record, request: dict[str, Any], size: int) -> Stream:
    """Accept a response that is streamed, and return its stream from the first event on.

    `request` is the body for the upstream, and `size` that of the request in bytes. If the upstream is a background
    one, or the response is run in place, this process holds the run for the reader of the stream. If not, the `runs`
    queue offers the run. The stream of a foreground call begins when the work has begun, or after 15 s. Raises
    RefusedByUpstream if the upstream rejects the request, and otherwise as `run_submission.submit_run` does.
    """
    is_background = ports.upstreams.of(record).upstream.is_background
    is_local = in_place.admit(ports, record, size)
    async with AsyncExitStack() as unless_driven:
        if is_local:
            unless_driven.callback(ports.local.leave, record.id)
        submitted = await run_submission.submit_run(
            ports, record, request, held=is_background or is_local, in_place=is_local
        )
        if submitted.alarm is None:
            return Stream(ports, await _begun(ports, submitted.record), -1)
        feed = LiveFeed()
        feed.put(0, submitted.first_frame)
        run = Run(ports, submitted.record, submitted.alarm, request, feed, in_place=is_local)
        in_place.start(ports, run)
        unless_driven.pop_all()
    stream = Stream(ports, submitted.record, -1, feed)
    async with AsyncExitStack() as unless_begun:
        unless_begun.push_async_callback(stream.aclose)
        await _wait_for_decision(run, ports.config.pace.begin_s if is_local else ports.config.limits.start_wait_s)
        if is_local and not run.has_begun:
            await _promised(ports, run)
        unless_begun.pop_all()
    return stream


async def _promised(ports: Ports, run: Run) -> None:
    """Let the answer of a run in place begin that has not begun, or not here. Raise RefusedByUpstream if it may."""
    if run.record.run.claimed or run.record.status.is_terminal:
        await withdrawal.before_answer(ports, run.record)
    else:
        await _begun(ports, run.record)


async def _begun(ports: Ports, record: Record) -> Record:
    """Return the record of an offered run before any byte of its stream. Raise RefusedByUpstream as long as it can."""
    if record.request.background:
        return record
    clock, pace = ports.clock, ports.config.pace
    until_s, pause_s = clock.elapsed_s() + pace.begin_s, pace.tail_s
    while not (record.status.is_terminal or record.upstream.has_begun) and clock.elapsed_s() < until_s:
        await clock.sleep(pause_s)
        pause_s = min(2 * pause_s, pace.tail_idle_s)
        with suppress(StoreError):
            record = await ports.store.read(record.id) or record
    return await withdrawal.before_answer(ports, record)


async def _wait_for_decision(run: Run, within_s: float) -> None:
    """Wait for the upstream's answer to the request. Raise RefusedByUpstream."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await run.decided.wait()
    try:
        await run.acknowledge()
    except UpstreamRefused as refusal:
        raise RefusedByUpstream(refusal) from refusal


async def _frames(
    ports: Ports, record: Record, after: int, feed: LiveFeed | None = None
) -> AsyncGenerator[bytes, None]:
    """Yield the events above a number and heartbeats, up to the end of the stream.

    Raises StreamBroken at the time limit of an answer, so that no client takes it for the end.
    """
    until_s = ports.clock.elapsed_s() + ports.config.pace.stream_s
    if feed:
        async with aclosing(_live(ports, record, feed, until_s)) as live:
            async for chunk in live:
                yield chunk
        if feed.is_complete:
            return
        # the log has everything that the feed had, or soon will
        after, record = feed.last, replace(record, log=replace(record.log, next_seq=feed.last + 1))
    async with aclosing(_logged(ports, record, after, until_s)) as logged:
        async for chunk in logged:
            yield chunk


async def _live(ports: Ports, record: Record, feed: LiveFeed, until_s: float) -> AsyncGenerator[bytes, None]:
    """Yield what a feed gets, and heartbeats, until it is closed. Raises StreamBroken at `until_s`."""
    clock, pace = ports.clock, ports.config.pace
    async with aclosing(feed.chunks(min(pace.heartbeat_s, pace.stream_s))) as chunks:
        try:
            async for chunk in chunks:
                if clock.elapsed_s() >= until_s:
                    raise StreamBroken
                yield chunk or await _heartbeat(ports, record)
        finally:
            feed.close()


async def _logged(ports: Ports, record: Record, after: int, until_s: float) -> AsyncGenerator[bytes, None]:
    """Yield what the log has, and heartbeats, up to the end of the stream. Raises StreamBroken at `until_s`."""
    clock, pace = ports.clock, ports.config.pace
    chunks = read_log(ports, record, after)
    coming: asyncio.Task[bytes | None] | None = None
    try:
        while (left_s := until_s - clock.elapsed_s()) > 0:
            coming = coming or asyncio.ensure_future(_next(chunks))
            if not (await asyncio.wait({coming}, timeout=min(pace.heartbeat_s, left_s)))[0]:
                yield await _heartbeat(ports, record)
                continue
            chunk, coming = coming.result(), None
            if chunk is None:
                return
            yield chunk
        raise StreamBroken
    finally:
        if coming:
            coming.cancel()
            await asyncio.wait({coming})
        await chunks.aclose()


async def _heartbeat(ports: Ports, record: Record) -> bytes:
    """Return a comment. It says what the response waits for, if that is something other than its work."""
    broadcast = ports.local.broadcast_of(record.id)
    if broadcast is None or not broadcast.wait.reason:
        return sse.HEARTBEAT
    known = replace(record, wait=broadcast.wait)
    wait = (await waits.one_as_now(ports.gates, ports.upstreams, known, ports.clock.now_ms())).wait
    return sse.comment(b"waiting " + responses.encode(responses.waiting(wait))) if wait.reason else sse.HEARTBEAT


async def _next(chunks: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(chunks, None)
