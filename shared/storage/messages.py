"""The messages of our own queues: what they contain, and how they are encoded and decoded.

    nudges       {"shards": "0a", "at": 1800000000, "until": 1800000060}   Wakeup
    deliveries   {"alarm": "alarm|..."}                                    DeliverNow, only of an older release
    runs         {"response": "resp_...", "epoch": 2}                      RunOffer
    requests     {"request": {...}, "reply_to": ..., ...}                  QueuedRequest

A message that cannot be read raises UnreadableMessage, which carries the bytes. Unknown members are ignored, so an
older version reads what a newer one sends.

Our own messages have no member that is named as the platform names what it knows of a message: id, dequeueCount,
expirationTime, insertionTime, nextVisibleTime, popReceipt, in any case of letters. A trigger that takes text would put
the member in place of that. Earlier releases used `id` in offers and in requests that they sent again. These are still
read, but such a release takes a request that this one sent again for a new one. So let `requests` run empty before the
deployment that replaces it.
"""

import codecs
from dataclasses import dataclass, field
from typing import Any

import orjson

from shared import json_text
from shared.contract.requests import MAX_DEPTH, reply_queue_in
from shared.contract.responses import MAX_MESSAGE
from shared.core import blobs
from shared.core.alarms import alarm_of
from shared.core.errors import BadRequest, UnreadableMessage
from shared.core.ids import SHARDS, derived_id, is_id, shard_of
from shared.json_text import InvalidJson

WAKEUPS = "nudges"
DELIVERIES = "deliveries"
RUNS = "runs"
REQUESTS = "requests"
INTERNAL = (WAKEUPS, DELIVERIES, RUNS, REQUESTS)
PLATFORM = "azure-webjobs-"  # how the queues begin that the platform keeps for itself
POISON = "-poison"  # the platform's suffix for the queue of messages that a trigger gave up

FIRST_MESSAGE = "first_message"
MAX_NAME = 256  # characters of `id`, `reply_to` and `correlation_id`
_SPACE = b" \t\r\n"  # of JSON
MAX_REQUEST = 46_000  # bytes. With what is added when it is sent again, it fits into 64 KiB of base64.
MAX_UNREAD = 8_192  # characters that are kept of a message that cannot be read
_MAX_REASON, _MAX_TRACE = 500, 256  # characters
_MAX_CUT = 7_000  # characters of a request that has no room. A control character takes six bytes


@dataclass(frozen=True, slots=True)
class Wakeup:
    """A hint to sweep one or more shards at a time. Times are unix seconds. Earlier releases named one `shard`.

    Before `until_s` each sweep sends another wake-up even if nothing was due.
    """

    shards: str  # one hex digit for each, in order
    at_s: int
    until_s: int = 0

    def encode(self) -> bytes:
        """Return the message as JSON."""
        until = {"until": self.until_s} if self.until_s else {}
        return orjson.dumps({"shards": self.shards, "at": self.at_s, **until})

    @classmethod
    def decode(cls, body: bytes) -> "Wakeup":
        """Return the wake-up in a message. Raises UnreadableMessage."""
        match {"until": 0} | _object(body):
            case {"shards": str(shards), "at": int(at_s), "until": int(until_s)} if _are_shards(shards):
                return cls(shards, at_s, until_s)
            case {"shard": str(shard), "at": int(at_s), "until": int(until_s)} if len(shard) == 1 and shard in SHARDS:
                return cls(shard, at_s, until_s)
        raise UnreadableMessage("not shards and a time", body)


def _are_shards(text: str) -> bool:
    return bool(text) and set(text) <= set(SHARDS) and len(set(text)) == len(text)


@dataclass(frozen=True, slots=True)
class DeliverNow:
    """A hint to make the delivery attempt of an alarm at once. Older releases sent it. Only `dead_letters` reads it."""

    alarm_key: str

    @property
    def shards(self) -> str:
        """The shard of the alarm."""
        return shard_of(alarm_of(self.alarm_key).id)

    @classmethod
    def decode(cls, body: bytes) -> "DeliverNow":
        """Return the hint in a message. Raises UnreadableMessage."""
        key = _object(body).get("alarm")
        try:
            return cls(alarm_of(str(key)).key)
        except ValueError:
            raise UnreadableMessage("not the key of an alarm", body) from None


