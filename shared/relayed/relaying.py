"""Passes a call on to an upstream, and its answer or its refusal back to the caller."""

from typing import Any
from urllib.parse import quote

from shared.core.errors import (
    NotFound,
    RefusedByUpstream,
    ServiceError,
    Unavailable,
    UpstreamError,
    UpstreamRefused,
)
from shared.upstreams.protocol import is_id
from shared.upstreams.routes import Route

RETRY_AFTER_S = 5
NOT_IMPLEMENTED = 501


async def relay(route: Route, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the JSON object that an upstream answers. `path` is quoted, with its query.

    Raises RefusedByUpstream if it refuses the call, Unavailable if it cannot be asked, and NotFound if it answers no
    such calls, as agents do.
    """
    if route.relay is None:
        raise _not_offered()
    try:
        return await route.relay.ask(method, path, body)
    except UpstreamRefused as refusal:
        raise _refused(refusal) from refusal
    except UpstreamError as error:
        raise _unavailable() from error


def _refused(refusal: UpstreamRefused) -> ServiceError:
    """Return the error for the caller. A status that is no 4xx, such as that of a redirect, is not for the caller."""
    if refusal.is_for_caller:
        return RefusedByUpstream(refusal)
    return _not_offered() if refusal.status == NOT_IMPLEMENTED else _unavailable()


def _not_offered() -> NotFound:
    return NotFound("This model has no upstream that answers such calls.")


def _unavailable() -> Unavailable:
    return Unavailable("The upstream cannot be asked now.", retry_after_s=RETRY_AFTER_S)


def segment(name: str) -> str:
    """Return a name as one segment of a path. Raises NotFound for one that would lead to another path.

    Names of models and items may have a slash. Some servers take an escaped backslash for the end of a segment.
    """
    if not is_id(name) or "\\" in name:
        raise NotFound(f"'{name[:100]}' not found.")
    return quote(name, safe="")
