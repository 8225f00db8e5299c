"""Whatever produces the answer, behind one small protocol: start, advance, stop, forget; run and follow for streams.

`start` and `advance` return a step. A step whose token is null is the end; until then the token is what `advance`
takes. This is Agent Framework's own idea of a background response.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from shared.states import Status

MAX_ID = 512  # characters


@dataclass(frozen=True, slots=True)
class Step:
    """Where the work is: its status, the token to go on with (None: this is the end), the upstream's object."""

    status: Status
    token: str | None
    answer: dict[str, Any] = field(repr=False)
    upstream_id: str | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """One event of an upstream's stream: its number there, if it has one, and its object.

    `whole`: the upstream did not stream; this is the one event that its JSON answer amounts to.
    """

    number: int | None
    data: dict[str, Any] = field(repr=False)
    whole: bool = False

    @property
    def response_id(self) -> str | None:
        """What the upstream calls the response, where the event says so."""
        response = self.data.get("response")
        name = response.get("id") if isinstance(response, dict) else None
        return name if isinstance(name, str) and 0 < len(name) <= MAX_ID else None


Authorize = Callable[[], Awaitable[Mapping[str, str]]]
"""Gives the headers that authorize a call."""


class Upstream(Protocol):
    """What produces answers. Every method has a deadline of its own and raises only UpstreamError.

    `replays` says that it works in the background: work goes on without a reader, and its stream can be read again
    from any event. Where it does not, the stream is the work: closing it stops the work.
    """

    replays: bool

    async def start(self, request: dict[str, Any], key: str) -> Step:
        """Begin the work; the key is the same on every try, so that an upstream which honours it begins once."""

    async def advance(self, token: str) -> Step:
        """Ask how far the work is."""

    def run(self, request: dict[str, Any], key: str) -> AsyncGenerator[Sent, None]:
        """Begin the work and give its events; the key as for `start`. Raises UpstreamBroken if they break off."""

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