@dataclass(frozen=True, slots=True)
class RunOffer:
    """An offer to drive a run, for one epoch only."""

    id: str
    epoch: int

    @property
    def shards(self) -> str:
        """The shard of the response."""
        return shard_of(self.id)

    def encode(self) -> bytes:
        """Return the message as JSON."""
        return orjson.dumps({"response": self.id, "epoch": self.epoch})

    @classmethod
    def decode(cls, body: bytes) -> "RunOffer":
        """Return the offer in a message. Raises UnreadableMessage."""
        match _object(body):
            case {"response": str(response_id), "epoch": int(epoch)} | {
                "id": str(response_id),
                "epoch": int(epoch),
            } if is_id(response_id):
                return cls(response_id, epoch)
        raise UnreadableMessage("not a response and an epoch", body)


HINTS: dict[str, type[Wakeup | DeliverNow | RunOffer]] = {WAKEUPS: Wakeup, DELIVERIES: DeliverNow, RUNS: RunOffer}
"""The queues whose messages are only hints. Each message names shards, and sweeps of these find what is due."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a queued request was moved to the poison queue. It names no reply queue that is allowed."""

    reason: str
    code: str | None


@dataclass(frozen=True, slots=True)
class QueuedRequest:
    """A request that came by queue, as far as it can be read. `wrong` is the first error in it.

    {"request": {...}, "reply_to": "queue", "correlation_id": "...", "id": "...", "traceparent": "..."}

    `id` is the sender's. In a message that we have sent again, `first_message` is the id of the sender's message.
    """

    id: str  # all copies of a message share it: the sender's id, or else the id of the first message
    request: dict[str, Any] = field(repr=False)  # or the text of the message as `input`, if it is unreadable
    reply_to: str | None = None
    correlation_id: str | None = None
    traceparent: str = ""
    returned: bool = False  # it was in the poison queue before
    wrong: BadRequest | None = None
    rejected: Rejection | None = None

    @property
    def response_id(self) -> str:
        """The id of the one response that the message and its copies start."""
        return derived_id(REQUESTS.encode(), self.id.encode())

    @classmethod
    def read(cls, message_id: str, body: bytes) -> "QueuedRequest":
        """Return the request in a message. Never raises, because the sender must learn what is wrong."""
        body = _unmarked(body)
        said, wrong = _loaded(body)
        members = said if isinstance(said, dict) else {}
        rejected, request = _rejection(members.get("rejected")), members.get("request")
        unread = {"input": body.decode(errors="replace")[:MAX_UNREAD]}
        is_deep = blobs.is_deeper(request, MAX_DEPTH)  # and could not be written again
        is_readable = not is_deep and (not wrong or rejected is not None)
        names = {name: members.get(name) for name in ("id", FIRST_MESSAGE, "reply_to", "correlation_id")}
        bad = [name for name, value in names.items() if not _is_name(value)]
        good = {name: value for name, value in names.items() if name not in bad}
        return cls(
            good.get("id") or good.get(FIRST_MESSAGE) or message_id,
            request if isinstance(request, dict) and is_readable else unread,
            reply_to=good.get("reply_to") or reply_queue_in(request),
            correlation_id=good.get("correlation_id"),
            traceparent=_text(members.get("traceparent")),
            returned=members.get("returned") is True,
            wrong=wrong or _wrong_member(bad, request, is_deep=is_deep),
            rejected=rejected,
        )


def returned_request(message_id: str, body: bytes) -> bytes:
    """Return the body that sends a request from the poison queue to its queue once more.

    It carries the id of the first message. Raises UnreadableMessage if `body` is not a JSON object.
    """
    return _with_members(body, message_id, {"returned": True})


