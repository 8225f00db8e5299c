"""What the upstream answers by itself about models, tokens and conversations, for callers who see only what is theirs.

A conversation belongs to the caller who made it, and so does every response that a request names. For anybody else it
does not exist. What the upstream does not isolate, such as files and vector stores, is not offered.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from shared.contract.callers import Caller
from shared.core import keys
from shared.core.errors import (
    BadRequest,
    NotFound,
    RefusedByUpstream,
    StoreError,
    Unavailable,
    UpstreamError,
    UpstreamRefused,
)
from shared.lifecycle import admission
from shared.runtime.ports import Ports
from shared.telemetry.logs import logger
from shared.upstreams.protocol import is_id

_log = logger(__name__)

_LISTED = ("after", "limit", "order", "include[]", "include")
RETRY_AFTER_S = 5
FORGET_S = 10.0
MODEL_OWNER = "background-responses"


# Models


async def models(ports: Ports) -> dict[str, Any]:
    """Return the models of the upstream, and the agents of the deployment.

    An upstream without such a list has none. Raises Unavailable if it cannot be asked.
    """
    try:
        listed = (await _asked(ports, "GET", "/models")).get("data")
    except RefusedByUpstream:
        listed = []
    theirs = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return {"object": "list", "data": [*theirs, *map(_model, ports.upstreams.names())]}


async def model(ports: Ports, name: str) -> dict[str, Any]:
    """Return one model. Raises NotFound, or the upstream's refusal."""
    if name in ports.upstreams.names():
        return _model(name)
    return await _asked(ports, "GET", f"/models/{_segment(name)}")


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": MODEL_OWNER}


# Requests without work of their own


async def input_tokens(ports: Ports, caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
    """Return how many tokens a request would have, as the upstream counts them."""
    return await _asked(ports, "POST", "/responses/input_tokens", await _owned(ports, caller, body))


async def compact(ports: Ports, caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
    """Return a conversation in fewer tokens, as the upstream compacts it."""
    return await _asked(ports, "POST", "/responses/compact", await _owned(ports, caller, body))


async def _owned(ports: Ports, caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
    """Return a request with the upstream's id of the response that it names. Raises NotFound for what is not theirs."""
    await admission.check_conversation(ports, caller, body.get("conversation"))
    named = body.get("previous_response_id")
    if named is None:
        return body
    if not isinstance(named, str):
        raise BadRequest("'previous_response_id' must be a string.", param="previous_response_id", code="invalid_type")
    previous = await admission.previous_of(ports, caller, named)
    return {**body, "previous_response_id": previous.upstream.id}


# Conversations


async def create_conversation(ports: Ports, caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
    """Make a conversation at the upstream, which belongs to this caller from then on."""
    made = await _asked(ports, "POST", "/conversations", body)
    if isinstance(made.get("id"), str):
        owner = admission.conversation_owner(made["id"])
        row = {"caller": caller.name, "created": str(ports.clock.now_ms())}
        try:
            await ports.store.put(owner, keys.conversation_key(owner), row)
        except StoreError:
            await _forget(ports, made["id"], owner)
            raise
    return made


async def _forget(ports: Ports, conversation_id: str, owner: str) -> None:
    """Delete a conversation whose owner may not be stored, as far as that is possible. No caller could reach it."""
    try:
        async with asyncio.timeout(FORGET_S):
            await ports.relay.ask("DELETE", ConversationCall("DELETE", (conversation_id,)).path)
    except (UpstreamError, NotFound, TimeoutError):
        _log.warning("conversation.orphaned")
    with suppress(StoreError):
        await ports.store.discard(owner, keys.conversation_key(owner))


@dataclass(frozen=True, slots=True)
class ConversationCall:
    """A call about a conversation. `names` are the segments of its path behind `/conversations/`, the id first."""

    method: str
    names: tuple[str, ...]
    query: Mapping[str, str] = field(default_factory=dict)
    body: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def path(self) -> str:
        """The path and the query for the upstream, of which only the parameters of lists are passed on."""
        path = "/".join(map(_segment, ("conversations", *self.names)))
        asked = urlencode([(name, self.query[name]) for name in _LISTED if name in self.query])
        return f"/{path}?{asked}" if asked else f"/{path}"


async def on_conversation(ports: Ports, caller: Caller, call: ConversationCall) -> dict[str, Any]:
    """Pass a call on, and return the answer. Raises NotFound unless the conversation belongs to the caller."""
    await admission.check_conversation(ports, caller, call.names[0])
    answer = await _asked(ports, call.method, call.path, call.body)
    if call.method == "DELETE" and len(call.names) == 1:
        owner = admission.conversation_owner(call.names[0])
        await ports.store.discard(owner, keys.conversation_key(owner))
    return answer


def _segment(name: str) -> str:
    """Return a name as one segment of a path. Raises NotFound for one that would lead to another path."""
    if not is_id(name):
        raise NotFound(f"'{name[:100]}' not found.")
    return quote(name, safe="")


async def _asked(ports: Ports, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    try:
        return await ports.relay.ask(method, path, body)
    except UpstreamRefused as refusal:
        raise RefusedByUpstream(refusal) from refusal
    except UpstreamError as error:
        raise Unavailable("The upstream cannot be asked now.", retry_after_s=RETRY_AFTER_S) from error
