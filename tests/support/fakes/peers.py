"""The two peers of the engine as fakes that follow a script: an upstream and a receiver of callbacks."""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

from shared.core.errors import UpstreamError, UpstreamMissing
from shared.core.outcomes import Answer, SendError
from shared.core.records import Record
from shared.core.states import Status
from shared.senders.admission import Admission, AdmissionControl, Outlook
from shared.senders.bulkhead import NoCapacity
from shared.senders.circuit_breaker import BreakerKey
from shared.telemetry.operations import Operation
from shared.upstreams.health import UNSEEN, Sight
from shared.upstreams.protocol import Checkpoints, Progress, UpstreamEvent
from tests.support.fakes.streams import Gate, Streams

__all__ = ["Gate", "Outcome", "Post", "ScriptedReceiver", "ScriptedUpstream", "Work", "head_of"]

Outcome = Status | UpstreamError
T = TypeVar("T")


@dataclass
class Work:
    """A piece of the upstream's work: its token, its request, and what is left of its course."""

    token: str
    request: dict[str, Any] = field(repr=False)
    course: list[Outcome]
    status: Status
    events: list[dict[str, Any]] = field(default_factory=list, repr=False)
    polls: int = 0


class ScriptedUpstream:
    """An upstream in memory, whose work follows a course.

    Each poll takes the work to the next outcome of its course, and the last outcome is repeated. A start is counted and
    begins its work before it waits at the gate, so only its answer can be lost there. A repeated key starts nothing new
    while `honours_keys` is set. The errors in `start_errors` and the similar lists are raised first.

    With `is_background`, work continues without a reader. Otherwise work that is left before its end is lost, if
    `forgets` is set.
    """

    def __init__(self) -> None:
        self.is_background = True
        self.operation = Operation()
        self.forgets = True
        self.streams = Streams()
        self.honours_keys = True
        self.first = Status.QUEUED
        self.course: list[Outcome] = [Status.IN_PROGRESS, Status.COMPLETED]
        self.output = ""
        self.usage: dict[str, Any] | None = None  # of every answer that is final
        self.retry_after_s: float | None = None
        self.start_errors: list[Exception] = []
        self.poll_errors: list[Exception] = []
        self.stop_errors: list[Exception] = []
        self.forget_errors: list[Exception] = []
        self.start_gate: Gate | None = None
        self.poll_gate: Gate | None = None
        self.starts: Counter[str] = Counter()
        self.begun: Counter[str] = Counter()  # number of pieces of work that were started, by key
        self.works: dict[str, Work] = {}
        self.stopped: list[str] = []
        self.forgotten: list[str] = []
        self.included: list[tuple[str, ...]] = []  # what each poll and each resumption asked for
        self.extras: dict[str, str] = {}  # what the last poll's include adds to the output
        self.seen = UNSEEN  # how the calls of the process have seen it
        self._by_key: dict[str, Work] = {}

    @property
    def polls(self) -> int:
        """The number of polls of all work."""
        return sum(work.polls for work in self.works.values())

    def hold_starts(self) -> Gate:
        """Hold every start after its work has begun and before its answer."""
        self.start_gate = Gate()
        return self.start_gate

    def hold_polls(self) -> Gate:
        """Hold every poll after its answer is decided and before it is returned."""
        self.poll_gate = Gate()
        return self.poll_gate

    async def start(self, request: dict[str, Any], key: str) -> Progress:
        """Start work, or find the work that this key has started."""
        self.starts[key] += 1
        error = self.start_errors.pop(0) if self.start_errors else None
        work = None if error else self._begun(request, key)
        if self.start_gate:
            await self.start_gate.wait()
        if work is None:
            raise error or AssertionError
        return self._step(work)

    def validate(self, request: Mapping[str, Any], previous: Record | None) -> None:
        """Accept every request."""

    async def stream(
        self, request: dict[str, Any], key: str, _checkpoints: Checkpoints | None = None
    ) -> AsyncGenerator[UpstreamEvent, None]:
        """Start work, or find the work that this key has started, and yield its events."""
        self.streams.runs.append(key)
        if self.start_gate:
            await self.start_gate.wait()
        if self.streams.run_errors:
            raise self.streams.run_errors.pop(0)
        work = self._begun(request, key)
        is_over = False
        try:
            async with aclosing(self._stream(work, -1)) as received:
                async for sent in received:
                    is_over = sent.data["type"] == work.events[-1]["type"]
                    yield sent
        finally:
            if self.forgets and not (self.is_background or is_over):
                self.forget_work(key)

    async def resume(
        self, token: str, after: int | None, include: Sequence[str] = ()
    ) -> AsyncGenerator[UpstreamEvent, None]:
        """Yield the events of running work after this number."""
        self.included.append(tuple(include))
        self.streams.follows.append((token, after))
        if self.streams.follow_errors:
            raise self.streams.follow_errors.pop(0)
        if token not in self.works:
            raise UpstreamMissing
        async with aclosing(
            self._stream(self.works[token], -1 if after is None or not self.streams.resumes else after)
        ) as received:
            async for sent in received:
                yield sent

    def forget_work(self, key: str) -> None:
        """Forget the work that this key has started."""
        self.works.pop(self._by_key.pop(key).token, None)

    async def poll(self, token: str, include: Sequence[str] = ()) -> Progress:
        """Take the work to the next outcome of its course, and return its progress."""
        self.included.append(tuple(include))
        if self.poll_errors:
            raise self.poll_errors.pop(0)
        work = self.works.get(token)
        if work is None:
            raise UpstreamMissing
        work.polls += 1
        step = self._advanced(work)
        if self.poll_gate:
            await self.poll_gate.wait()
        return step

    async def stop(self, token: str) -> None:
        """Record that the work is to stop. Its next outcome is `cancelled`."""
        if self.stop_errors:
            raise self.stop_errors.pop(0)
        self.stopped.append(token)
        if token in self.works:
            self.works[token].course = [Status.CANCELLED]

    async def forget(self, upstream_id: str) -> None:
        """Record that the upstream's copy is to be deleted, and forget the work."""
        if self.forget_errors:
            raise self.forget_errors.pop(0)
        self.forgotten.append(upstream_id)
        self.works.pop(upstream_id, None)

    def sight(self) -> Sight:
        """Return what the calls of the process have shown."""
        return self.seen

    async def check(self) -> None:
        """Raise nothing, because there is always a credential."""

    async def aclose(self) -> None:
        """Close nothing."""

    def _begun(self, request: dict[str, Any], key: str) -> Work:
        work = self._by_key.get(key) if self.honours_keys else None
        if work is None:
            self.begun[key] += 1
            token = f"up_{self.begun.total() - 1}"
            work = Work(token, request, list(self.course), self.first, list(self.streams.events))
            self.works[work.token] = self._by_key[key] = work
        return work

    def _advanced(self, work: Work) -> Progress:
        outcome = head_of(work.course)
        if isinstance(outcome, UpstreamError):
            raise outcome
        work.status = outcome
        return self._step(work)

    def _stream(self, work: Work, after: int) -> AsyncGenerator[UpstreamEvent, None]:
        if self.streams.whole:
            return self._told_whole(work)
        return self.streams.tell(after + 1, work.events, self._answer(work) | {"output": self._output(work)})

    async def _told_whole(self, work: Work) -> AsyncGenerator[UpstreamEvent, None]:
        step = self._advanced(work)
        yield UpstreamEvent(None, {"type": f"response.{step.status}", "response": step.answer}, is_whole=True)

    def _step(self, work: Work) -> Progress:
        answer = self._answer(work)
        if work.status.is_terminal:
            answer |= {"output": self._output(work), "usage": self.usage}
        token = None if work.status.is_terminal else work.token
        return Progress(work.status, token, answer, work.token, self.retry_after_s)

    def _answer(self, work: Work) -> dict[str, Any]:
        return {"id": work.token, "status": str(work.status), "model": work.request.get("model")}

    def _output(self, work: Work) -> list[dict[str, Any]]:
        extra = "".join(self.extras.get(one, "") for included in self.included[-1:] for one in included)
        text = f"{work.request.get('input')} answered{self.output}{extra}"
        return [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}]


