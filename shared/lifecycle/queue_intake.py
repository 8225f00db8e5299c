"""Requests that come by queue: each message starts one response, as an HTTP request would.

    {"request": {...}, "reply_to": "queue", "correlation_id": "...", "id": "...", "traceparent": "..."}

The response's id derives from the message's, so its copies start nothing new; a sender that may send twice names the
message itself, by `id`. A message that asks for what cannot be had becomes a response that has failed, whose event
tells the reply queue why; one that names no queue which may be told goes to the poison queue.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from shared.contract import requests
from shared.contract.callers import Caller
from shared.contract.requests import NewResponse
from shared.core import blobs, response_transitions
from shared.core.changesets import Write
from shared.core.errors import BadRequest, ServiceError, SettingsError
from shared.core.ids import derived_id
from shared.core.records import Record
from shared.lifecycle import admission, completion, submission
from shared.runtime.ports import World
from shared.runtime.unit_of_work import decide
from shared.senders.reply_queues import is_allowed
from shared.storage.request_queue import POISON
from shared.storage.wakeups import REQUESTS
from shared.telemetry import spans, tracing
from shared.telemetry.logs import logger

_log = logger(__name__)

MAX_NAME = 256  # characters of a message's own id, and of a correlation id
MAX_BODY = 46_000  # bytes: with what is added when it is sent on, it fits a message of 64 KiB in base64
MAX_UNREAD = 8_192  # characters that are kept of a message that asks for nothing
PUT_BACK_S = 55


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the queue: the id that all its copies share, and its text."""

    id: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a message says; `wrong` is the first thing that is wrong with it."""

    id: str
    request: dict[str, Any] = field(repr=False)  # what it asks for; the text of the message where that cannot be read
    reply_to: str | None = None
    correlation_id: str | None = None
    traceparent: str = ""  # the trace it belongs to
    returned: bool = False  # it has been in the poison queue
    wrong: BadRequest | None = None

    @property
    def response_id(self) -> str:
        """The id of the one response that the message starts."""
        return derived_id(REQUESTS.encode(), self.id.encode())


def opened(message: Message) -> Envelope:
    """Return what a message says, as much of it as can be read."""
    unread = {"input": message.body.decode(errors="replace")[:MAX_UNREAD]}
    try:
        fields = orjson.loads(message.body)
    except orjson.JSONDecodeError:
        return Envelope(message.id, unread, wrong=BadRequest("The message is not valid JSON.", code="invalid_json"))
    if len(message.body) > MAX_BODY:
        return Envelope(
            message.id, unread, wrong=BadRequest(f"The message is over {MAX_BODY} bytes.", code="too_large")
        )
    if not isinstance(fields, dict):
        return Envelope(message.id, unread, wrong=BadRequest("The message must be a JSON object.", code="invalid_type"))
    request = fields.get("request")
    texts = {name: fields.get(name) for name in ("id", "reply_to", "correlation_id")}
    bad = [name for name, text in texts.items() if not _is_name(text)]
    wrong = None if isinstance(request, dict) else _wrong("request", "an object")
    return Envelope(
        (None if "id" in bad else texts["id"]) or message.id,
        request if isinstance(request, dict) else unread,
        reply_to=None if "reply_to" in bad else texts["reply_to"],
        correlation_id=None if "correlation_id" in bad else texts["correlation_id"],
        traceparent=_text(fields.get("traceparent")),
        returned=fields.get("returned") is True,
        wrong=_wrong(bad[0], f"a string of 1 to {MAX_NAME} characters") if bad else wrong,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""  # a trace that cannot be read is nobody's mistake to fail for


def _is_name(value: object) -> bool:
    return value is None or (isinstance(value, str) and 0 < len(value) <= MAX_NAME)


def _wrong(name: str, expected: str) -> BadRequest:
    return BadRequest(f"'{name}' must be {expected}.", param=name, code="invalid_type")


async def take(world: World, message: Message) -> None:
    """Start what a message asks for; nothing new if a copy of it has. Raises StoreError if that cannot be done now."""
    envelope = opened(message)
    with spans.taking(REQUESTS, message.id, envelope.traceparent) as taken, taken.current():
        await _take(world, message, envelope)


async def _take(world: World, message: Message, envelope: Envelope) -> None:
    caller = caller_of(world)
    try:
        record, request = await _admitted(world, caller, envelope)
    except ServiceError as refusal:
        await refuse(world, message, envelope, refusal)
        return
    if request is not None:
        await submission.accept(world, record, request)


async def _admitted(world: World, caller: Caller, envelope: Envelope) -> tuple[Record, dict[str, Any] | None]:
    if envelope.wrong:
        raise envelope.wrong
    record, request = await admission.admit(world, caller, _asked(envelope), envelope.response_id, is_repeatable=True)
    # promised: nobody waits who could be told of a refusal but by the event of a response
    return replace(record, promised=True, correlation_id=envelope.correlation_id), request


def _asked(envelope: Envelope) -> NewResponse:
    body = {**envelope.request, "background": True}
    if envelope.reply_to:
        body["reply_to"] = envelope.reply_to
    return requests.parse(orjson.dumps(body))


def caller_of(world: World) -> Caller:
    """Return the caller on whose behalf queued requests are made."""
    caller = world.callers.named(world.rules.requests_caller)
    if caller is None:
        raise SettingsError("REQUESTS_CALLER must be the name of a caller")
    return caller


async def refuse(world: World, message: Message, envelope: Envelope, refusal: ServiceError) -> None:
    """Tell the reply queue why nothing was started; where none may be told, move the message to the poison queue."""
    extra = {"message_id": message.id, "response": envelope.response_id, "reason": refusal.message}
    if _may_reply(world, envelope):
        _log.warning("request.refused", extra=extra)
        await fail(world, envelope, refusal)
        return
    _log.error("request.rejected", extra=extra)
    rejected = {"reason": refusal.message, "code": refusal.code}
    said = {"id": envelope.id, "request": envelope.request, "rejected": rejected, "traceparent": envelope.traceparent}
    await world.queues.put(REQUESTS + POISON, orjson.dumps(said))


def _may_reply(world: World, envelope: Envelope) -> bool:
    return envelope.reply_to is not None and is_allowed(envelope.reply_to, world.rules.reply_queues)


async def fail(world: World, envelope: Envelope, refusal: ServiceError) -> None:
    """Make the message's response one that has failed, and tell its reply queue if that may be told.

    What it asked for is kept, as that of any other. A response that the message has started is left as it is.
    """
    now_ms = world.now_ms()
    trace, trace_parent = tracing.conceived()
    reply_to = envelope.reply_to if _may_reply(world, envelope) else None
    born = Record(
        envelope.response_id,
        caller_of(world).name,
        created_ms=now_ms,
        deadline_ms=now_ms,
        background=True,
        store=True,
        model=_model(envelope.request),
        reply_to=reply_to,
        correlation_id=envelope.correlation_id,
        trace=trace,
        trace_parent=trace_parent,
    )
    why = completion.by_failure(refusal.code or "invalid_request", refusal.message, now_ms)

    request_rows = response_transitions.request_rows(blobs.pack(envelope.request))

    def plan(current: Record) -> Write | None:
        if current.etag:
            return None
        ended = response_transitions.ended(current, why(current), now_ms, world.limits.retention_ms)
        return replace(ended, rows=(*ended.rows, *request_rows))

    await decide(world, born, born.id, plan)


def _model(request: dict[str, Any]) -> str | None:
    model = request.get("model")
    return model if isinstance(model, str) else None


async def put_back(world: World, message: Message) -> None:
    """Send a message to the end of its queue, under its old id: it could not be handled for as long as it was tried."""
    fields = orjson.loads(message.body)
    await world.queues.put(REQUESTS, orjson.dumps({"id": message.id, **fields}), delay_s=PUT_BACK_S)
