"""Requests to create a response: checks of the caller's body, and the body that the upstream gets.

Only the fields that this service acts on are checked. All others pass through, and the upstream checks them.
https://developers.openai.com/api/reference/resources/responses/methods/create
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from shared import json_text
from shared.contract import parameters
from shared.core import blobs
from shared.core.errors import BadRequest
from shared.core.states import Status, event_type
from shared.json_text import InvalidJson

MAX_BODY = 8_388_608  # bytes
MAX_WEBHOOK = 65_536  # bytes of a webhook of the upstream. It names a response, and does not have it
MAX_DEPTH = 100
MAX_ITEMS = 10_000
MAX_MODEL = 256  # characters
EVENTS = tuple(event_type(status) for status in Status if status.is_terminal)
_ENCRYPTED = "reasoning.encrypted_content"
_OURS = ("callback_url", "callback_events", "reply_to", "on_disconnect")
QUEUE = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
ON_DISCONNECT = ("continue", "cancel")
TARGETS = ("callback", "reply_queue")
# JSON needs six characters for each of these, so sixteen pairs of them would not fit into a property of the table.
_CONTROLS = re.compile(r"[\x00-\x07\x0b\x0e-\x1f]")


@dataclass(frozen=True, slots=True)
class NewResponse:
    """A checked request. `body` is the object as the caller sent it, and `raw` its bytes.

    `previous` is the id or the continuation token of the response that this one continues.
    """

    body: dict[str, Any] = field(repr=False)
    raw: bytes = field(repr=False)
    background: bool
    stream: bool
    store: bool
    model: str | None
    metadata: dict[str, str] | None
    previous: str | None
    callback_url: str | None = field(repr=False)
    reply_to: str | None
    callback_events: tuple[str, ...] = ()  # the event types that the callback gets, or empty for all
    include: tuple[str, ...] = ()  # what the upstream is asked to add to its answers
    cancels: bool = False  # the work ends when the client of a foreground call leaves

    def for_upstream(self, previous_upstream_id: str | None, *, in_background: bool = True) -> dict[str, Any]:
        """Return the body for the upstream, without our fields and with its id of the previous response.

        A background upstream is asked to store the work, because it could not be polled otherwise. The exception is a
        caller without storage who asks for encrypted reasoning. A foreground upstream gets the caller's `store`.
        """
        sent = {name: value for name, value in self.body.items() if name not in (*_OURS, "previous_response_id")}
        if in_background:
            sent |= {"background": True, "store": self.store or _ENCRYPTED not in self.include}
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

    def canonical_body(self) -> bytes:
        """Return the body as text that does not depend on blanks, nor on the order of the members of an object.

        Codex writes the members of `client_metadata` in another order on each try.
        """
        return orjson.dumps(self.body, option=orjson.OPT_SORT_KEYS)


def parse_request(raw: bytes) -> NewResponse:
    """Return the request that a body of at most 8 MiB contains. The caller checks the size.

    Raises BadRequest, which names the field that is wrong.
    """
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
        model=_text(body, "model", MAX_MODEL),
        metadata=metadata,
        previous=previous,
        callback_url=_text(body, "callback_url", 2048) or (metadata or {}).get("callback_url"),
        reply_to=_queue(_text(body, "reply_to", 63) or (metadata or {}).get("reply_to")),
        callback_events=_events(body, metadata or {}),
        include=parameters.known_includes(body.get("include")),
        cancels=_on_disconnect(body, metadata or {}) == "cancel",
    )


def reply_queue_in(request: object) -> str | None:
    """Return the reply queue that a request names which may be wrong otherwise, or None. See `parse_request`."""
    if not isinstance(request, dict):
        return None
    named, metadata = request.get("reply_to"), request.get("metadata")
    if named is None and isinstance(metadata, dict):
        named = metadata.get("reply_to")
    return named if isinstance(named, str) and is_queue_name(named) else None


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return the object in the body of a call that is passed on. An empty body is an empty object.

    Raises BadRequest.
    """
    return _object(raw) if raw else {}


def _object(raw: bytes) -> dict[str, Any]:
    if not raw:
        raise BadRequest("The request has no body; a JSON object was expected.", code="invalid_json")
    if limit := json_text.excess(raw, json_text.OF_REQUESTS):
        raise BadRequest(f"The body may hold at most {limit}.", code="invalid_value")
    try:
        body = json_text.read(raw)  # a large number keeps its digits on the way to the upstream
    except InvalidJson as error:
        raise BadRequest(f"The body is not valid JSON: {error.msg}.", code="invalid_json") from None
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object.", code="invalid_type")
    if json_text.openings(raw) > MAX_DEPTH:
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


def is_queue_name(name: str) -> bool:
    """Return whether storage could have a queue of this name.

    https://learn.microsoft.com/rest/api/storageservices/naming-queues-and-metadata
    """
    return QUEUE.fullmatch(name) is not None


def _queue(name: str | None) -> str | None:
    if name is not None and not is_queue_name(name):
        raise BadRequest(
            "'reply_to' must be a queue name: 3 to 63 lower-case letters, digits and single hyphens.",
            param="reply_to",
            code="invalid_value",
        )
    return name


def _events(body: dict[str, Any], metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the event types that the callback gets. In the metadata they are one string, separated by commas."""
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


def _on_disconnect(body: dict[str, Any], metadata: Mapping[str, str]) -> str:
    """Return what becomes of the work when the client of a foreground call leaves: `continue` or `cancel`."""
    given = _text(body, "on_disconnect", 16) or metadata.get("on_disconnect", "continue")
    if given not in ON_DISCONNECT:
        raise BadRequest("'on_disconnect' must be 'continue' or 'cancel'.", param="on_disconnect", code="invalid_value")
    return given


def parse_redelivery(raw: bytes) -> str | None:
    """Return the target that the body of a redelivery names, or None for all targets.

    An empty body means all targets. Raises BadRequest for an unknown target.
    """
    target = _object(raw).get("target") if raw else None
    if target not in (None, *TARGETS):
        raise BadRequest("'target' must be 'callback' or 'reply_queue'.", param="target", code="invalid_value")
    return target


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
