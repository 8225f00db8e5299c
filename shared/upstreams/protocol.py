"""The protocol of an upstream, the service that produces the answers. There are two kinds.

    background   works without a reader. It is started and polled, and its stream can be resumed from any event.
    foreground   works while its stream is read. Closing the stream stops the work.

Each implementation is one class. `routes` says which upstream serves a model.

`start` and `poll` return how far the work is, with a token for the next poll, or without a token at the end. Background
responses of Agent Framework have the same form.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from shared.contract.identifiers import MAX_ID
from shared.core.errors import UpstreamMissing
from shared.core.records import Record
from shared.core.states import Status
from shared.telemetry.operations import Operation
from shared.upstreams.health import UNSEEN, Sight

AGENT_PREFIX = "agent:"  # of the models and the tokens of agents
_DOT_SEGMENTS = (".", "..")  # a URL does not keep them: https://www.rfc-editor.org/rfc/rfc3986#section-5.2.4


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work is.

    `token` is for the next poll, or None at the end. `answer` is the upstream's response object, decoded from JSON
    and possibly partial. `upstream_id` is the upstream's id of the response.
    """

    status: Status
    token: str | None
    answer: dict[str, Any] = field(repr=False)
    upstream_id: str | None = None
    retry_after_s: float | None = None  # how long the upstream asks us to wait before the next poll
    session: dict[str, Any] | None = field(default=None, repr=False)  # at the end, for a response that continues it


@dataclass(frozen=True, slots=True)
class UpstreamEvent:
    """One event of an upstream's stream.

    `number` is its sequence number in that stream, if it has one. `data` is the event object, decoded from JSON.
    `is_whole`: the upstream did not stream, and this one event carries its JSON answer. `is_resumed`: the events from
    here on belong to work that was already under way. `session` is as in Progress.
    """

    number: int | None
    data: dict[str, Any] = field(repr=False)
    is_whole: bool = False
    is_resumed: bool = False
    session: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def response_id(self) -> str | None:
        """The upstream's id of the response, or None if the event has no id that can be asked for."""
        response = self.data.get("response")
        name = response.get("id") if isinstance(response, dict) else None
        return str(name) if is_id(name) else None


def is_id(name: object) -> bool:
    """Return whether an id can be a segment of a path: 1 to 1,024 printable characters, but no dot segment."""
    return isinstance(name, str) and 0 < len(name) <= MAX_ID and name.isprintable() and name not in _DOT_SEGMENTS


Authorize = Callable[[], Awaitable[Mapping[str, str]]]
"""Returns the headers that authorize one call."""


class Checkpoints(Protocol):
    """What a run saves so that another process can resume it."""

    async def load(self) -> list[dict[str, Any]]:
        """Return the checkpoints that earlier holders of the run have saved, in order."""

    async def save(self, checkpoint: dict[str, Any], token: str | None = None) -> None:
        """Save a checkpoint, which is a JSON object. It is durable when this returns.

        If `token` is given, it stops the work from now on. If this process has lost the run, this never returns. Raises
        Oversized if the checkpoint is over 2.5 MiB when packed.
        """

    async def confirm(self) -> None:
        """Return if this process still holds the run, before it does what cannot be undone. If not, never return."""

    async def previous_session(self) -> dict[str, Any] | None:
        """Return the session that the previous response left, or None."""


class _Upstream(Protocol):
    """What both kinds do. A call to the upstream raises only UpstreamError.

    Every call has its own deadline, except for the stream of a foreground upstream.
    """

    operation: Operation

    def validate(self, request: Mapping[str, Any], previous: Record | None) -> None:
        """Raise BadRequest if the request is wrong for this upstream, as far as that is known without a call.

        `request` is the caller's body. `previous` is the response that it continues, which has the same upstream.
        """

    async def stop(self, token: str) -> None:
        """Stop the work. Return when the upstream has confirmed that, or does not know the work."""

    async def forget(self, _upstream_id: str) -> None:
        """Delete what the upstream keeps of the work. By default nothing is kept."""
        return

    def names(self) -> Sequence[str]:
        """Return the names of its models, as far as they are known without a call. By default none are."""
        return ()

    def sight(self) -> Sight:
        """Return how the upstream was last seen. By default nothing is known."""
        return UNSEEN

    async def check(self) -> None:
        """Raise UpstreamUnavailable if there are no credentials to call with. By default none are needed."""
        return

    async def aclose(self) -> None:
        """Close the connections. By default there are none."""
        return


class BackgroundUpstream(_Upstream, Protocol):
    """Works without a reader.

    `request` is the body of the create. `key` is the id of our response, so it is the same on every try. An upstream
    that honours it starts the work only once.
    """

    is_background: Literal[True]

    async def start(self, request: dict[str, Any], key: str) -> Progress:
        """Start the work and return its first progress."""

    async def poll(self, token: str, include: Sequence[str] = ()) -> Progress:
        """Return how far the work is. Raise UpstreamMissing if the upstream does not know it.

        `include` names what the upstream adds to its answer only on request. One that rejects it answers without it.
        """

    def stream(self, request: dict[str, Any], key: str) -> AsyncGenerator[UpstreamEvent, None]:
        """Start the work and yield its events. Raise UpstreamBroken if they break off."""

    def resume(self, token: str, after: int | None, include: Sequence[str] = ()) -> AsyncGenerator[UpstreamEvent, None]:
        """Yield the events of work under way with numbers above `after`, or all of them for None.

        `include` is as in `poll`.
        Raises UpstreamMissing or UpstreamRefused if the stream is no longer available, and UpstreamBroken if it breaks
        off.
        """


class ForegroundUpstream(_Upstream, Protocol):
    """Works while its stream is read."""

    is_background: Literal[False]

    def stream(
        self, request: dict[str, Any], key: str, checkpoints: Checkpoints
    ) -> AsyncGenerator[UpstreamEvent, None]:
        """Start the work, or resume it from its checkpoints, and yield its events.

        `request` and `key` are as in BackgroundUpstream. Raises UpstreamBroken if the events break off, and
        UpstreamPaused if the work goes on without a reader for a while.
        """

    async def poll(self, _token: str, _include: Sequence[str] = ()) -> Progress:
        """Return how far earlier work is. Raise UpstreamMissing if it is unknown, which is the default."""
        raise UpstreamMissing


Upstream: TypeAlias = BackgroundUpstream | ForegroundUpstream
