"""Reading the upstream of a run: its stream, again and again where it breaks, up to the end of the response.

Where the upstream replays, a stream that breaks is followed from the event after the last; one that cannot be had any
more is given up for polls, since the work goes on without a reader. Where it does not, the stream is the work: what
breaks is begun anew, at most three times, and readers are told so.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Protocol

from shared.contract import stream_events
from shared.core import response_transitions, run_transitions
from shared.core.backoff import poll_delay, retry_delay
from shared.core.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamMissing,
    UpstreamPaused,
    UpstreamRefused,
    UpstreamSilent,
    UpstreamUnusable,
)
from shared.core.records import Record
from shared.core.states import Status
from shared.lifecycle import completion, upstream_webhooks
from shared.runs.lease import Lease
from shared.runs.log_writer import Log
from shared.runs.memory import Notes
from shared.runtime.ports import World
from shared.telemetry.logs import logger
from shared.upstreams.protocol import Sent, Step

_log = logger(__name__)

MAX_RESTARTS = 3
MAX_BROKEN = 3  # streams in a row that broke off without a new event


class Begins(Protocol):
    """Whoever waits for the upstream's word on a request."""

    def begun(self) -> None:
        """Learn that the upstream has taken the work up, or could not be asked."""

    def refused(self, refusal: UpstreamRefused) -> Awaitable[bool]:
        """Learn that the upstream judges the request wrong; say whether nothing is left of the response."""


