"""Reads a foreground upstream. The connection is the work, so work that breaks off is started again."""

import asyncio
from contextlib import aclosing
from functools import partial
from typing import Any

from shared.contract import upstream_events
from shared.contract.upstream_events import ItemProgress, OutputBeginnings
from shared.core.backoff import poll_delay
from shared.core.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamFailed,
    UpstreamMissing,
    UpstreamPaused,
    UpstreamRefused,
    UpstreamUnusable,
)
from shared.core.states import Status
from shared.lifecycle import endings
from shared.lifecycle.endings import Outcome
from shared.runs.consumer import Consumer
from shared.runs.lease import RunLease
from shared.runs.log_writer import LogWriter
from shared.runs.memory import RunCheckpoints
from shared.runtime.ports import Ports
from shared.telemetry.logs import logger
from shared.transitions import run_transitions
from shared.upstreams.protocol import ForegroundUpstream, Progress, Upstream, UpstreamEvent

_log = logger(__name__)

MAX_RESTARTS = 3


class ForegroundConsumer(Consumer):
    """Restarts the work, at most three times."""

    def __init__(
        self,
        ports: Ports,
        lease: RunLease,
        log: LogWriter,
        request: dict[str, Any],
        decided: asyncio.Event,
        upstream: ForegroundUpstream,
    ) -> None:
        super().__init__(ports, lease, log, request, decided)
        self._upstream = upstream
        self._checkpoints = RunCheckpoints(ports, lease, log)

    async def _read(self) -> None:
        if self._record.upstream.starts and await self._was_finished():
            return None
        has_begun, items, self._beginnings = False, ItemProgress(), OutputBeginnings()
        if not self._record.upstream.has_checkpoint:
            await self._tries.begin()
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
        upstream, epoch = self._record.upstream, self._record.run.epoch
        starts = 0 if upstream.presumed and epoch == 1 else upstream.starts
        if event.is_resumed:
            self._begin_log(partial(run_transitions.record_resumption, epoch=epoch), joins_end=True)
        else:
            start = partial(
                run_transitions.record_upstream_start,
                epoch=epoch,
                token=event.response_id,
                status=upstream_events.status_after(event.data),
                now_ms=self._now_ms(),
                is_background=False,
                live=self._log.is_live and not event.is_whole,
            )
            self._begin_log(start, joins_end=True)
        if starts:
            if not event.is_resumed:
                _log.warning("run.restarted", extra={"response": self._record.id, "starts": starts + 1})
            await self._restart_readers()

    async def _on_refused(self, refusal: UpstreamRefused) -> UpstreamRefused | None:
        return refusal

    async def _on_stream_lost(self, error: UpstreamError) -> None:
        await self._log.end(endings.by_error(error, self._now_ms()))

    def _unfinished(self) -> UpstreamError:
        return UpstreamBroken("the stream is over and the work is not")

    def _turn_to(self, upstream: Upstream) -> None:
        if upstream.is_background is False:
            self._upstream = upstream

    def _may_reconnect(self) -> bool:
        return True

    # Leaving

    async def _reads_again(self, error: UpstreamError, *, progressed: bool) -> bool:
        if isinstance(error, UpstreamPaused):
            return await self._pause()
        return await super()._reads_again(error, progressed=progressed)

    async def _pause(self) -> bool:
        """Release the run until its work would be polled, and return False. The work goes on without a reader.

        While a client waits here for a run in place, wait for that time and return True.
        """
        await self._log.drain()
        wait_ms = poll_delay(self._now_ms() - self._record.created_ms, self._ports.random)
        if self._lease.in_place and not await self._is_left_within(wait_ms / 1000):
            return True
        await self._lease.hand_over(self._now_ms() + wait_ms)
        return False

    async def _is_left_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._lease.left.wait()
        except TimeoutError:
            return False

    # Before a restart

    def _lost(self) -> Outcome:
        return endings.lost("The upstream ended this response before it was complete.", self._now_ms())

    async def _was_finished(self) -> bool:
        """Poll earlier work before it is started again, and return whether that has settled the response.

        Work that is running or finished upstream is never started again.
        """
        if self._record.upstream.has_checkpoint:
            return False
        if self._record.upstream.starts > MAX_RESTARTS:
            await self._log.end(self._lost())
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
