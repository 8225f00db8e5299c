"""An upstream that took a response and is no longer in the settings. Every call fails as one that began nothing.

The settings of two processes may differ for a while during a deployment. So a response waits before it is given up.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal

from shared.core.errors import UpstreamError, UpstreamUnavailable
from shared.core.records import Record, WaitInfo
from shared.core.states import WaitReason
from shared.telemetry.operations import Operation
from shared.upstreams.protocol import BackgroundUpstream, Progress, UpstreamEvent

GRACE_MS = 120_000  # from the first call that found no upstream until the response fails


class RemovedUpstream(BackgroundUpstream):
    """The upstream of this name, as far as it is left. What took the work in the foreground fails in the same way."""

    is_background: Literal[True] = True
    operation = Operation()

    def __init__(self, name: str) -> None:
        self._name = name

    def validate(self, _request: Mapping[str, Any], _previous: Record | None) -> None:
        """Accept every request. No new response gets this upstream."""

    async def stop(self, _token: str) -> None:
        """Return, because nothing can be stopped."""

    async def start(self, _request: dict[str, Any], _key: str) -> Progress:
        """Raise UpstreamUnavailable."""
        raise self._error()

    async def poll(self, _token: str, _include: Sequence[str] = ()) -> Progress:
        """Raise UpstreamUnavailable."""
        raise self._error()

    def stream(self, _request: dict[str, Any], _key: str) -> AsyncGenerator[UpstreamEvent, None]:
        """Return events that raise UpstreamUnavailable."""
        return self._events()

    def resume(
        self, _token: str, _after: int | None, _include: Sequence[str] = ()
    ) -> AsyncGenerator[UpstreamEvent, None]:
        """Return events that raise UpstreamUnavailable."""
        return self._events()

    def _error(self) -> UpstreamError:
        return UpstreamUnavailable(f"upstream '{self._name}' is not configured", waits_for=WaitReason.UPSTREAM_REMOVED)

    async def _events(self) -> AsyncGenerator[UpstreamEvent, None]:
        no_events: tuple[UpstreamEvent, ...] = ()
        for event in no_events:
            yield event
        raise self._error()


def is_removed(error: Exception) -> bool:
    """Return whether a call failed because its upstream is no longer in the settings."""
    return isinstance(error, UpstreamError) and error.waits_for is WaitReason.UPSTREAM_REMOVED


def is_given_up(error: Exception, wait: WaitInfo, now_ms: int) -> bool:
    """Return whether a response fails because its upstream has been missing from the settings for two minutes.

    `wait` is what its record says it waits for.
    """
    return is_removed(error) and wait.reason == WaitReason.UPSTREAM_REMOVED and now_ms - wait.since_ms >= GRACE_MS
