"""Admission: checks what a caller asks for, and makes the record of the new response."""

from typing import Any

from shared import off_loop
from shared.contract import redaction
from shared.contract.callers import Caller
from shared.contract.requests import NewResponse
from shared.core.erasures import subjects_of
from shared.core.errors import BadRequest, NotFound
from shared.core.records import Record, RequestInfo, Target, UpstreamInfo
from shared.lifecycle import ownership
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import before_accepting
from shared.senders.reply_queues import is_allowed
from shared.senders.url_policy import CallbackUrlRefused, check_url
from shared.starts import joining, rerouting
from shared.telemetry import tracing
from shared.upstreams.routes import Route


async def admit(
    ports: Ports, caller: Caller, new: NewResponse, response_id: str, *, is_repeatable: bool
) -> tuple[Record, dict[str, Any] | None]:
    """Return the record of a new response, and the request body for its upstream.

    Raises BadRequest naming the field if the request is not allowed, NotFound if no upstream serves its model, and
    Misconfigured if its agent cannot be loaded. `is_repeatable`: the request has an idempotency key. If it fails a
    check but was accepted before, return the record of its response, and None instead of a body.
    """
    try:
        with before_accepting():
            await check_targets(ports, caller, new)
            previous = await previous_of(ports, caller, new.previous) if new.previous else None
            route = await route_of(ports, caller, new.model, previous, new.body.get("conversation"))
        route.upstream.validate(new.body, previous)
    except (BadRequest, NotFound):
        if is_repeatable and (first := await joining.join(ports, response_id)):
            return first, None
        raise
    credentials = await off_loop.run(len(new.raw), redaction.credentials_in, new.body)
    if len(credentials) > redaction.MAX_CREDENTIALS:
        raise BadRequest(f"A request may hold at most {redaction.MAX_CREDENTIALS} credentials.", code="invalid_value")
    record = new_record(
        ports, response_id, caller, new, route, previous.id if previous else None, has_credentials=bool(credentials)
    )
    previous_upstream_id = previous.upstream.id if previous else None
    return record, new.for_upstream(previous_upstream_id, in_background=route.upstream.is_background)


async def route_of(
    ports: Ports, caller: Caller, model: str | None, previous: Record | None, conversation: object
) -> Route:
    """Return the upstream of a new request: the one that has what it continues, or the first one for its model.

    Raises NotFound if no upstream serves the model, or if the caller does not have the conversation. Raises BadRequest
    naming the field if the upstream that has what it continues does not serve the model.
    """
    route = ports.upstreams.route(model)
    if previous is None and conversation is None:
        return rerouting.first_open(ports, route, model)
    if previous:
        kept = ports.upstreams.of(previous)
        if (kept.name != route.name and not kept.spec.serves(model)) or kept.is_agent is not route.is_agent:
            raise BadRequest(
                f"Previous response with id '{previous.id}' is one of '{previous.request.model}' "
                "and can only be continued there.",
                param="previous_response_id",
            )
        route = kept
    if conversation is None or route.is_agent:  # agents keep none, and refuse to continue one
        return route
    there = await ownership.conversation_route(ports, caller, conversation)
    if there.name != route.name:
        if previous or not there.spec.serves(model):
            raise BadRequest(f"The conversation is not kept where '{model}' is served.", param="conversation")
        route = there
    return route


def new_record(
    ports: Ports,
    response_id: str,
    caller: Caller,
    new: NewResponse,
    route: Route,
    previous_id: str | None = None,
    *,
    has_credentials: bool,
) -> Record:
    """Return the record of a response that begins now at an upstream."""
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
        has_credentials=has_credentials,
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
        upstream=UpstreamInfo(name=route.name, model=route.spec.renamed(new.model)),
    )


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
        record = await ownership.own(ports, caller, named)
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
