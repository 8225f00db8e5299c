"""The consumer of an upstream: reads its stream up to the end of the response, and tries again if it breaks off.

For a background upstream, it reconnects after the last event, and then falls back to polling. For a foreground
upstream, the connection is the work. So it restarts the work, at most 3 times, and makes the readers start over.
"""

import asyncio
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import partial
from typing import Any

from shared import off_loop
from shared.contract import stream_events, synthesized_events, upstream_events
from shared.contract.upstream_events import OutputBeginnings
from shared.core.backoff import retry_delay
from shared.core.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamFailed,
    UpstreamInvalid,
    UpstreamMissing,
    UpstreamRefused,
    UpstreamSilent,
    UpstreamUnusable,
)
from shared.core.records import Record
from shared.core.states import Status
from shared.lifecycle import completion, endings, upstream_ids
from shared.runs.lease import RunLease
from shared.runs.log_writer import LogWriter
from shared.runs.start_tries import StartTries
from shared.runs.unstored import Beginning, Start
from shared.runtime.ports import Ports
from shared.starts import failed_starts
from shared.telemetry.logs import logger
from shared.transitions import response_transitions, run_transitions
from shared.transitions.run_transitions import Ownership
from shared.upstreams import answers, removed, tries
from shared.upstreams.protocol import Progress, Upstream, UpstreamEvent

_log = logger(__name__)

BEGIN_S = 0.05  # how long a start waits for the events that follow it
IN_PLACE_S = 1.0  # how long that of a run in place waits


