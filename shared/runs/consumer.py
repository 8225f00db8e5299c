"""The consumer of an upstream: reads its stream up to the end of the response, and tries again if it breaks off.

For a background upstream, it reconnects after the last event, and then falls back to polling. For a foreground
upstream, the connection is the work. So it restarts the work, at most 3 times, and makes the readers start over.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from shared.contract import redaction, stream_events
from shared.core import response_transitions, run_transitions
from shared.core.backoff import poll_delay, retry_delay
from shared.core.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamFailed,
    UpstreamMissing,
    UpstreamOversized,
    UpstreamPaused,
    UpstreamRefused,
    UpstreamSilent,
    UpstreamUnusable,
)
from shared.core.records import Record
from shared.core.states import Status
from shared.lifecycle import endings, upstream_ids
from shared.lifecycle.endings import Outcome
from shared.runs.lease import Lease
from shared.runs.log_writer import LogWriter
from shared.runtime.ports import Ports
from shared.telemetry.logs import logger
from shared.upstreams.protocol import Progress, UpstreamEvent

_log = logger(__name__)


class Consumer(ABC):
    """Reads the upstream of one run. The subclasses have what differs between the two kinds of upstream."""

    def __init__(
        self, ports: Ports, lease: Lease, log: LogWriter, request: dict[str, Any], decided: asyncio.Event
    ) -> None:
        """Take the run's parts. `decided` is set when the upstream has accepted the work or cannot be asked."""
        self._ports = ports
        self._lease = lease
        self._log = log
        self._request = request
        self._decided = decided
        self._base = endings.known_object(endings.echoing(lease.record, request))
        self._credentials = redaction.credentials_in(request)
        self._readers_restarted = False  # the event that makes readers start over is in the log
        self._appended = 0
        self._errors = 0  # errors in a row
        self._broken = 0  # how many of them are streams that broke off
        self._failing_since_s: float | None = None
        self.settled = asyncio.Event()  # cleared while background work may have begun whose id is not known yet
        self.settled.set()

    @property
    def _record(self) -> Record:
        return self._lease.record

    async def consume(self) -> UpstreamRefused | None:
        """Read until the response has ended, is polled from now on, or must wait for its upstream.

        Returns the upstream's refusal if it rejects the request, so that the caller withdraws or ends the response.
        Returns None otherwise. Raises Lost if this process has lost the run.
        """
        while True:
            before = self._log.next_seq
            try:
                await self._read()
            except UpstreamRefused as refusal:
                return await self._on_refused(endings.with_our_ids(refusal, self._record, self._request))
            except (UpstreamMissing, UpstreamFailed) as error:
                await self._log.drain()
                await self._on_stream_lost(error)
            except UpstreamPaused:
                await self._pause()
            except UpstreamUnusable as error:
                await self._log.drain()
                await self._lease.end(endings.unusable(error, self._now_ms(), stop=True))
            except UpstreamError as error:
                if await self._tolerate(error, progressed=self._log.next_seq > before):
                    continue
            return None

    @abstractmethod
    async def _read(self) -> None:
        """Read one stream up to the end of the response. Raise UpstreamError if the stream ends before."""

    @abstractmethod
    async def _on_refused(self, refusal: UpstreamRefused) -> UpstreamRefused | None:
        """Return the refusal if it is about the request. If it is about the stream, handle it and return None."""

    @abstractmethod
    async def _on_stream_lost(self, error: UpstreamError) -> None:
        """End a response whose stream is no longer available, or switch it to polling."""

    @abstractmethod
    def _may_reconnect(self) -> bool:
        """Return whether another stream is worth a try after `_broken` streams have broken off."""

    # Events

    def _check_error(self, event: UpstreamEvent) -> None:
        """Raise UpstreamFailed if the upstream reports an error."""
        if stream_events.kind_of(event.data) == "error":
            raise _failed(redaction.masked_echo(event.data, self._credentials))

    async def _append(self, event: UpstreamEvent) -> None:
        """Append an event to the log in the form that callers see."""
        self._appended += 1
        if max(self._appended, self._log.next_seq) > self._ports.config.limits.max_events:
            raise UpstreamOversized
        said = redaction.masked_echo(event.data, self._credentials)
        ours = stream_events.translated(self._record, self._base, said, is_restarted=self._readers_restarted)
        upstream_next = self._log.upstream_next if event.number is None else event.number + 1
        await self._log.append(ours, upstream_next, stream_events.status_after(event.data))

    async def _finish(self, event: UpstreamEvent, status: Status) -> None:
        """End the response with the status and the response object of its terminal event."""
        answer = event.data.get("response")
        if not isinstance(answer, dict):
            raise UpstreamBroken("the terminal event has no response")
        progress = Progress(status, None, answer, event.response_id, session=event.session)
        await self._end(progress, synthesize=event.is_whole)

    async def _end(self, progress: Progress, *, synthesize: bool) -> None:
        await self._log.drain()
        await self._lease.end(endings.by_progress(progress, self._now_ms(), synthesize=synthesize))

    async def _restart_readers(self) -> None:
        """Make readers discard what they have, unless they can have only `response.created`."""
        self._lease.items.clear()
        if self._log.next_seq > 1:
            await self._log.restart(stream_events.restart_event(self._record, self._base))
            self._readers_restarted = True

    # Leaving

    async def _pause(self) -> None:
        """Release the run until its work would be polled. The work goes on without a reader."""
        await self._log.drain()
        wait_ms = poll_delay(self._now_ms() - self._record.created_ms, self._ports.random)
        await self._lease.hand_over(self._now_ms() + wait_ms)

    async def _switch_to_polling(self, token: str) -> None:
        """Poll the work from now on instead of reading its stream."""
        end_announced = await self._lease.insist(lambda: upstream_ids.register(self._ports, self._record, token))
        info = replace(self._record.upstream, end_announced=end_announced)
        poll = response_transitions.poll_alarm(
            replace(self._record, upstream=info),
            token,
            self._now_ms(),
            self._ports.random,
            self._ports.config.limits.poll_min_ms,
        )
        await self._lease.write(lambda current: run_transitions.switch_to_polling(current, poll), gives_up=True)

    # Errors

    async def _tolerate(self, error: UpstreamError, *, progressed: bool) -> bool:
        """Wait for another try and return True. If it is pointless, give up the stream or the run and return False."""
        self.settled.set()
        self._decided.set()
        if isinstance(error, UpstreamSilent) and self._record.upstream.token:
            return True  # the model may be thinking, so only the connection is renewed
        self._count(error, progressed=progressed)
        _log.warning("run.deferred", extra={"response": self._record.id, "reason": str(error), "tries": self._errors})
        if not self._may_reconnect():
            await self._log.drain()
            await self._on_stream_lost(error)
            return False
        wait_ms = retry_delay(self._errors - 1, self._ports.random, retry_after_s=error.retry_after_s)
        clock, patience_s = self._ports.clock, self._ports.config.pace.patience_s
        if clock.elapsed_s() - (self._failing_since_s or 0) + wait_ms / 1000 > patience_s:
            await self._log.drain()
            await self._lease.hand_over(self._now_ms() + max(wait_ms, int(patience_s * 1000)))
            return False
        await clock.sleep(wait_ms / 1000)
        return True

    def _count(self, error: UpstreamError, *, progressed: bool) -> None:
        if progressed:
            self._errors, self._broken, self._failing_since_s = 0, 0, None
        self._errors += 1
        self._broken += isinstance(error, UpstreamBroken)
        self._failing_since_s = self._failing_since_s or self._ports.clock.elapsed_s()

    def _lost(self) -> Outcome:
        return endings.lost("The upstream ended this response before it was complete.", self._now_ms())

    def _now_ms(self) -> int:
        return self._ports.clock.now_ms()


def _failed(data: Mapping[str, Any]) -> UpstreamFailed:
    """Return the error that an upstream reports in its stream. Its fields may be nested under `error`."""
    nested = data.get("error")
    reported = nested if isinstance(nested, dict) else data
    code = str(reported.get("code") or "server_error")[:100]
    return UpstreamFailed(code, str(reported.get("message") or "The upstream gave no reason.")[:2_000])
