"""The shape of a create: with a stream, or without one for an upstream that refuses to stream.

Some upstreams stream no model or only some. Others stream, but no work in the background, as llama-stack. A gateway has
many upstreams behind it, so what is learned counts for the model that was asked for.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any

from shared.core.errors import UpstreamError
from shared.telemetry.logs import logger
from shared.upstreams import tries
from shared.upstreams.protocol import UpstreamEvent

_log = logger(__name__)
_REMEMBERED = 1_000

Open = Callable[[dict[str, Any]], AsyncGenerator[UpstreamEvent, None]]
"""Sends a create with this body, and yields the events of the answer."""


class Shapes:
    """Sends creates to one upstream, each in a shape that it accepts."""

    def __init__(self) -> None:
        self._unstreamed: set[str] = set()  # models

    async def events(self, request: Mapping[str, Any], send: Open) -> AsyncGenerator[UpstreamEvent, None]:
        """Send a request as a stream, and yield the events. If the upstream refuses to stream, send it once without.

        If that is accepted, later requests for this model are sent so at once.
        """
        model = str(request.get("model"))
        if model not in self._unstreamed:
            has_begun = False
            try:
                async with aclosing(send({**request, "stream": True})) as events:
                    async for event in events:
                        has_begun = True
                        yield event
            except UpstreamError as error:
                if has_begun or not tries.is_about_streaming(error):
                    raise
            else:
                return
        async with aclosing(send(_unstreamed(request))) as events:
            async for event in events:
                self._remember(model)
                yield event

    def _remember(self, model: str) -> None:
        if model in self._unstreamed:
            return
        if len(self._unstreamed) >= _REMEMBERED:
            self._unstreamed.clear()
        self._unstreamed.add(model)
        _log.warning("upstream.unstreamed")


def _unstreamed(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request without a stream. OpenAI refuses `stream_options` without one."""
    return {name: value for name, value in request.items() if name != "stream_options"} | {"stream": False}


@contextmanager
def telling_of_refusals() -> Iterator[None]:
    """Log that the upstream has no background mode, if it refuses a create because of that.

    The caller gets the refusal. The operator must set UPSTREAM_MODE=foreground, since every create is refused so.
    """
    try:
        yield
    except UpstreamError as error:
        if tries.is_about_background(error):
            _log.error("upstream.background_refused", extra={"remedy": "UPSTREAM_MODE=foreground"})
        raise
