"""The response object and the webhook event about it, as callers read them.

Every field that any known client requires is always present, and null if it is empty. That satisfies strict clients
(the Open Responses suite) and tolerant ones. Fields that an upstream omits are taken from the request. No object has a
credential of the request or the upstream's id of the response.
https://developers.openai.com/api/reference/resources/responses
https://developers.openai.com/api/reference/resources/webhooks
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypedDict

import orjson

from shared import json_text
from shared.contract import upstream_errors
from shared.contract.identifiers import our_names, with_our_names
from shared.contract.output_items import items_in
from shared.contract.redaction import without_credentials
from shared.contract.upstream_errors import ReportedError
from shared.core import blobs, ids
from shared.core.records import Record, WaitInfo
from shared.core.states import Status, event_type

MAX_ERROR = 16_384  # bytes of what an upstream says about an error beside its message, or else it is left out
MAX_MESSAGE = 49_152  # bytes, because a queue message holds 64 KiB of base64
_DEFAULTS: dict[str, Any] = {
    "id": None,
    "object": "response",
    "created_at": 0,
    "status": None,
    "completed_at": None,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "model": None,
    "output": [],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": None,
    "safety_identifier": None,
    "service_tier": "auto",
    "store": True,
    "background": False,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "truncation": "disabled",
    "usage": None,
    "metadata": {},
}
_TYPE = "server_error"
_REASONS = (
    "error",
    "last_error",
    "errors",
    "status_details",
    "incomplete_details",
)  # where servers say why work failed
# The fields of which the contract allows no null. An upstream's null there is an omission.
_NEVER_NULL = frozenset({"model", "object", "output", "parallel_tool_calls", "text", "tool_choice", "tools"})
_FUNCTION = {"description": None, "parameters": None, "strict": None}
_SCHEMA_FORMAT = {"description": None, "strict": False}
_ECHOED = frozenset(_DEFAULTS) - {
    *("id", "object", "created_at", "status", "completed_at", "error", "incomplete_details"),
    *("output", "usage", "metadata", "background", "store"),
}


class ErrorDetails(TypedDict):
    """Why a response failed."""

    code: str
    message: str
    type: str
    param: str | None


class Failure(TypedDict):
    """The fields of a response that say why it failed."""

    error: ErrorDetails
    output: list[Any]


class WebhookEvent(TypedDict, total=False):
    """The event about a terminal response, in OpenAI's shape. `correlation_id` and `truncated` are ours."""

    id: str  # `evt_...`, the same on every attempt
    object: str  # "event"
    type: str  # such as "response.completed"
    created_at: int  # unix seconds
    timestamp: str  # the same time in ISO 8601, UTC
    correlation_id: str
    data: Mapping[str, Any]  # the response object
    truncated: bool  # `data` has only the id of the response