@dataclass(frozen=True)
class Post:
    """One event as a receiver got it."""

    address: str
    headers: Mapping[str, str]
    body: bytes
    hosts: tuple[str, ...] = ()  # the caller's allow-list


class ScriptedReceiver:
    """A sender whose receivers give these answers, of which the last is repeated. It records every post.

    It admits attempts as the sender of callbacks does. While `is_busy` is set, its line is long and it has no capacity.
    While `is_full` is set, it has no capacity although its line is short.
    """

    def __init__(self, *answers: int | SendError, now_ms: Callable[[], int] = lambda: 0) -> None:
        self.answers: list[int | SendError] = list(answers) or [200]
        self.retry_after: str | None = None
        self.posts: list[Post] = []
        self.gate: Gate | None = None
        self.is_busy = False
        self.is_full = False
        self.asked: list[tuple[bool, float]] = []  # admissions: whether it is a first attempt, and the patience in s
        self.admission = AdmissionControl(now_ms)

    def hold(self) -> Gate:
        """Hold every post after the receiver has it and before its answer."""
        self.gate = Gate()
        return self.gate

    async def vet(self, _address: str) -> None:
        """Accept every address."""

    @asynccontextmanager
    async def admit(self, address: str, caller: str, *, first: bool, patience_s: float) -> AsyncIterator[Admission]:
        """Admit an attempt unless its host's circuit breaker is open."""
        key = BreakerKey(caller, self.host(address))
        async with self.admission.admit(key, first=first, patience_s=patience_s) as admission:
            self.asked.append((first, patience_s))
            if self.is_busy or self.is_full:
                raise NoCapacity
            yield admission

    def host(self, address: str) -> str:
        """Return the host of a URL, or an empty string for the name of a queue."""
        return urlsplit(address).hostname or ""

    def outlook(self, host: str, caller: str, *, first: bool) -> Outlook:
        """Return what an attempt would meet now. While `is_busy` is set the line is long."""
        outlook = self.admission.outlook(BreakerKey(caller, host), first=first)
        return replace(outlook, is_long=outlook.is_long or self.is_busy)

    async def post(
        self, address: str, headers: Mapping[str, str], body: bytes, *, hosts: Collection[str] = ()
    ) -> Answer:
        """Record the event and return the next answer."""
        self.posts.append(Post(address, headers, body, tuple(hosts)))
        outcome = head_of(self.answers)
        if self.gate:
            await self.gate.wait()
        if isinstance(outcome, SendError):
            return Answer(None, outcome, None, duration_ms=1)
        return Answer(outcome, None, self.retry_after, duration_ms=1)

    async def aclose(self) -> None:
        """Close nothing."""


def head_of(script: list[T]) -> T:
    """Remove and return the first element of a script. The last element is never removed."""
    return script.pop(0) if len(script) > 1 else script[0]
