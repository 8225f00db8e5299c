"""A request to create a response, checked: from the caller's bytes to what is kept and what the upstream is sent.

Only what this service acts on is judged; every other field passes through, and the upstream judges it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from shared.core import blobs, ids
from shared.core.errors import BadRequest
from shared.core.states import Status, event_type

MAX_BODY = 8_388_608
MAX_DEPTH = 100
MAX_ITEMS = 10_000
MAX_WAIT_S = 60
EVENTS = tuple(event_type(status) for status in Status if status.is_terminal)
FOREGROUND_WAIT_S = 200.0
_OURS = ("callback_url", "callback_events", "reply_to")
_QUEUE = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
# JSON writes each of these in six characters: sixteen pairs of them would not fit a property of the table
_CONTROLS = re.compile(r"[\x00-\x07\x0b\x0e-\x1f]")
_NUMBER = re.compile(r"[0-9]{1,20}")
_UNIX = re.compile(r"[0-9]{1,10}(\.[0-9]{1,6})?")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d+)\"?\s*(?=[,;]|$)", re.IGNORECASE)
_RESPOND_ASYNC = re.compile(r"(?:^|,)\s*respond-async\s*(?=[,;]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Preference:
    """What `Prefer` asks for (RFC 7240): seconds to wait, and whether to answer 202."""

    wait_s: int | None = None
    respond_async: bool = False


@dataclass(frozen=True, slots=True)
class NewResponse:
    """A checked request."""

    body: dict[str, Any] = field(repr=False)  # as the caller sent it
    raw: bytes = field(repr=False)
    background: bool
    stream: bool
    store: bool
    model: str | None
    metadata: dict[str, str] | None
    previous: str | None
    callback_url: str | None = field(repr=False)
    reply_to: str | None
    callback_events: tuple[str, ...] = ()  # none named: all

    def for_upstream(self, previous_upstream_id: str | None, *, in_background: bool = True) -> dict[str, Any]:
        """Return what the upstream is sent: our own fields taken out, its own previous id put in.

        In background mode the work is stored there, without that mode as the caller asked.
        """
        sent = {name: value for name, value in self.body.items() if name not in (*_OURS, "previous_response_id")}
        if in_background:
            sent |= {"background": True, "store": True}
        else:
            sent.pop("background", None)
        sent["stream"] = self.stream
        metadata = {name: text for name, text in (self.metadata or {}).items() if name not in _OURS}
        if metadata:
            sent["metadata"] = metadata
        else:
            sent.pop("metadata", None)
        if previous_upstream_id:
            sent["previous_response_id"] = previous_upstream_id
        return sent


def parse(raw: bytes) -> NewResponse:
    """Check a request body; raise BadRequest naming the field that is wrong."""
    body = _object(raw)
    metadata = _metadata(body)
    if body.get("input") is not None and not isinstance(body["input"], str | list):
        raise BadRequest("'input' must be a string or a list of items.", param="input", code="invalid_type")
    if isinstance(body.get("input"), list) and len(body["input"]) > MAX_ITEMS:
        raise BadRequest(f"'input' may hold at most {MAX_ITEMS} items.", param="input", code="invalid_value")
    previous = _text(body, "previous_response_id", 128)
    if previous and body.get("conversation"):
        raise BadRequest("'previous_response_id' and 'conversation' exclude each other.", param="previous_response_id")
    store = body.get("store")
    return NewResponse(
        body=body,
        raw=raw,
        stream=_flag(body, "stream"),
        background=_flag(body, "background"),
        store=True if store is None else _flag(body, "store"),
        model=_text(body, "model", 256),
        metadata=metadata,
        previous=previous,
        callback_url=_text(body, "callback_url", 2048) or (metadata or {}).get("callback_url"),
        reply_to=_queue(_text(body, "reply_to", 63) or (metadata or {}).get("reply_to")),
        callback_events=_events(body, metadata or {}),
    )


def preference(header: str | None) -> Preference:
    """Read a Prefer header; what it says beside `wait` and `respond-async` is ignored, as RFC 7240 asks."""
    if not header:
        return Preference()
    wait = _WAIT.search(header)
    return Preference(min(int(wait[1][:9]), MAX_WAIT_S) if wait else None, _RESPOND_ASYNC.search(header) is not None)


def idempotency_key(header: str | None) -> str | None:
    """Check an Idempotency-Key header; raise BadRequest if it is not 1 to 255 visible ASCII characters."""
    if header is not None and not _KEY.fullmatch(header):
        raise BadRequest(
            "'Idempotency-Key' must be 1 to 255 visible ASCII characters.",
            param="Idempotency-Key",
            code="invalid_value",
        )
    return header


def cursor(named: ids.Cursor, starting_after: str | None, last_event_id: str | None) -> int:
    """Return the number of the last stream event that a reader has seen, -1 for none.

    It may be said by `starting_after`, by `Last-Event-ID`, or by the token in place of the id, in this order; the first
    two take a number or an event's token. Raises BadRequest naming the one that is wrong.
    """
    for param, given in (("starting_after", starting_after), ("Last-Event-ID", last_event_id)):
        if given:
            return _event_number(named.id, param, given.strip())
    return -1 if named.after is None else named.after


def _event_number(response_id: str, param: str, text: str) -> int:
    if _NUMBER.fullmatch(text):
        return min(int(text), ids.MAX_EVENT)
    token = ids.read_token(text)
    if token is None or token.after is None:
        raise BadRequest(
            f"'{param}' must be the sequence number of an event, or its continuation token.",
            param=param,
            code="invalid_value",
        )
    if token.id != response_id:
        raise BadRequest(f"'{param}' is a token of another response.", param=param, code="invalid_value")
    return token.after


def _object(raw: bytes) -> dict[str, Any]:
    if not raw:
        raise BadRequest("The request has no body; a JSON object was expected.", code="invalid_json")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not valid JSON: {error.msg}.", code="invalid_json") from None
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object.", code="invalid_type")
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        _check_depth(body)
    return body


def _check_depth(body: dict[str, Any]) -> None:
    for name, value in body.items():
        if blobs.is_deeper(value, MAX_DEPTH):
            raise BadRequest(f"'{name}' is nested deeper than {MAX_DEPTH}.", param=name, code="invalid_value")


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"'{name}' must be true or false.", param=name, code="invalid_type")
    return bool(value)


def _text(body: dict[str, Any], name: str, longest: int) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadRequest(f"'{name}' must be a string.", param=name, code="invalid_type")
    if not 0 < len(value) <= longest:
        raise BadRequest(f"'{name}' must be 1 to {longest} characters long.", param=name, code="invalid_value")
    return value


def _queue(name: str | None) -> str | None:
    if name is not None and not _QUEUE.fullmatch(name):
        raise BadRequest(
            "'reply_to' must be a queue name: 3 to 63 lower-case letters, digits and single hyphens.",
            param="reply_to",
            code="invalid_value",
        )
    return name


def _events(body: dict[str, Any], metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return which events the callback is sent; in the metadata they are one text, with commas."""
    given = body.get("callback_events")
    if given is None and "callback_events" in metadata:
        given = [name.strip() for name in metadata["callback_events"].split(",")]
    if given is None:
        return ()
    if not isinstance(given, list) or not given or not all(one in EVENTS for one in given):
        raise BadRequest(
            f"'callback_events' must be a list of at least one of {', '.join(EVENTS)}.",
            param="callback_events",
            code="invalid_value",
        )
    if body.get("callback_url") is None and "callback_url" not in metadata:
        raise BadRequest("'callback_events' needs a 'callback_url'.", param="callback_events", code="invalid_value")
    return tuple(dict.fromkeys(given))


