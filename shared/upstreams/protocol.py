"""Whatever produces the answer, behind one small protocol: start, advance, stop, forget; run and follow for streams.

A kind of upstream is one class. What it answers for begins with its prefix, models and tokens alike; the default one
answers for everything else.

`start` and `advance` return a step. A step whose token is null is the end; until then the token is what `advance`
takes. This is Agent Framework's own idea of a background response.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from shared.core.records import Record
from shared.core.states import Status
from shared.telemetry.operations import Operation

MAX_ID = 512  # characters


@dataclass(frozen=True, slots=True)
class Step:
    """Where the work is: its status, the token to go on with (None: this is the end), the upstream's object."""

    status: Status
    token: str | None
    answer: dict[str, Any] = field(repr=False)
    upstream_id: str | None = None
    retry_after_s: float | None = None
    legacy: dict[str, Any] | None = field(default=None, repr=False)  # of an end: for a response that continues it


@dataclass(frozen=True, slots=True)
class Sent:
    """One event of an upstream's stream: its number there, if it has one, and its object.

    `whole`: the upstream did not stream; this is the one event that its JSON answer amounts to. `continues`: what is
    told from here on is work that was under way, not begun anew. `legacy`: as of a step.
    """

    number: int | None
    data: dict[str, Any] = field(repr=False)
    whole: bool = False
    continues: bool = False
    legacy: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def response_id(self) -> str | None:
        """What the upstream calls the response, where the event says so."""
        response = self.data.get("response")
        name = response.get("id") if isinstance(response, dict) else None
        return name if isinstance(name, str) and 0 < len(name) <= MAX_ID else None


Authorize = Callable[[], Awaitable[Mapping[str, str]]]
"""Gives the headers that authorize a call."""


class Memory(Protocol):
    """What an upstream that lives in our process knows of a run after that process has died."""

    async def recall(self) -> list[dict[str, Any]]:
        """Return what earlier holders of the run have kept, in order."""

    async def keep(self, fact: dict[str, Any], token: str | None = None) -> None:
        """Keep a fact: it is durable once this returns, which it never does for a run that is lost.

        The token is what the work can be stopped by from now on. Raises Oversized if the fact is over the limit.
        """

    async def inherited(self) -> dict[str, Any] | None:
        """Return the legacy of the previous response, None if there is none."""


class NoMemory:
    """The memory of work that needs none: it goes on elsewhere."""

    async def recall(self) -> list[dict[str, Any]]:
        """Return nothing."""
        return []

    async def keep(self, fact: dict[str, Any], token: str | None = None) -> None:
        """Keep nothing."""

    async def inherited(self) -> dict[str, Any] | None:
        """Return nothing."""
        return None


class Upstream(Protocol):
    """What produces answers. Every method has a deadline of its own and raises only UpstreamError.

    `replays` says that it works in the background: work goes on without a reader, and its stream can be read again
    from any event. Where it does not, the stream is the work: closing it stops the work. Telemetry tells of its work
    as of that `operation`.
    """

    replays: bool
    operation: Operation

    def admit(self, request: Mapping[str, Any], previous: Record | None) -> None:
        """Raise BadRequest about a request that is wrong for this upstream, as far as that is known without asking.

        It continues the previous response, if there is one, which is this upstream's as well.
        """

    async def start(self, request: dict[str, Any], key: str) -> Step:
        """Begin the work; the key is the same on every try, so that an upstream which honours it begins once."""

    async def advance(self, token: str) -> Step:
        """Ask how far the work is."""

    def run(self, request: dict[str, Any], key: str, memory: Memory) -> AsyncGenerator[Sent, None]:
        """Begin the work and give its events; the key as for `start`.

        Raises UpstreamBroken if they break off, UpstreamPaused where the work goes on without a reader for a while.
        """

    def follow(self, token: str, after: int | None) -> AsyncGenerator[Sent, None]:
        """Give the events of work under way above a number, or all. Raises UpstreamRefused if they cannot be had."""

    async def stop(self, token: str) -> None:
        """Stop the work; returns once the upstream has confirmed or does not know it."""

    async def forget(self, upstream_id: str) -> None:
        """Delete what the upstream keeps of the work."""

    async def check(self) -> None:
        """Raise UpstreamUnavailable if there are no credentials to call with."""

    async def aclose(self) -> None:
        """Close the connections."""


class Upstreams:
    """The upstreams of a deployment: the default one, and others by the prefix of what they answer for."""

    def __init__(self, default: Upstream, others: Mapping[str, Upstream] | None = None) -> None:
        self.default = default
        self._others = dict(others or {})

    def of(self, named: str | None) -> Upstream:
        """Return the upstream that a model or a token belongs to."""
        found = (upstream for prefix, upstream in self._others.items() if (named or "").startswith(prefix))
        return next(found, self.default)

    async def aclose(self) -> None:
        """Close the connections of all."""
        for upstream in (self.default, *self._others.values()):
            await upstream.aclose()
