"""Ownership: which responses and which conversations a caller has. Those of others do not exist for them."""

import asyncio
import re

from shared.contract.callers import Caller
from shared.core import ids, keys
from shared.core.errors import BadRequest, NotFound
from shared.core.records import Record
from shared.runtime.ports import Ports
from shared.upstreams.routes import Route

_CONVERSATION = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


async def own(ports: Ports, caller: Caller, named: str) -> Record:
    """Return a caller's response by its id or a continuation token.

    Raises NotFound if it does not exist, is deleted, or belongs to another caller.
    """
    cursor = ids.read_token(named)
    record = await ports.store.read(cursor.id) if cursor else None
    if record is None or record.caller != caller.name or record.deleted:
        raise not_found(named)
    return record


def not_found(named: str) -> NotFound:
    """Return the error for a response that a caller does not have."""
    return NotFound(f"Response with id '{named[:100]}' not found.")


async def conversation_route(ports: Ports, caller: Caller, given: object) -> Route:
    """Return the upstream of a request's conversation, which is an id or an object with one.

    Raises BadRequest if it is neither, and NotFound unless the conversation belongs to the caller.
    """
    named = given.get("id") if isinstance(given, dict) else given
    if not isinstance(named, str) or not named:
        raise BadRequest("'conversation' must be an id, or an object with one.", param="conversation")
    routes = [route for route in ports.upstreams.routes if route.relay] if _CONVERSATION.fullmatch(named) else []
    are_theirs = await asyncio.gather(*(_is_theirs(ports, caller, named, route) for route in routes))
    for route, is_theirs in zip(routes, are_theirs, strict=True):
        if is_theirs:
            return route
    raise NotFound(f"Conversation with id '{named[:100]}' not found.", param="conversation")


async def _is_theirs(ports: Ports, caller: Caller, named: str, route: Route) -> bool:
    owner = conversation_owner(named, route)
    row = await ports.store.find(owner, keys.conversation_key(owner))
    return row is not None and row.get("caller") == caller.name


def conversation_owner(conversation_id: str, route: Route) -> str:
    """Return an id that is derived from a conversation and has the form of a response id. It gives the shard."""
    return keys.upstream_owner(conversation_id, route.name)
