"""The upstreams of the model, which all processes share, and the lines of a process to them.

A mood is what the next call meets. Work that has begun goes on whatever happens to its caller, except at an upstream
whose stream is the work.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from shared.core.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamMissing,
    UpstreamRefused,
    UpstreamUnavailable,
    UpstreamUncertain,
)
from shared.core.records import Record
from shared.core.states import Status, WaitReason
from shared.telemetry.operations import Operation
from shared.upstreams.health import UNSEEN, Sight
from shared.upstreams.protocol import Progress, UpstreamEvent
from shared.upstreams.specs import UpstreamSpec

REFUSES, THROTTLES, DOWN, LOSES = "refuses", "429", "503", "loses the answer"
MOODS = (REFUSES, THROTTLES, DOWN, LOSES)


class Caller(Protocol):
    """The process at the other end of a line."""

    async def leave(self, seconds: float | None = None) -> None:
        """Let a call go out, or its answer come in."""


@dataclass
class Work:
    """A piece of an upstream's work, and the events that it has told."""

    token: str
    key: str
    request: dict[str, Any] = field(repr=False)
    status: Status = Status.QUEUED
    events: list[dict[str, Any]] = field(default_factory=list, repr=False)
    is_stopped: bool = False

    def __post_init__(self) -> None:
        self.changed = asyncio.Event()
        self.tell("response.created")

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.status.is_terminal

    def tell(self, kind: str, **data: Any) -> None:
        """Add an event, and wake who reads them."""
        if kind.removeprefix("response.") in {"created", "in_progress", *map(str, Status)}:
            data["response"] = self.answer()
        self.events.append({"type": kind, "sequence_number": len(self.events), **data})
        self.changed.set()
        self.changed = asyncio.Event()

    def end(self, status: Status) -> None:
        """End it, if it has not ended."""
        if not self.is_over:
            self.status = status
            self.tell(f"response.{status}")

    def progress(self) -> None:
        """Let it go on a little."""
        if not self.is_over:
            if self.status is Status.QUEUED:
                self.status = Status.IN_PROGRESS
                self.tell("response.in_progress")
            self.tell("response.output_text.delta", delta=f"{self.token}-{len(self.events)}")

    def finish(self) -> None:
        """Let it complete."""
        self.progress()
        self.end(Status.COMPLETED)

    def answer(self) -> dict[str, Any]:
        """Return the response object of this upstream."""
        shown = {"id": self.token, "status": str(self.status), "model": self.request.get("model")}
        if not self.is_over:
            return {**shown, "output": []}
        text = [{"type": "output_text", "text": f"answer of {self.token}"}]
        return {**shown, "output": [{"type": "message", "role": "assistant", "content": text}]}


class Peer:
    """An upstream. `moods` are what the next calls meet, and then every call gets through."""

    def __init__(self, spec: UpstreamSpec) -> None:
        self.spec = spec
        self.works: dict[str, Work] = {}
        self.begun = Counter[str]()  # pieces of work, by key
        self.moods = deque[str]()
        self.trouble = 0  # answers that may have begun work, and streams that broke
        self._by_key: dict[str, Work] = {}

    def begin(self, request: dict[str, Any], key: str) -> Work:
        """Begin work, or find the work of this key if keys are honoured."""
        work = self._by_key.get(key) if self.spec.honours_keys else None
        if work is None:
            self.begun[key] += 1
            token = f"{self.spec.name}_{self.begun.total()}"
            work = self.works[token] = self._by_key[key] = Work(token, key, request)
        return work

    def unfinished(self) -> list[Work]:
        """Return the work that has not ended."""
        return [work for work in self.works.values() if not work.is_over]

    def mood(self) -> str:
        """Return what this call meets."""
        return self.moods.popleft() if self.moods else ""


def error_of(mood: str) -> UpstreamError:
    """Return the error of a create that meets a mood."""
    if mood == REFUSES:
        return UpstreamRefused(400, "no", code="refused")
    if mood == THROTTLES:
        return UpstreamUnavailable("status 429", retry_after_s=2.0, waits_for=WaitReason.RATE_LIMIT)
    return UpstreamUncertain("time-out") if mood == LOSES else UpstreamUnavailable("status 503")