class Consumer(ABC):
    """Reads the upstream of one run. The subclasses have what differs between the two kinds of upstream."""

    def __init__(
        self, ports: Ports, lease: RunLease, log: LogWriter, request: dict[str, Any], decided: asyncio.Event
    ) -> None:
        """Take the run's parts. `decided` is set when the upstream has accepted the work or cannot be asked."""
        self._ports = ports
        self._lease = lease
        self._log = log
        self._request = request
        self._decided = decided
        self._base: dict[str, Any] = {}  # what is known of the response object. Both are read before the first event
        self._credentials: frozenset[str] = frozenset()
        self._tries = StartTries(ports, lease, request)
        self._beginnings = OutputBeginnings(is_resumed=log.next_seq > 2)  # more than `created` and `in_progress`
        self._named = lease.record.upstream.id  # an event names the upstream's id before the record does
        self._errors = 0  # errors in a row
        self._broken = 0  # how many of them are streams that broke off
        self._failing_since_s: float | None = None
        self.settled = asyncio.Event()  # cleared while background work may have begun whose id is not known yet
        self.settled.set()

    @property
    def _record(self) -> Record:
        return self._lease.record

    @property
    def has_unused_try(self) -> bool:
        """Whether a try is counted that has not been made."""
        return self._tries.has_unused

    async def consume(self) -> UpstreamRefused | None:
        """Read until the response has ended, is polled from now on, or must wait for its upstream.

        Returns the upstream's refusal if it rejects the request, so that the caller withdraws or ends the response.
        Returns None otherwise. Raises Lost if this process has lost the run.
        """
        both = await off_loop.run_on(self._request, completion.known_of, self._record, self._request)
        self._base, self._credentials = both
        while True:
            before = self._log.next_seq
            try:
                await self._read()
            except UpstreamError as raised:
                error = await self._settled(raised)
                await self._tries.note_answer(error)
                if isinstance(error, UpstreamRefused):
                    ours = endings.with_our_ids(error, self._record, self._request, self._credentials)
                    return await self._on_refused(ours)
                if await self._reads_again(error, progressed=self._log.next_seq > before):
                    continue
            return None

    async def _settled(self, error: UpstreamError) -> UpstreamError:
        """Wait until the start is recorded if there is one, and return what an error of its stream then means."""
        await self._log.settle()
        return error

    def _begin_log(self, start: Start, *, joins_end: bool = False) -> None:
        """Have the start of the work recorded with the events that follow.

        A reader sees none of them before, unless the run is in place: its start is counted, and numbers are reserved.
        """
        wait_s = IN_PLACE_S if (is_told := self._lease.in_place) else BEGIN_S
        self._log.begin(Beginning(start, self._on_begun, wait_s, joins_end=joins_end, is_told=is_told))
        if is_told:
            self._lease.has_begun = True
            self._decided.set()

    def _on_begun(self, ownership: Ownership) -> None:
        """Note that the start is recorded, and who owns the work."""
        if ownership is Ownership.OURS:
            self._tries.end()
            self._decided.set()
        self.settled.set()

    async def _reads_again(self, error: UpstreamError, *, progressed: bool) -> bool:
        """Return whether to read again after an error. If not, the run is over for this holder."""
        self.settled.set()
        if not self._lease.in_place:  # else the run is over soon, or has begun before
            self._decided.set()
        if removed.is_given_up(error, self._record.wait, self._now_ms()):
            await self._log.end(endings.removed(self._now_ms()))
            return False
        if self._tries.are_about(error):
            return await self._try_again(error)
        match error:
            case UpstreamMissing() | UpstreamFailed() | UpstreamInvalid():
                await self._log.drain()
                await self._on_stream_lost(error)
            case UpstreamUnusable():
                await self._log.end(endings.unusable(error, self._now_ms(), stop=True))
            case _:
                return await self._tolerate(error, progressed=progressed)
        return False

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
    def _unfinished(self) -> UpstreamError:
        """Return what it means that a stream is over and its response is not."""

    @abstractmethod
    def _may_reconnect(self) -> bool:
        """Return whether another stream is worth a try after `_broken` streams have broken off."""

    @abstractmethod
    def _turn_to(self, upstream: Upstream) -> None:
        """Read another upstream of the same kind from now on."""

    # Events

    def _is_heard(self, event: UpstreamEvent) -> bool:
        """Return whether an event is about the response, and no heartbeat. Raise UpstreamFailed if it is an error."""
        answers.check_reported(event)
        return upstream_events.is_about_response(event.data)

    async def _append(self, event: UpstreamEvent, upstream_next: int = 0) -> None:
        """Append an event to the log in the form that callers see. Make readers start over if the output does.

        The first item follows `response.in_progress`, which some upstreams do not send. So a later one is the second.
        `upstream_next` is the number of the upstream's next event, or 0 if its stream cannot be resumed.
        """
        kept, here = self._beginnings.take(event.data), (event.number or 0) if upstream_next else 0
        if kept is not None:
            _log.info("run.rewound", extra={"response": self._record.id, "kept": len(kept)})
            await self._restart_readers(here)
            for one in synthesized_events.output_events(kept):
                await self._tell(replace(event, data=one), here)
        elif self._log.lacks_progress and not upstream_events.is_opening(event.data):
            progress = stream_events.restart_event(self._record, self._base)
            await self._log.append(progress, here, Status.IN_PROGRESS)
        await self._tell(event, upstream_next)

    async def _tell(self, event: UpstreamEvent, upstream_next: int) -> None:
        self._log.check_room()
        said = await completion.masked(event.data, self._credentials)
        self._named = event.response_id or self._named
        known = self._record.with_upstream_id(self._named)
        base = known.body if "response" in said else b""  # such an event repeats the whole object
        translate = partial(stream_events.translated, known, self._base, said, told=self._log.told)
        ours = await off_loop.run_on_both(said, base, translate)
        await self._log.append(ours, upstream_next, upstream_events.status_after(event.data))

    async def _finish(self, event: UpstreamEvent, status: Status) -> None:
        """End the response with the status and the response object of the event that ends its stream.

        Raises an UpstreamError if the stream is over and the work is not.
        """
        answer = upstream_events.answer_in(event.data)
        if answer is None:
            raise UpstreamBroken("the terminal event has no response")
        if not status.is_terminal:
            raise self._unfinished()
        progress = Progress(status, None, answer, event.response_id, session=event.session)
        await self._end(progress, synthesize=event.is_whole or self._has_gap(status))

    def _has_gap(self, _status: Status) -> bool:
        """Return whether readers lack events of finished work that the upstream has not told."""
        return False

    async def _end(self, progress: Progress, *, synthesize: bool) -> None:
        outcome = endings.by_progress(progress, self._now_ms(), synthesize=synthesize)
        await self._log.end(outcome, is_replayed=not synthesize)

    async def _restart_readers(self, upstream_next: int = 0) -> None:
        """Make readers discard what they have, unless they can have only `response.created`."""
        self._lease.items.clear()
        if self._log.may_have_told:
            await self._log.restart(stream_events.restart_event(self._record, self._base), upstream_next)

    # Leaving

    async def _switch_to_polling(self, token: str) -> None:
        """Poll the work from now on instead of reading its stream."""
        end_announced = await self._lease.insist(lambda: upstream_ids.register(self._ports, self._record, token))
        known = replace(self._record, upstream=replace(self._record.upstream, end_announced=end_announced))
        least_ms, random = self._ports.upstreams.of(self._record).spec.poll_min_ms, self._ports.random
        poll = response_transitions.poll_alarm(known, token, self._now_ms(), random, least_ms)
        await self._lease.write(lambda current: run_transitions.switch_to_polling(current, poll), gives_up=True)

    # Tries, before the upstream has accepted the work

    async def _try_again(self, error: UpstreamError) -> bool:
        """Wait for the next try, and return whether it is this holder's. At another upstream it follows at once."""
        upstream = await self._tries.move(error)
        if upstream is None and self._tries.wait_in_line_after(error):
            _log.warning("run.deferred", extra={"response": self._record.id, **tries.seen(error)})
            await self._log.drain()
            if (upstream := await self._tries.wait_in_line(error)) is None:
                return False
        if upstream:
            self._turn_to(upstream)
            return True
        following = self._tries.following(error)
        if following is None:
            await self._log.end(failed_starts.give_up(self._ports, self._record, error))
            return False
        self._failing_since_s = self._failing_since_s or self._ports.clock.elapsed_s()
        seen = {**tries.seen(error), "counted": following.counted}
        _log.warning("run.deferred", extra={"response": self._record.id, **seen})
        return await self._wait(error, following.wait_ms)

    # Errors

    async def _tolerate(self, error: UpstreamError, *, progressed: bool) -> bool:
        """Wait for another stream and return True. If that is pointless, give up the stream or run and return False."""
        if isinstance(error, UpstreamSilent) and self._record.upstream.token:
            return True  # the model may be thinking, so only the connection is renewed
        self._count(error, progressed=progressed)
        _log.warning("run.deferred", extra={"response": self._record.id, **tries.seen(error), "tries": self._errors})
        if self._lease.in_place or not self._may_reconnect():
            await self._log.drain()
            await (self._lease.hand_over() if self._lease.in_place else self._on_stream_lost(error))
            return False
        wait_ms = retry_delay(self._errors - 1, self._ports.random, retry_after_s=error.retry_after_s)
        return await self._wait(error, wait_ms)

    async def _wait(self, error: UpstreamError, wait_ms: int) -> bool:
        """Wait and return True. If that exceeds the holder's patience, release the run for a while and return False."""
        clock, patience_s, in_place = self._ports.clock, self._ports.config.pace.patience_s, self._lease.in_place
        failing_s = clock.elapsed_s() - (self._failing_since_s or 0)
        is_patient = not in_place and failing_s + wait_ms / 1000 <= patience_s
        wait_ms = wait_ms if is_patient or in_place else max(wait_ms, int(patience_s * 1000))
        await self._log.drain()  # because events that are stored later would say that the work goes on
        due_ms = self._now_ms() + wait_ms
        if is_patient:
            await self._lease.wait_for(error, due_ms)
            await clock.sleep(wait_ms / 1000)
            return True
        await self._lease.hand_over(due_ms, takes_back=self.has_unused_try, error=error)
        return False

    def _count(self, error: UpstreamError, *, progressed: bool) -> None:
        if progressed:
            self._errors, self._broken, self._failing_since_s = 0, 0, None
        self._errors += 1
        self._broken += isinstance(error, UpstreamBroken)
        self._failing_since_s = self._failing_since_s or self._ports.clock.elapsed_s()

    def _now_ms(self) -> int:
        return self._ports.clock.now_ms()