def delivery_target(raw: bytes) -> str | None:
    """Return the target that a redelivery names in its body, None for all; raise BadRequest if it is not one."""
    target = _object(raw).get("target") if raw else None
    if target not in (None, "callback", "reply_queue"):
        raise BadRequest("'target' must be 'callback' or 'reply_queue'.", param="target", code="invalid_value")
    return target


def since(query: Mapping[str, str]) -> int:
    """Return the moment that `since` names, unix milliseconds: unix seconds, or ISO 8601 with its zone."""
    text = query.get("since", "")
    try:
        moment = float(text) if _UNIX.fullmatch(text) else _moment(text)
    except ValueError:
        raise BadRequest(
            "'since' must be a time: unix seconds, or ISO 8601 such as 2027-01-31T08:00:00Z.",
            param="since",
            code="invalid_value",
        ) from None
    return int(moment * 1000)


def _moment(text: str) -> float:
    moment = datetime.fromisoformat(text.replace(" ", "+"))  # a plus sign that nobody encoded
    if moment.tzinfo is None or moment.year < 1970:
        raise ValueError("a moment needs a zone")
    return max(0.0, moment.timestamp())


def _metadata(body: dict[str, Any]) -> dict[str, str] | None:
    value = body.get("metadata")
    if value is None:
        return None
    if not isinstance(value, dict):
        raise BadRequest("'metadata' must be an object.", param="metadata", code="invalid_type")
    if len(value) > 16:
        raise BadRequest("'metadata' may hold at most 16 pairs.", param="metadata", code="invalid_value")
    for name, text in value.items():
        if not isinstance(text, str) or len(name) > 64 or len(text) > 512:
            raise BadRequest(
                "'metadata' keys may be 64, values 512 characters long, and values must be strings.",
                param="metadata",
                code="invalid_value",
            )
        if _CONTROLS.search(name) or _CONTROLS.search(text):
            raise BadRequest("'metadata' must not hold control characters.", param="metadata", code="invalid_value")
    return value
