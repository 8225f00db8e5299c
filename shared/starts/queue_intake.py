"""Queue intake: each message of the `requests` queue starts one response, as an HTTP request would.

The response's id derives from the message's id, so copies of a message start nothing new. A sender that may send twice
sets `id` in the message. If a request cannot be carried out, its response fails, and the event about that goes to the
reply queue. If the message names no allowed reply queue, it goes to the poison queue.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from shared.contract.callers import Caller
from shared.contract.requests import MAX_MODEL, NewResponse, parse_request
from shared.core import blobs
from shared.core.changesets import ChangeSet
from shared.core.errors import ServiceError, SettingsError, StoreError, StoreRefused, TooLarge
from shared.core.records import Record, RequestInfo
from shared.deliveries import first_attempts
from shared.lifecycle import endings
from shared.runtime.ports import Ports
from shared.runtime.quotas import TooManyRequests
from shared.runtime.unit_of_work import apply
from shared.senders.reply_queues import is_allowed
from shared.starts import admission, submission
from shared.storage import messages
from shared.storage.messages import POISON, REQUESTS, QueuedRequest, Rejection
from shared.telemetry import spans, tracing
from shared.telemetry.logs import logger
from shared.transitions import response_transitions

_log = logger(__name__)

REQUEUE_DELAY_S = 55


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """A message of the queue: its id and its bytes."""

    id: str
    body: bytes = field(repr=False)


async def take(ports: Ports, message: QueueMessage, *, is_last: bool = False) -> None:
    """Start the response that a message asks for, unless a copy of the message has started it.

    Raises StoreError if that is not possible now. At the last try, the message is sent to the end of its queue, unless
    storage would refuse it again, since it would go round for ever.
    """
    queued = QueuedRequest.read(message.id, message.body)
    with spans.queued_request_span(REQUESTS, message.id, queued.traceparent) as span, span.activated():
        try:
            await _take(ports, message, queued)
        except StoreError as error:
            _log.warning("request.storage_failed", extra={"message_id": message.id})
            if not is_last or isinstance(error, StoreRefused):
                raise
            await requeue(ports, message)


async def _take(ports: Ports, message: QueueMessage, queued: QueuedRequest) -> None:
    caller = requests_caller(ports)
    try:
        record, request = await _admit(ports, caller, queued)
        if request is not None:
            await submission.submit(ports, record, request)
    except TooManyRequests:
        _log.info("request.waits", extra={"message_id": message.id, "caller": caller.name})
        await requeue(ports, message)
    except StoreRefused:  # which is no outage, and would come again
        refusal = TooLarge("Storage does not take this request.", code="request_too_large")
        await _refuse(ports, message, queued, refusal)
    except ServiceError as refusal:
        await _refuse(ports, message, queued, refusal)


async def _admit(ports: Ports, caller: Caller, queued: QueuedRequest) -> tuple[Record, dict[str, Any] | None]:
    if queued.wrong:
        raise queued.wrong
    new = _new_response(queued)
    record, request = await admission.admit(ports, caller, new, queued.response_id, is_repeatable=True)
    # acknowledged, because the sender learns of a refusal only by the event of a failed response
    info = replace(record.request, correlation_id=queued.correlation_id)
    return replace(record, acknowledged=True, request=info), request


def _new_response(queued: QueuedRequest) -> NewResponse:
    body = {**queued.request, "background": True}
    if queued.reply_to:
        body["reply_to"] = queued.reply_to
    return parse_request(orjson.dumps(body))


def requests_caller(ports: Ports) -> Caller:
    """Return the caller on whose behalf queued requests are made. Raise SettingsError if it does not exist."""
    caller = ports.callers.named(ports.config.rules.requests_caller)
    if caller is None:
        raise SettingsError("REQUESTS_CALLER must be the name of a caller")
    return caller


async def _refuse(ports: Ports, message: QueueMessage, queued: QueuedRequest, refusal: ServiceError) -> None:
    """Send the reason to the reply queue. If the message names none that is allowed, move it to the poison queue."""
    extra = {"message_id": message.id, "response": queued.response_id, "reason": refusal.message}
    if _may_reply(ports, queued):
        _log.warning("request.refused", extra=extra)
        await fail(ports, queued, refusal)
        return
    _log.error("request.rejected", extra=extra)
    rejection = Rejection(refusal.message, refusal.code)
    await ports.requests.send(REQUESTS + POISON, messages.rejected_request(queued, rejection))


def _may_reply(ports: Ports, queued: QueuedRequest) -> bool:
    return queued.reply_to is not None and is_allowed(queued.reply_to, ports.config.rules.reply_queues)


async def fail(ports: Ports, queued: QueuedRequest, refusal: ServiceError) -> None:
    """Create the message's response as a failed one. The event about it goes to the reply queue, if that is allowed.

    The request is kept, as for any other response. A response that the message has already started is left as it is.
    """
    now_ms = ports.clock.now_ms()
    trace, trace_parent = tracing.new_response_trace()
    failed = Record(
        queued.response_id,
        requests_caller(ports).name,
        created_ms=now_ms,
        deadline_ms=now_ms,
        trace=trace,
        trace_parent=trace_parent,
        request=RequestInfo(
            background=True,
            store=True,
            model=_model(queued.request),
            reply_to=queued.reply_to if _may_reply(ports, queued) else None,
            correlation_id=queued.correlation_id,
        ),
    )
    outcome = endings.by_failure(refusal.code or "invalid_request", refusal.message, now_ms)
    packed = blobs.pack(queued.request)

    def transition(current: Record) -> tuple[ChangeSet | None, bool]:
        if current.etag:
            return None, False
        ending, retention_ms = endings.ending_of(current, outcome), ports.config.limits.retention_ms
        firsts = first_attempts.plan(ports, current, ending.status)
        return response_transitions.accept_ended(current, packed, ending, now_ms, retention_ms, firsts), True

    record, is_ours = await apply(ports, failed, failed.id, transition)
    if record and is_ours:
        first_attempts.begin(ports, record)


def _model(request: dict[str, Any]) -> str | None:
    """Return the model of a request that may be wrong, in the length that a row has room for."""
    model = request.get("model")
    return model[:MAX_MODEL] if isinstance(model, str) else None


async def requeue(ports: Ports, message: QueueMessage) -> None:
    """Send a message to the end of its queue, under its own id, because it could not be handled so far.

    The new copy becomes visible after 55 s. Raises StoreError.
    """
    body = messages.requeued_request(message.id, message.body)
    await ports.requests.send(REQUESTS, body, delay_s=REQUEUE_DELAY_S)