class Listener:
    """Reads the upstream of one run."""

    def __init__(self, world: World, lease: Lease, log: Log, request: dict[str, Any], waiting: Begins) -> None:
        self._world = world
        self._upstream = world.upstreams.of(lease.record.model)
        self._notes = Notes(world, lease)
        self._lease = lease
        self._log = log
        self._request = request
        self._waiting = waiting
        self._base = completion.known(completion.echoing(lease.record, request))
        self._is_again = False  # readers have been told that the work was begun anew
        self._failed = 0  # errors in a row
        self._broken = 0  # of them, streams that broke off
        self.settled = asyncio.Event()  # not while work may have begun in the background that has no name yet
        self.settled.set()
        self._failing_since_s: float | None = None

    @property
    def _record(self) -> Record:
        return self._lease.record

    async def listen(self) -> None:
        """Read until the response has ended, is polled from now on, or has to wait for its upstream."""
        while True:
            before = self._log.next
            try:
                return await self._listen_once()
            except UpstreamRefused as refusal:
                return await self._refused(refusal)
            except (UpstreamMissing, _Told) as error:
                return await self._give_up_stream(error)
            except UpstreamPaused:
                return await self._pause()
            except UpstreamUnusable as error:
                return await self._lease.end(completion.unusable(error, self._now_ms(), stop=True))
            except UpstreamError as error:
                if not await self._bear(error, progressed=self._log.next > before):
                    return None

    async def _listen_once(self) -> None:
        if not self._upstream.replays and self._record.starts and await self._has_finished():
            return None
        resumes = self._upstream.replays and self._record.token is not None
        async with aclosing(self._stream(resumes=resumes)) as sent:
            async for one in sent:
                if stream_events.kind_of(one.data) == "error":
                    raise _Told(one.data)
                if not resumes:
                    if one.response_id is None and (
                        self._upstream.replays or not stream_events.is_for_callers(one.data)
                    ):
                        continue  # a heartbeat before the work has a name
                    await self._begin(one)
                    resumes = True
                if status := stream_events.end_of(one.data):
                    return await self._finish(one, status)
                if one.whole and self._upstream.replays:
                    raise UpstreamMissing("the work is answered for, but not as a stream")
                await self._take(one)
        raise UpstreamBroken("the stream ended before its terminal event")

    def _stream(self, *, resumes: bool) -> AsyncGenerator[Sent, None]:
        if not resumes:
            if self._upstream.replays:
                self._note_start()
            return self._upstream.run(self._request, self._record.id, self._notes)
        if self._log.next > 1 and not self._log.upstream_next:
            raise UpstreamMissing("the events of the stream have no numbers to resume from")
        upstream_next = self._log.upstream_next
        return self._upstream.follow(self._record.token or "", upstream_next - 1 if upstream_next else None)

    def _note_start(self) -> None:
        """Say that work may begin in the background whose name is not known yet."""
        self.settled.clear()
        if self._record.epoch > 1:
            # counted: an upstream that ignores the key may have begun before
            _log.info("start.repeated", extra={"response": self._record.id, "epoch": self._record.epoch})

    async def _begin(self, one: Sent) -> None:
        """Note what the upstream calls the work, before anything of it is shown to anybody."""
        is_again = not self._upstream.replays and self._record.starts > 0
        live = self._log.is_live and not one.whole
        status = stream_events.progress_of(one.data)
        if not await self._lease.begin(one.response_id, status, live=live, continues=one.continues):
            raise UpstreamBroken("the work had been begun before")
        self.settled.set()
        self._waiting.begun()
        if is_again:
            if not one.continues:
                _log.warning("run.restarted", extra={"response": self._record.id, "starts": self._record.starts})
            await self._tell_restart()

    async def _take(self, one: Sent) -> None:
        """Log an event, unless it was logged before or is not for callers."""
        if self._upstream.replays and one.number is not None and one.number < self._log.upstream_next:
            return
        event = stream_events.translated(self._record, self._base, one.data, again=self._is_again)
        upstream_next = self._log.upstream_next if one.number is None else one.number + 1
        await self._log.append(event, upstream_next, stream_events.progress_of(one.data))

    async def _finish(self, one: Sent, status: Status) -> None:
        answer = one.data.get("response")
        if not isinstance(answer, dict):
            raise UpstreamBroken("the terminal event has no response")
        await self._end(Step(status, None, answer, one.response_id, legacy=one.legacy), retells=one.whole)

    async def _end(self, step: Step, *, retells: bool) -> None:
        await self._log.drain()
        await self._lease.end(completion.by_step(step, self._now_ms(), retells=retells))

    async def _pause(self) -> None:
        """Leave work that goes on without a reader, until it would be polled."""
        await self._log.drain()
        wait_ms = poll_delay(self._now_ms() - self._record.created_ms, self._world.dice)
        await self._lease.hand_over(self._now_ms() + wait_ms)

    # Trouble

    def _count(self, error: UpstreamError, *, progressed: bool) -> None:
        if progressed:
            self._failed, self._broken, self._failing_since_s = 0, 0, None
        self._failed += 1
        self._broken += isinstance(error, UpstreamBroken)
        self._failing_since_s = self._failing_since_s or _now_s()

    async def _bear(self, error: UpstreamError, *, progressed: bool) -> bool:
        """Wait for another try and return True; give the stream up, or the run for a while, if that has no point."""
        self.settled.set()
        self._waiting.begun()
        if isinstance(error, UpstreamSilent) and self._record.token:
            return True  # a model that thinks: only the connection is made anew
        self._count(error, progressed=progressed)
        _log.warning("run.deferred", extra={"response": self._record.id, "reason": str(error), "tries": self._failed})
        if self._broken > MAX_BROKEN and self._upstream.replays and self._record.token:
            await self._give_up_stream(error)
            return False
        wait_ms = retry_delay(self._failed - 1, self._world.dice, retry_after_s=getattr(error, "retry_after_s", None))
        patience_s = self._world.pace.patience_s
        if _now_s() - (self._failing_since_s or 0) + wait_ms / 1000 > patience_s:
            await self._log.drain()
            await self._lease.hand_over(self._now_ms() + max(wait_ms, int(patience_s * 1000)))
            return False
        await self._world.sleep(wait_ms / 1000)
        return True

    async def _refused(self, refusal: UpstreamRefused) -> None:
        """End as failed: the request is wrong. About a stream that was begun it means that there is no more of it."""
        if self._record.token and self._upstream.replays:
            await self._give_up_stream(refusal)
        elif not await self._waiting.refused(completion.in_our_words(refusal, self._record, self._request)):
            await self._log.drain()
            await self._lease.end(completion.refused(refusal, self._now_ms()))

    async def _give_up_stream(self, error: UpstreamError) -> None:
        """Poll from now on, if the work goes on without a reader; else it has failed."""
        await self._log.drain()
        if self._upstream.replays and self._record.token:
            _log.warning("run.polled", extra={"response": self._record.id, "reason": str(error)})
            await self._go_on_polling()
        elif isinstance(error, _Told):
            await self._lease.end(completion.by_failure(error.code, error.message, self._now_ms()))
        else:
            await self._lease.end(_lost(self._now_ms()))

    async def _go_on_polling(self) -> None:
        token, least_ms = self._record.token or "", self._world.limits.poll_min_ms
        is_over = await self._lease.insist(lambda: upstream_webhooks.name(self._world, self._record, token))
        record = replace(self._record, woken=is_over)
        poll = response_transitions.poll(record, token, self._now_ms(), self._world.dice, least_ms)
        await self._lease.write(lambda current: run_transitions.polled(current, poll), gives_up=True)

    # Beginning anew

    async def _has_finished(self) -> bool:
        """Look before the work is begun anew: what is running or finished upstream is never started again."""
        if self._record.goes_on:
            return False
        if self._record.starts > MAX_RESTARTS:
            await self._log.drain()
            await self._lease.end(_lost(self._now_ms()))
            return True
        step = await self._found()
        if step is None:
            return False
        if step.token is None:
            await self._end(step, retells=True)
        else:
            await self._log.drain()
            await self._go_on_polling()
        return True

    async def _found(self) -> Step | None:
        """Return where the work is that was begun before; None if the upstream has stopped or forgotten it."""
        if self._record.token is None:
            return None
        try:
            step = await self._upstream.advance(self._record.token)
        except (UpstreamMissing, UpstreamRefused, UpstreamUnusable):
            return None
        return None if step.status is Status.CANCELLED else step

    async def _tell_restart(self) -> None:
        """Tell readers to drop what they have, if they can have anything but `response.created`."""
        if self._log.next <= 1:
            return
        await self._log.restart(stream_events.restarted(self._record, self._base))
        self._is_again = True

    def _now_ms(self) -> int:
        return self._world.now_ms()


class _Told(UpstreamError):
    """The upstream said in its stream that it has failed."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        super().__init__("the stream tells of an error")
        nested = data.get("error")
        told = nested if isinstance(nested, dict) else data
        self.code = str(told.get("code") or "server_error")[:100]
        self.message = str(told.get("message") or "The upstream gave no reason.")[:2_000]


def _lost(now_ms: int) -> completion.Decide:
    return completion.by_failure("upstream_lost", "The upstream broke this response off.", now_ms)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
