"""Admission: checks what a caller asks for, and makes the record of the new response."""

import hashlib
import re
from typing import Any

from shared.contract import redaction
from shared.contract.callers import Caller
from shared.contract.requests import NewResponse
from shared.core import ids, keys
from shared.core.erasures import subjects_of
from shared.core.errors import BadRequest, NotFound, StoreError
from shared.core.records import Record, RequestInfo, Target
from shared.lifecycle import submission
from shared.runtime.ports import Ports
from shared.senders.reply_queues import is_allowed
from shared.senders.url_policy import CallbackUrlRefused, check_url
from shared.telemetry import tracing
from shared.upstreams.protocol import Upstream

_NOT_ACCEPTED = (
    "Storage is not available, and this request was not accepted. Send it again. With an 'Idempotency-Key' header it "
    "starts one response, however often it is sent."
)
_CONVERSATION = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


async def admit(
    ports: Ports, caller: Caller, new: NewResponse, response_id: str, *, is_repeatable: bool
) -> tuple[Record, dict[str, Any] | None]:
    """Return the record of a new response, and the request body for its upstream.

    Raises BadRequest naming the field if the request is not allowed, and Misconfigured if its agent cannot be loaded.
    `is_repeatable`: the request has an idempotency key. If it fails a check but was accepted before, return the record
    of its response, and None instead of a body.
    """
    upstream = ports.upstreams.of(new.model)
    try:
        await check_targets(ports, caller, new)
        previous = await previous_of(ports, caller, new.previous) if new.previous else None
        _check_same_upstream(ports, upstream, previous)
        upstream.validate(new.body, previous)
        await check_conversation(ports, caller, new.body.get("conversation"))
    except BadRequest:
        if is_repeatable and (first := await submission.join(ports, response_id)):
            return first, None
        raise
    except StoreError as error:
        error.advice = _NOT_ACCEPTED
        raise
    record = new_record(ports, response_id, caller, new, previous.id if previous else None)
    previous_upstream_id = previous.upstream.id if previous else None
    return record, new.for_upstream(previous_upstream_id, in_background=upstream.is_background)


def _check_same_upstream(ports: Ports, upstream: Upstream, previous: Record | None) -> None:
    """Raise BadRequest if the response to continue belongs to another upstream."""
    if previous and ports.upstreams.of(previous.request.model) is not upstream:
        raise BadRequest(
            f"Previous response with id '{previous.id}' is one of '{previous.request.model}' "
            "and can only be continued there.",
            param="previous_response_id",
        )


def new_record(
    ports: Ports, response_id: str, caller: Caller, new: NewResponse, previous_id: str | None = None
) -> Record:
    """Return the record of a response that begins now."""
    now_ms = ports.clock.now_ms()
    trace, trace_parent = tracing.new_response_trace()
    request = RequestInfo(
        background=new.background,
        store=new.store,
        stream=new.stream,
        model=new.model,
        metadata=new.metadata,
        previous_id=previous_id,
        callback_url=new.callback_url,
        callback_events=new.callback_events,
        reply_to=new.reply_to,
        subjects=subjects_of(new.body, caller.name) or None,
        subjects_known=True,
        include=new.include,
        has_credentials=bool(redaction.credentials_in(new.body)),
        masked=True,
    )
    return Record(
        response_id,
        caller.name,
        created_ms=now_ms,
        deadline_ms=now_ms + ports.config.limits.deadline_ms,
        trace=trace,
        trace_parent=trace_parent,
        request=request,
    )


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


async def check_conversation(ports: Ports, caller: Caller, given: object) -> None:
    """Raise NotFound unless a request's conversation, an id or an object with one, belongs to the caller."""
    if given is None:
        return
    named = given.get("id") if isinstance(given, dict) else given
    if not isinstance(named, str) or not named:
        raise BadRequest("'conversation' must be an id, or an object with one.", param="conversation")
    owner = conversation_owner(named)
    row = await ports.store.find(owner, keys.conversation_key(owner)) if _CONVERSATION.fullmatch(named) else None
    if row is None or row.get("caller") != caller.name:
        raise NotFound(f"Conversation with id '{named[:100]}' not found.", param="conversation")


def conversation_owner(conversation_id: str) -> str:
    """Return an id that is derived from a conversation's id and has the form of a response id. It gives the shard."""
    return f"resp_{hashlib.sha256(conversation_id.encode()).hexdigest()[:32]}"


async def check_targets(ports: Ports, caller: Caller, new: NewResponse) -> None:
    """Raise BadRequest naming the field if the terminal event must not go to the request's URL or queue."""
    if new.callback_url is not None:
        await _check_callback(ports, caller, new.callback_url)
    if new.reply_to is not None and not is_allowed(new.reply_to, ports.config.rules.reply_queues):
        raise BadRequest("'reply_to' names a queue that is not allowed.", param="reply_to", code="queue_not_allowed")


async def _check_callback(ports: Ports, caller: Caller, url: str) -> None:
    if not caller.signing(ports.clock.now_ms()):
        raise BadRequest(
            "Callbacks are signed, and no signing secret is configured for this caller.",
            param="callback_url",
            code="callback_url_unsigned",
        )
    rules = ports.config.rules
    try:
        check_url(url, hosts=caller.callback_hosts, refused_hosts=rules.own_hosts, allow_loopback=rules.allow_loopback)
        await ports.senders[Target.CALLBACK].vet(url)
    except CallbackUrlRefused as refused:
        raise BadRequest(str(refused), param="callback_url", code=refused.code) from None


async def previous_of(ports: Ports, caller: Caller, named: str) -> Record:
    """Return the response that a new one continues. Raise BadRequest if it cannot be continued."""
    try:
        record = await own(ports, caller, named)
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
    if record.upstream.id is None:
        raise BadRequest(
            f"Previous response with id '{record.id}' never reached the upstream and cannot be continued.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    return record
