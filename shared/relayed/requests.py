"""Requests without work of their own: counts of tokens, and compactions."""

from typing import Any

from shared.contract.callers import Caller
from shared.core.errors import BadRequest
from shared.relayed.relaying import relay
from shared.runtime.ports import Ports
from shared.starts import admission


async def input_tokens(ports: Ports, caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
    """Return how many tokens a request would have, as the upstream of its model counts them.

    Raises NotFound for what it names and another caller owns, and BadRequest if no upstream has all that it names.
    """
    return await _asked(ports, caller, "/responses/input_tokens", body)


async def compact(ports: Ports, caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
    """Return a conversation in fewer tokens, as the upstream of its model compacts it. Raises as `input_tokens`."""
    return await _asked(ports, caller, "/responses/compact", body)


async def _asked(ports: Ports, caller: Caller, path: str, body: dict[str, Any]) -> dict[str, Any]:
    named, model = body.get("previous_response_id"), body.get("model")
    if named is not None and not isinstance(named, str):
        raise BadRequest("'previous_response_id' must be a string.", param="previous_response_id", code="invalid_type")
    previous = await admission.previous_of(ports, caller, named) if named else None
    route = await admission.route_of(
        ports, caller, model if isinstance(model, str) else None, previous, body.get("conversation")
    )
    theirs = {"previous_response_id": previous.upstream.id} if previous else {}
    return await relay(route, "POST", path, {**body, **theirs})