def echo(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request that its response repeats, without credentials."""
    echoed = {name: request[name] for name in _ECHOED if request.get(name) is not None}
    return dict(without_credentials(echoed))


def present(
    record: Record, status: Status, answer: Mapping[str, Any], base: Mapping[str, Any], now_ms: int
) -> dict[str, Any]:
    """Return the response object: the fields of the record, over the upstream's `answer`, over what is known (`base`).

    The answer may be partial. Its nulls are kept where the contract allows them. A null of an unfinished answer is no
    reason to forget what the request says, because Azure's have nulls while queued. A model has the name that the
    caller gave it, if the upstream has another name for it and repeats that. `now_ms` is the time of the end, in
    unix milliseconds, if the record has none yet.
    """
    said = {name: value for name, value in answer.items() if value is not None or _is_told(name, status, base)}
    known = {name: value for name, value in base.items() if value is not None or name not in _NEVER_NULL}
    known.pop("waiting", None)  # of an upstream that is such a service itself, when it was asked last
    shown = {**_DEFAULTS, **known, **with_our_names(said, our_names(record, answer))}
    if record.upstream.model and shown["model"] == record.upstream.model:
        shown["model"] = record.request.model
    shown |= _identity(record, status) | _outcome(status, shown, record.ended_ms or now_ms)
    return dict(without_credentials(shown | _nested(shown)))


def present_known(record: Record, known: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    """Return the response object as last known (`known`), with the status that the record has now.

    An unfinished one says what it waits for, if that is something other than its work. Times are unix seconds.
    """
    shown = present(record, record.status, {}, known, now_ms)
    if record.status.is_terminal or not record.wait.reason:
        return shown
    return shown | {"waiting": waiting(record.wait)}


def failure(code: str, message: str, kind: str | None = None, param: str | None = None) -> Failure:
    """Return the fields of a response that say why it failed. The type is `server_error` unless it is given."""
    return {"error": {"code": code, "message": message, "type": kind or _TYPE, "param": param}, "output": []}


def encode(value: Mapping[str, Any]) -> bytes:
    """Return the JSON text of an object. The same object always gives the same bytes."""
    return orjson.dumps(value)


def stored_text(record: Record, packed: bytes) -> bytes:
    """Return the JSON text of a stored response object, as callers may read it.

    `packed` is as stored. One of an older version may have credentials, which are masked here.
    """
    text = blobs.expand(packed)
    return text if record.request.masked else encode(without_credentials(json_text.read_tolerantly(text)))


def stored_response(record: Record, packed: bytes) -> dict[str, Any]:
    """Return a stored response object, as callers may read it. See `stored_text`."""
    return dict(json_text.read_tolerantly(stored_text(record, packed)))


def webhook_event(record: Record, response: Mapping[str, Any]) -> WebhookEvent:
    """Return the event about a terminal response, with the whole response object in `data`."""
    kind = event_type(record.status)
    moment = datetime.fromtimestamp(record.ended_ms / 1000, UTC)
    event: WebhookEvent = {
        "id": ids.event_id(record.id, kind),
        "object": "event",
        "type": kind,
        "created_at": record.ended_ms // 1000,
        "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    if record.request.correlation_id:
        event["correlation_id"] = record.request.correlation_id
    return {**event, "data": response}


def for_queue(event: WebhookEvent, text: bytes) -> bytes:
    """Return an event as the text of a queue message. `text` is the text of the whole event.

    Above 48 KiB its `data` has only the `id` and `object` of the response, and `truncated` is true.
    """
    if len(text) <= MAX_MESSAGE:
        return text
    return encode({**event, "data": {"id": event["data"]["id"], "object": "response"}, "truncated": True})


def waiting(wait: WaitInfo) -> dict[str, Any]:
    """Return what a response waits for, as callers read it."""
    return {
        "reason": wait.reason,
        "detail": wait.detail,
        "tries": wait.tries,
        "since": wait.since_ms // 1000,
        "next_at": -(-wait.next_ms // 1000) or None,
        "place": wait.place or None,
    }


def _is_told(name: str, status: Status, base: Mapping[str, Any]) -> bool:
    """Return whether an upstream's null of this field says more than that it has not filled the field yet."""
    return name not in _NEVER_NULL and (status.is_terminal or base.get(name) is None)


def _nested(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with members that the contract requires and an upstream may omit, with those filled in."""
    text, reasoning, tools = shown["text"], shown["reasoning"], shown["tools"]
    return {
        "text": {**text, "format": _format(text.get("format"))} if isinstance(text, dict) else text,
        "reasoning": {"effort": None, "summary": None, **reasoning} if isinstance(reasoning, dict) else reasoning,
        "tools": [_tool(tool) for tool in tools] if isinstance(tools, list) else tools,
    }


def _format(given: object) -> Any:
    if not isinstance(given, dict):
        return {"type": "text"}
    return {**_SCHEMA_FORMAT, **given} if given.get("type") == "json_schema" else given


def _tool(tool: Any) -> Any:
    is_function = isinstance(tool, dict) and tool.get("type") == "function"
    return {**_FUNCTION, **tool} if is_function else tool


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _identity(record: Record, status: Status) -> dict[str, Any]:
    return {
        "id": record.id,
        "object": "response",
        "created_at": record.created_ms // 1000,
        "status": str(status),
        "background": record.request.background,
        "store": record.request.store,
        "previous_response_id": record.request.previous_id,
        "metadata": record.request.metadata or {},
        "continuation_token": None if status.is_terminal else ids.token_for(record.id),
    }


def _outcome(status: Status, shown: Mapping[str, Any], ended_ms: int) -> dict[str, Any]:
    """Return the fields whose value depends on the status."""
    failed, incomplete = status is Status.FAILED, status is Status.INCOMPLETE
    return {
        "completed_at": ended_ms // 1000 if status is Status.COMPLETED else None,
        "ended_at": ended_ms // 1000 if status.is_terminal else None,
        "error": _error(shown) if failed else None,
        "incomplete_details": shown["incomplete_details"] if incomplete else None,
        "output": [] if status is Status.CANCELLED else items_in(shown),
        "usage": _usage(shown["usage"]),
    }


def _error(shown: Mapping[str, Any]) -> dict[str, Any]:
    # AI SDK 7 and mastra reject a response whose error has no type
    said = next((found for name in _REASONS if (found := shown.get(name))), None)
    reported = upstream_errors.error_in({"error": said}) or ReportedError()
    others = {name: value for name, value in _given(shown["error"]).items() if name not in ErrorDetails.__annotations__}
    return ({} if blobs.is_larger(others, MAX_ERROR) else others) | {
        "code": reported.code or "server_error",
        "message": reported.message or "The upstream gave no reason.",
        "type": reported.type or _TYPE,
        "param": reported.param,
    }


def _usage(usage: object) -> dict[str, Any] | None:
    if not isinstance(usage, dict):
        return None
    return {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0, **_present(usage)} | {
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}
        | _given(usage.get("input_tokens_details")),
        "output_tokens_details": {"reasoning_tokens": 0} | _given(usage.get("output_tokens_details")),
    }


def _given(values: object) -> dict[str, Any]:
    """Return the members of an upstream's object that are not null, or nothing if it is not an object."""
    return _present(values) if isinstance(values, dict) else {}
