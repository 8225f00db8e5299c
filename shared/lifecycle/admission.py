"""Admitting a request: whether this caller may ask for this, and the record that it begins with."""

from typing import Any

from shared.contract.callers import Caller
from shared.contract.requests import NewResponse
from shared.core import ids
from shared.core.errors import BadRequest, NotFound
from shared.core.records import CALLBACK, Record
from shared.lifecycle import submission
from shared.runtime.ports import World
from shared.senders.reply_queues import is_allowed
from shared.senders.url_policy import CallbackUrlRefused, check_url
from shared.telemetry import tracing
from shared.upstreams.protocol import Upstream


async def admit(
    world: World, caller: Caller, new: NewResponse, response_id: str, *, is_repeatable: bool
) -> tuple[Record, dict[str, Any] | None]:
    """Return the response to open, and what its upstream is sent; raise BadRequest if it may not be asked for.

    One whose first request was accepted is judged by no rule a second time: it comes as it is, without a request.
    """
    upstream = world.upstreams.of(new.model)
    try:
        await check_targets(world, caller, new)
        previous = await _previous(world, caller, new.previous) if new.previous else None
        _check_same(world, upstream, previous)
        upstream.admit(new.body, previous)
    except BadRequest:
        if is_repeatable and (first := await submission.join(world, response_id)):
            return first, None
        raise
    record = opened(world, response_id, caller, new, previous.id if previous else None)
    theirs = previous.upstream_id if previous else None
    return record, new.for_upstream(theirs, in_background=upstream.replays)


def _check_same(world: World, upstream: Upstream, previous: Record | None) -> None:
    """Raise BadRequest if the response to continue is kept by another upstream."""
    if previous and world.upstreams.of(previous.model) is not upstream:
        raise BadRequest(
            f"Previous response with id '{previous.id}' is one of '{previous.model}' and can only be continued there.",
            param="previous_response_id",
        )


def opened(world: World, response_id: str, caller: Caller, new: NewResponse, previous: str | None = None) -> Record:
    """Return the record of a response that begins now."""
    now_ms = world.now_ms()
    trace, trace_parent = tracing.conceived()
    return Record(
        response_id,
        caller.name,
        created_ms=now_ms,
        deadline_ms=now_ms + world.limits.deadline_ms,
        background=new.background,
        store=new.store,
        stream=new.stream,
        model=new.model,
        metadata=new.metadata,
        previous=previous,
        callback_url=new.callback_url,
        callback_events=new.callback_events,
        reply_to=new.reply_to,
        trace=trace,
        trace_parent=trace_parent,
    )


async def own(world: World, caller: Caller, named: str) -> Record:
    """Return a caller's response, by its id or a token; another's does not exist, nor does a deleted one."""
    cursor = ids.read_token(named)
    record = await world.store.read(cursor.id) if cursor else None
    if record is None or record.caller != caller.name or record.deleted:
        raise not_found(named)
    return record


def not_found(named: str) -> NotFound:
    """Return the error about a response that a caller does not have."""
    return NotFound(f"Response with id '{named[:100]}' not found.")


async def check_targets(world: World, caller: Caller, new: NewResponse) -> None:
    """Raise BadRequest, naming the field, if the terminal event may not be sent where the request says."""
    if new.callback_url is not None:
        await _check_callback(world, caller, new.callback_url)
    if new.reply_to is not None and not is_allowed(new.reply_to, world.rules.reply_queues):
        raise BadRequest("'reply_to' names a queue that is not allowed.", param="reply_to", code="queue_not_allowed")


async def _check_callback(world: World, caller: Caller, url: str) -> None:
    if not caller.signing(world.now_ms()):
        raise BadRequest(
            "Callbacks are signed, and no signing secret is configured for this caller.",
            param="callback_url",
            code="callback_url_unsigned",
        )
    rules = world.rules
    try:
        check_url(url, hosts=caller.callback_hosts, refused_hosts=rules.own_hosts, allow_loopback=rules.allow_loopback)
        await world.senders[CALLBACK].vet(url)
    except CallbackUrlRefused as refused:
        raise BadRequest(str(refused), param="callback_url", code=refused.code) from None


async def _previous(world: World, caller: Caller, named: str) -> Record:
    """Return the response that a new one continues; raise BadRequest if it cannot be continued."""
    try:
        record = await own(world, caller, named)
    except NotFound:
        raise BadRequest(
            f"Previous response with id '{named[:100]}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        ) from None
    if not record.status.is_terminal:
        raise BadRequest(
            f"Previous response with id '{record.id}' is still {record.status}; wait for its end, or cancel it.",
            param="previous_response_id",
            code="previous_response_not_finished",
        )
    if record.upstream_id is None:
        raise BadRequest(
            f"Previous response with id '{record.id}' never reached the upstream and cannot be continued.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    return record
