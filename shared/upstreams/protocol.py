"""What an upstream is: whatever produces the answers. There are two kinds.

    background   works without a reader. It is started and polled, and its stream can be resumed from any event.
    foreground   works while its stream is read. To close the stream is to stop the work.

A kind of upstream is one class. Each upstream serves the models that begin with its prefix, and its tokens begin with
that prefix as well. The default upstream serves everything else.

`start` and `poll` return how far the work is, with a token to poll with, or with none at the end. This is Agent
Framework's own idea of a background response.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from shared.core.errors import UpstreamMissing
from shared.core.records import Record
from shared.core.states import Status
from shared.telemetry.operations import Operation

MAX_ID = 512  # characters


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work is: its status, the token to go on with (None at the end), and the upstream's object."""

    status: Status
    token: str | None
    answer: dict[str, Any] = field(repr=False)
    upstream_id: str | None = None
    retry_after_s: float | None = None
    session: dict[str, Any] | None = field(default=None, repr=False)  # at the end, for a response that continues it


@dataclass(frozen=True, slots=True)
class UpstreamEvent:
    """One event of an upstream's stream: its sequence number there, if it has one, and its object.

    `is_whole`: the upstream did not stream; its JSON answer amounts to this one event. `is_resumed`: from here on the
    events are about work that was under way, not started again. `session`: as in Progress.
    """

    number: int | None
    data: dict[str, Any] = field(repr=False)
    is_whole: bool = False
    is_resumed: bool = False
    session: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def response_id(self) -> str | None:
        """The upstream's id of the response, if the event has it."""
        response = self.data.get("response")
        name = response.get("id") if isinstance(response, dict) else None
        return name if isinstance(name, str) and 0 < len(name) <= MAX_ID else None


Authorize = Callable[[], Awaitable[Mapping[str, str]]]
"""Returns the headers that authorize a call."""


class Checkpoints(Protocol):
    """What a run keeps so that another process can go on with it."""

    async def load(self) -> list[dict[str, Any]]:
        """Return the checkpoints that earlier holders of the run have saved, in order."""

    async def save(self, checkpoint: dict[str, Any], token: str | None = None) -> None:
        """Save a checkpoint. It is durable when this returns; if the run is lost, this never returns.

        From now on the token, if there is one, stops the work. Raises Oversized if the checkpoint is over the limit.
        """

    async def previous_session(self) -> dict[str, Any] | None:
        """Return the session that the previous response left, None if there is none."""


class _Upstream(Protocol):
    """What both kinds do. Every call has a deadline of its own and raises only UpstreamError."""

    operation: Operation

    def validate(self, request: Mapping[str, Any], previous: Record | None) -> None:
        """Raise BadRequest if the request is wrong for this upstream, as far as that is known without asking it.

        `previous` is the response that it continues, which is this upstream's as well.
        """

    async def stop(self, token: str) -> None:
        """Stop the work; return when the upstream has confirmed that, or does not know the work."""

    async def forget(self, _upstream_id: str) -> None:
        """Delete what the upstream keeps of the work. By default nothing is kept."""
        return

    async def check(self) -> None:
        """Raise UpstreamUnavailable if there are no credentials to call with. By default none are needed."""
        return

    async def aclose(self) -> None:
        """Close the connections. By default there are none."""
        return


class BackgroundUpstream(_Upstream, Protocol):
    """Works without a reader. The same key on every try makes an upstream that honours it start only once."""

    is_background: Literal[True]

    async def start(self, request: dict[str, Any], key: str) -> Progress:
        """Start the work."""

    async def poll(self, token: str) -> Progress:
        """Ask how far the work is."""

    def stream(self, request: dict[str, Any], key: str) -> AsyncGenerator[UpstreamEvent, None]:
        """Start the work and yield its events; raise UpstreamBroken if they break off."""

    def resume(self, token: str, after: int | None) -> AsyncGenerator[UpstreamEvent, None]:
        """Yield the events of work under way above a number, or all; raise UpstreamRefused if there are none."""


class ForegroundUpstream(_Upstream, Protocol):
    """Works while its stream is read."""

    is_background: Literal[False]

    def stream(
        self, request: dict[str, Any], key: str, checkpoints: Checkpoints
    ) -> AsyncGenerator[UpstreamEvent, None]:
        """Start the work, or go on from its checkpoints, and yield its events.

        Raises UpstreamBroken if they break off, and UpstreamPaused if the work goes on without a reader for a while.
        """

    async def poll(self, _token: str) -> Progress:
        """Ask how far earlier work is; raise UpstreamMissing if it is unknown, as it always is by default."""
        raise UpstreamMissing


Upstream: TypeAlias = BackgroundUpstream | ForegroundUpstream


class Upstreams:
    """The upstreams of a deployment: the default one, and others by the prefix of their models and tokens."""

    def __init__(self, default: Upstream, others: Mapping[str, Upstream] | None = None) -> None:
        self.default = default
        self._others = dict(others or {})

    def of(self, name: str | None) -> Upstream:
        """Return the upstream of a model or a token."""
        found = (upstream for prefix, upstream in self._others.items() if (name or "").startswith(prefix))
        return next(found, self.default)

    async def aclose(self) -> None:
        """Close the connections of all upstreams."""
        for upstream in (self.default, *self._others.values()):
            await upstream.aclose()