def requeued_request(message_id: str, body: bytes) -> bytes:
    """Return the body that sends a request to the end of its queue.

    It carries the id of the first message. Raises UnreadableMessage if `body` is not a JSON object.
    """
    return _with_members(body, message_id, {})


def _with_members(body: bytes, message_id: str, members: dict[str, Any]) -> bytes:
    """Return a JSON object with more members, and the id of its first message.

    They stand behind the bytes as they are, and the last of two members counts. Written again, `1e15` would take five
    times its place.
    """
    text, known = _unmarked(body).strip(_SPACE), _object(body)
    first = {} if known.get(FIRST_MESSAGE) else {FIRST_MESSAGE: message_id}
    added = {name: value for name, value in (first | members).items() if known.get(name) != value}
    return text if not added else text[:-1] + (b"," if known else b"") + orjson.dumps(added)[1:]


def rejected_request(queued: QueuedRequest, rejection: Rejection) -> bytes:
    """Return the body that moves a request to the poison queue, with the reason.

    Of a request that has no room in a message, it has the beginning of its text.
    """
    members = {
        FIRST_MESSAGE: queued.id,
        "request": queued.request,
        "rejected": {"reason": rejection.reason[:_MAX_REASON], "code": rejection.code},
        "traceparent": queued.traceparent,
    }
    whole = orjson.dumps(members)
    if len(whole) <= MAX_MESSAGE:
        return whole
    text = orjson.dumps(queued.request).decode()
    return orjson.dumps({**members, "request": {"input": text[:_MAX_CUT]}})


def _unmarked(body: bytes) -> bytes:
    """Return a message without its byte order mark, in UTF-8. Senders on .NET and Windows write one."""
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16", errors="replace").encode()
    return body.removeprefix(codecs.BOM_UTF8)


def _object(body: bytes) -> dict[str, Any]:
    if limit := json_text.excess(body, json_text.OF_REQUESTS):
        raise UnreadableMessage(f"over {limit}", body)
    try:
        loaded = json_text.read(_unmarked(body))
    except InvalidJson:
        raise UnreadableMessage("not valid JSON", body) from None
    if not isinstance(loaded, dict):
        raise UnreadableMessage("not a JSON object", body)
    return loaded


def _loaded(body: bytes) -> tuple[object, BadRequest | None]:
    """Return the JSON value of a message, and the error in the message as a whole, or None."""
    if limit := json_text.excess(body, json_text.OF_REQUESTS):
        return None, BadRequest(f"The message may hold at most {limit}.", code="invalid_value")
    try:
        said = json_text.read(body)
    except InvalidJson:
        return None, BadRequest("The message is not valid JSON.", code="invalid_json")
    if len(body) > MAX_REQUEST:
        return said, BadRequest(f"The message is over {MAX_REQUEST} bytes.", code="too_large")
    wrong = None if isinstance(said, dict) else BadRequest("The message must be a JSON object.", code="invalid_type")
    return said, wrong


def _wrong_member(bad: list[str], request: object, *, is_deep: bool) -> BadRequest | None:
    if bad:
        text = f"'{bad[0]}' must be a string of 1 to {MAX_NAME} characters."
        return BadRequest(text, param=bad[0], code="invalid_type")
    if is_deep:
        text = f"'request' is nested deeper than {MAX_DEPTH}."
        return BadRequest(text, param="request", code="invalid_value")
    if isinstance(request, dict):
        return None
    return BadRequest("'request' must be an object.", param="request", code="invalid_type")


def _rejection(said: object) -> Rejection | None:
    match said:
        case {"reason": str(reason), "code": str() | None as code, **others} if not others:
            return Rejection(reason, code)
    return None


def _is_name(value: object) -> bool:
    return value is None or (isinstance(value, str) and 0 < len(value) <= MAX_NAME)


def _text(value: object) -> str:
    """Return a trace, or nothing: no request fails because of one that cannot be read."""
    return value if isinstance(value, str) and len(value) <= _MAX_TRACE else ""