class Line:
    """A process's line to an upstream: the product's protocol of one."""

    def __init__(self, peer: Peer, caller: Caller) -> None:
        self.operation = Operation()
        self.is_background = peer.spec.is_background
        self._peer, self._caller = peer, caller

    def validate(self, request: Mapping[str, Any], previous: Record | None) -> None:
        """Accept every request."""

    async def start(self, request: dict[str, Any], key: str) -> Progress:
        """Begin work, unless the mood is bad."""
        work = await self._begun(request, key)
        await self._caller.leave()
        return _step(work)

    async def poll(self, token: str, _include: Sequence[str] = ()) -> Progress:
        """Return how far work is."""
        await self._caller.leave()
        mood = self._peer.mood()
        await self._caller.leave()
        if mood in (DOWN, THROTTLES, LOSES):
            raise error_of(DOWN)
        if not self._peer.spec.is_background or token not in self._peer.works:
            raise UpstreamMissing
        return _step(self._peer.works[token])

    async def stop(self, token: str) -> None:
        """Stop work."""
        await self._caller.leave()
        mood = self._peer.mood()
        if mood in (DOWN, THROTTLES):
            raise error_of(DOWN)
        if work := self._peer.works.get(token):
            work.is_stopped = True
            work.end(Status.CANCELLED)
        await self._caller.leave()

    async def stream(
        self, request: dict[str, Any], key: str, _checkpoints: object = None
    ) -> AsyncGenerator[UpstreamEvent, None]:
        """Begin work, and yield its events. Where the stream is the work, who leaves loses it."""
        work = await self._begun(request, key)
        try:
            async for event in self._told(work, 0):
                yield event
        finally:
            if not self.is_background:
                self._peer.trouble += not work.is_over
                work.end(Status.CANCELLED)

    async def resume(
        self, token: str, after: int | None, _include: Sequence[str] = ()
    ) -> AsyncGenerator[UpstreamEvent, None]:
        """Yield the events of work after a number."""
        await self._caller.leave()
        if token not in self._peer.works:
            raise UpstreamMissing
        async for event in self._told(self._peer.works[token], 0 if after is None else after + 1):
            yield event

    async def forget(self, upstream_id: str) -> None:
        """Delete what is kept of finished work."""
        await self._caller.leave()
        if (work := self._peer.works.get(upstream_id)) and work.is_over:
            del self._peer.works[upstream_id]

    def names(self) -> Sequence[str]:
        """Return nothing."""
        return ()

    def sight(self) -> Sight:
        """Return nothing."""
        return UNSEEN

    async def check(self) -> None:
        """Raise nothing."""

    async def aclose(self) -> None:
        """Close nothing."""

    async def _begun(self, request: dict[str, Any], key: str) -> Work:
        await self._caller.leave()
        mood = self._peer.mood()
        if mood in (REFUSES, THROTTLES, DOWN):
            await self._caller.leave()
            raise error_of(mood)
        work = self._peer.begin(request, key)
        if mood == LOSES:
            self._peer.trouble += 1
            if not self.is_background:
                work.end(Status.CANCELLED)  # its connection is the work, and is gone
            await self._caller.leave()
            raise error_of(mood)
        return work

    async def _told(self, work: Work, place: int) -> AsyncGenerator[UpstreamEvent, None]:
        while True:
            changed = work.changed
            while place < len(work.events):
                await self._caller.leave()
                yield UpstreamEvent(place, dict(work.events[place]))
                place += 1
            if work.is_over and place == len(work.events):
                return
            await changed.wait()
            if self._peer.mood() in (DOWN, LOSES):
                self._peer.trouble += 1
                raise UpstreamBroken("the connection was cut")


def _step(work: Work) -> Progress:
    return Progress(work.status, None if work.is_over else work.token, work.answer(), work.token)
