"""Reads a foreground upstream. The connection is the work, so work that breaks off is started again."""

import asyncio
from contextlib import aclosing
from typing import Any

from shared.contract import upstream_events
from shared.contract.upstream_events import ItemProgress, OutputBeginnings
from shared.core.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamFailed,
    UpstreamMissing,
    UpstreamRefused,
    UpstreamUnusable,
)
from shared.core.states import Status
from shared.lifecycle import endings
from shared.runs.consumer import Consumer
from shared.runs.lease import Lease
from shared.runs.log_writer import LogWriter
from shared.runs.memory import RunCheckpoints
from shared.runtime.ports import Ports
from shared.telemetry.logs import logger
from shared.upstreams.protocol import ForegroundUpstream, Progress, UpstreamEvent

_log = logger(__name__)

MAX_RESTARTS = 3


class ForegroundConsumer(Consumer):
    """Restarts the work, at most three times."""

    def __init__(
        self,
        ports: Ports,
        lease: Lease,
        log: LogWriter,
        request: dict[str, Any],
        decided: asyncio.Event,
        upstream: ForegroundUpstream,
    ) -> None:
        super().__init__(ports, lease, log, request, decided)
        self._upstream = upstream
        self._checkpoints = RunCheckpoints(ports, lease)

    async def _read(self) -> None:
        if self._record.upstream.starts and await self._was_finished():
            return None
        has_begun, items, self._beginnings = False, ItemProgress(), OutputBeginnings()
        if not self._record.upstream.has_checkpoint:
            await self._begin_try()
        stream = self._upstream.stream(self._request, self._record.id, self._checkpoints)
        async with aclosing(stream) as events:
            async for event in events:
                if not self._is_heard(event):
                    continue
                if not has_begun:
                    await self._begin(event)
                    has_begun = True
                if status := upstream_events.end_of(event.data):
                    return await self._finish(event, status)
                items.take(event.data)
                await self._append(event)
        if status := items.end():
            return await self._end(Progress(status, None, {}, self._record.upstream.id), synthesize=False)
        raise UpstreamBroken("the stream ended before its terminal event")

    async def _begin(self, event: UpstreamEvent) -> None:
        """Record that the work has begun or resumed, before any reader sees an event of it."""
        is_restart = self._record.upstream.starts > 0
        if event.is_resumed:
            await self._lease.record_resumption()
        else:
            live = self._log.is_live and not event.is_whole
            status = upstream_events.status_after(event.data)
            await self._lease.record_start(event.response_id, status, is_background=False, live=live)
        self._end_try()
        self._decided.set()
        if is_restart:
            if not event.is_resumed:
                extra = {"response": self._record.id, "starts": self._record.upstream.starts}
                _log.warning("run.restarted", extra=extra)
            await self._restart_readers()

    async def _on_refused(self, refusal: UpstreamRefused) -> UpstreamRefused | None:
        return refusal

    async def _on_stream_lost(self, error: UpstreamError) -> None:
        await self._lease.end(endings.by_error(error, self._now_ms()))

    def _unfinished(self) -> UpstreamError:
        return UpstreamBroken("the stream is over and the work is not")

    def _may_reconnect(self) -> bool:
        return True

    # Before a restart

    async def _was_finished(self) -> bool:
        """Poll earlier work before it is started again, and return whether that has settled the response.

        Work that is running or finished upstream is never started again.
        """
        if self._record.upstream.has_checkpoint:
            return False
        if self._record.upstream.starts > MAX_RESTARTS:
            await self._log.drain()
            await self._lease.end(self._lost())
            return True
        progress = await self._earlier_progress()
        if progress is None:
            return False
        if progress.token is None:
            await self._end(progress, synthesize=True)
        else:
            await self._log.drain()
            await self._switch_to_polling(progress.token)
        return True

    async def _earlier_progress(self) -> Progress | None:
        """Return how far the earlier work is, or None if the upstream has stopped or forgotten it."""
        token = self._record.upstream.token
        if token is None:
            return None
        try:
            progress = await self._upstream.poll(token, self._record.request.include)
        except (UpstreamMissing, UpstreamRefused, UpstreamFailed, UpstreamUnusable):
            return None
        return None if progress.status is Status.CANCELLED else progress
