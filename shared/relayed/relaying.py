"""Passes a call on to an upstream, and its answer or its refusal back to the caller."""

from typing import Any
from urllib.parse import quote

from shared.core.errors import NotFound, RefusedByUpstream, Unavailable, UpstreamError, UpstreamRefused
from shared.upstreams.protocol import is_id
from shared.upstreams.routes import Route

RETRY_AFTER_S = 5


async def relay(route: Route, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the JSON object that an upstream answers. `path` is quoted, with its query.

    Raises RefusedByUpstream if it refuses the call, Unavailable if it cannot be asked, and NotFound if it answers no
    such calls, as agents do.
    """
    if route.relay is None:
        raise NotFound("This model has no upstream that answers such calls.")
    try:
        return await route.relay.ask(method, path, body)
    except UpstreamError as error:
        if isinstance(error, UpstreamRefused) and error.is_for_caller:
            raise RefusedByUpstream(error) from error
        raise Unavailable("The upstream cannot be asked now.", retry_after_s=RETRY_AFTER_S) from error


def segment(name: str) -> str:
    """Return a name as one segment of a path. Raises NotFound for one that would lead to another path."""
    if not is_id(name):
        raise NotFound(f"'{name[:100]}' not found.")
    return quote(name, safe="")
