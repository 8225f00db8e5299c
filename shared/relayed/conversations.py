"""Conversations, which an upstream keeps. Each belongs to the caller who made it. For anybody else it does not exist.

What the upstream does not isolate, such as files and vector stores, is not offered.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from shared.contract.callers import Caller
from shared.core import keys
from shared.core.errors import NotFound, RefusedByUpstream, StoreError, Unavailable
from shared.lifecycle import ownership
from shared.relayed.relaying import relay, segment
from shared.runtime.ports import Ports
from shared.telemetry.logs import logger
from shared.upstreams.routes import Route

_log = logger(__name__)

LISTED = ("after", "limit", "order", "include[]", "include")
FORGET_S = 10.0


async def create_conversation(
    ports: Ports, caller: Caller, body: dict[str, Any], model: str | None = None
) -> dict[str, Any]:
    """Make a conversation, which belongs to this caller from then on, at the upstream that serves a model.

    Without a model it is the first upstream. Raises NotFound if no upstream serves the model.
    """
    route = ports.upstreams.route(model) if model else ports.upstreams.routes[0]
    made = await relay(route, "POST", "/conversations", body)
    if isinstance(made.get("id"), str):
        owner = ownership.conversation_owner(made["id"], route)
        row = {"caller": caller.name, "created": str(ports.clock.now_ms())}
        try:
            await ports.store.put(owner, keys.conversation_key(owner), row)
        except StoreError:
            await _forget(ports, route, made["id"], owner)
            raise
    return made


async def _forget(ports: Ports, route: Route, conversation_id: str, owner: str) -> None:
    """Delete a conversation whose owner may not be stored, as far as that is possible. No caller could reach it."""
    try:
        async with asyncio.timeout(FORGET_S):
            await relay(route, "DELETE", ConversationCall("DELETE", (conversation_id,)).path)
    except (RefusedByUpstream, Unavailable, NotFound, TimeoutError):
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
        path = "/".join(map(segment, ("conversations", *self.names)))
        asked = urlencode([(name, self.query[name]) for name in LISTED if name in self.query])
        return f"/{path}?{asked}" if asked else f"/{path}"


async def on_conversation(ports: Ports, caller: Caller, call: ConversationCall) -> dict[str, Any]:
    """Pass a call on, and return the answer. Raises NotFound unless the conversation belongs to the caller."""
    route = await ownership.conversation_route(ports, caller, call.names[0])
    answer = await relay(route, call.method, call.path, call.body)
    if call.method == "DELETE" and len(call.names) == 1:
        owner = ownership.conversation_owner(call.names[0], route)
        await ports.store.discard(owner, keys.conversation_key(owner))
    return answer
