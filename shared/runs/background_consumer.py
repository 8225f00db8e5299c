"""Reads a background upstream. Its work goes on without a reader, so a lost stream does not lose the work."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any

from shared.contract import upstream_events
from shared.contract.upstream_events import ItemProgress, Numbering, OutputBeginnings
from shared.core.errors import UpstreamBroken, UpstreamError, UpstreamMissing, UpstreamRefused, UpstreamUnnamed
from shared.core.states import Status
from shared.lifecycle import endings
from shared.runs.consumer import Consumer
from shared.runs.lease import Lease
from shared.runs.log_writer import LogWriter
from shared.runtime.ports import Ports
from shared.telemetry.logs import logger
from shared.transitions import run_transitions
from shared.transitions.run_transitions import Ownership
from shared.upstreams.protocol import BackgroundUpstream, Upstream, UpstreamEvent

_log = logger(__name__)

MAX_BROKEN = 3  # streams in a row that broke off without a new event


class BackgroundConsumer(Consumer):
    """Reconnects after the last event, and falls back to polling."""

    def __init__(
        self,
        ports: Ports,
        lease: Lease,
        log: LogWriter,
        request: dict[str, Any],
        decided: asyncio.Event,
        upstream: BackgroundUpstream,
    ) -> None:
        super().__init__(ports, lease, log, request, decided)
        self._upstream = upstream
        self._items = ItemProgress()  # over all streams of this holder
        self._is_orphaned = False

    async def _read(self) -> None:
        token = self._record.upstream.token
        numbering = Numbering(self._log.upstream_next)
        async with aclosing(await self._open(token)) as events:
            async for event in events:
                self._check_owned()
                await self._lease.go_on()  # a model may think for long before its next event
                if not self._is_heard(event):
                    continue  # its number may be that of the next event
                token = token or await self._begin(event)
                status = upstream_events.end_of(event.data)
                if not token and not (status and status.is_terminal):
                    _check_id(event)
                    continue  # a sign of life before the work has an id
                if status:
                    await self._log.settle()
                    self._check_owned()
                    await self._check_failure(event, status, token)
                    return await self._finish(event, status)
                if event.is_whole:
                    raise UpstreamMissing("the upstream has answered, but not with a stream")
                if numbering.is_new(event.number):
                    self._items.take(event.data)
                    await self._append(event, numbering.upcoming)
        if self._items.end():
            raise self._unfinished()  # the work may be done, and its stream has nothing more
        raise UpstreamBroken("the stream ended before its terminal event")

    async def _check_failure(self, event: UpstreamEvent, status: Status, token: str | None) -> None:
        """Raise UpstreamMissing if a stream ends the work as failed and the upstream does not call it so when asked.

        A gateway that loses its own connection says that the work has failed, while it goes on behind it.
        """
        if status is not Status.FAILED or event.is_whole or token is None:
            return
        try:
            progress = await self._upstream.poll(token, self._record.request.include)
        except UpstreamError:
            return
        if progress.status is not Status.FAILED:
            raise UpstreamMissing("the stream calls the work failed, and its upstream does not")

    def _has_gap(self, status: Status) -> bool:
        """Return whether an item was begun and never done: a resumed stream may leave out events, or number anew."""
        return status is Status.COMPLETED and self._items.is_open

    async def _open(self, token: str | None) -> AsyncGenerator[UpstreamEvent, None]:
        if token is not None:
            return self._resume(token)
        await self._tries.begin()
        return self._start()

    def _start(self) -> AsyncGenerator[UpstreamEvent, None]:
        self.settled.clear()
        return self._upstream.stream(self._request, self._record.id)

    def _resume(self, token: str) -> AsyncGenerator[UpstreamEvent, None]:
        upstream_next = self._log.upstream_next
        if self._log.next_seq > 1 and not upstream_next:
            raise UpstreamMissing("the events of the stream have no numbers to resume from")
        return self._upstream.resume(token, upstream_next - 1 if upstream_next else None, self._record.request.include)

    async def _begin(self, event: UpstreamEvent) -> str | None:
        """Record the upstream's id of the work before any reader sees an event of it. Return it, if there is one."""
        if event.response_id is None:
            return None
        start = partial(
            run_transitions.record_upstream_start,
            epoch=self._record.run.epoch,
            token=event.response_id,
            status=upstream_events.status_after(event.data),
            now_ms=self._now_ms(),
            is_background=True,
            live=self._log.is_live and not event.is_whole,
        )
        self._begin_log(start)
        return event.response_id

    def _on_begun(self, ownership: Ownership) -> None:
        super()._on_begun(ownership)
        if ownership is Ownership.OTHERS:
            self._tries.end()
            self._is_orphaned = True

    def _check_owned(self) -> None:
        """Raise UpstreamBroken if the work that is read was started twice, so that the other one is read instead."""
        if self._is_orphaned:
            self._is_orphaned = False
            self._items, self._beginnings = ItemProgress(), OutputBeginnings(is_resumed=self._log.next_seq > 2)
            raise UpstreamBroken("the work was started before")

    async def _settled(self, error: UpstreamError) -> UpstreamError:
        await super()._settled(error)
        try:
            self._check_owned()
        except UpstreamBroken as broken:
            return broken
        return error

    async def _on_refused(self, refusal: UpstreamRefused) -> UpstreamRefused | None:
        if self._record.upstream.token is None:
            return refusal
        await self._log.drain()
        await self._on_stream_lost(refusal)
        return None

    async def _on_stream_lost(self, error: UpstreamError) -> None:
        if token := self._record.upstream.token:
            _log.warning("run.polled", extra={"response": self._record.id, "reason": str(error)})
            await self._switch_to_polling(token)
        else:
            await self._log.end(endings.by_error(error, self._now_ms()))

    def _unfinished(self) -> UpstreamError:
        return UpstreamMissing("the stream is over and the work may not be")

    def _turn_to(self, upstream: Upstream) -> None:
        if upstream.is_background is True:
            self._upstream = upstream

    def _may_reconnect(self) -> bool:
        return self._broken <= MAX_BROKEN


def _check_id(event: UpstreamEvent) -> None:
    """Raise UpstreamUnnamed if the event is about work that has begun under an id that cannot be asked for."""
    answer = event.data.get("response")
    if isinstance(answer, dict) and "id" in answer:
        raise UpstreamUnnamed
