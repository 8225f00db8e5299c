"""Reads the HTTP answers of an upstream as progress, as events of a stream, or as errors."""

import time
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from shared.core import blobs
from shared.core.backoff import parse_retry_after
from shared.core.errors import (
    UpstreamBroken,
    UpstreamInvalid,
    UpstreamMissing,
    UpstreamOversized,
    UpstreamRefused,
    UpstreamUnavailable,
)
from shared.core.states import Status
from shared.telemetry.logs import logger
from shared.upstreams import decoding
from shared.upstreams.protocol import AGENT_PREFIX, Progress, UpstreamEvent, is_id

MAX_ANSWER = 33_554_432  # bytes
MAX_DEPTH = 200
MAX_CONTAINERS = 1_000_000  # objects and lists, of which each takes 60 bytes of memory and 2 of the answer
MAX_NUMBER = 10**10
_REFUSALS = frozenset({400, 404, 405, 413, 415, 422})

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Success:
    """A 2xx answer: its whole body, and the wait that its Retry-After asks for, in seconds."""

    content: bytes = field(repr=False)
    retry_after_s: float | None


def progress_in(answer: Success) -> Progress:
    """Return the progress that a response object shows. Its id is the token until its status is terminal.

    Raises UpstreamInvalid if the body is not a response object, or is unfinished and has no id to ask for. Raises
    UpstreamOversized if it is nested too deeply.
    """
    body = parse_object(answer.content)
    upstream_id = body.get("id") if _is_usable(body.get("id")) else None
    try:
        status = Status(str(body.get("status")))
    except ValueError:
        raise UpstreamInvalid from None
    if upstream_id is None and not status.is_terminal:
        raise UpstreamInvalid
    return Progress(status, None if status.is_terminal else upstream_id, body, upstream_id, answer.retry_after_s)


def parse_event(text: str) -> UpstreamEvent:
    """Return the event in the `data` of a server-sent event.

    An id of a response that cannot be asked for is left out. Raises UpstreamBroken if it is not a JSON object, and
    UpstreamOversized if it is nested too deeply.
    """
    try:
        data = parse_object(text)
    except UpstreamInvalid:
        raise UpstreamBroken("an event is not a JSON object") from None
    answer = data.get("response")
    if isinstance(answer, dict) and not _is_usable(answer.get("id")):
        data["response"] = {**answer, "id": None}
    number = data.get("sequence_number")
    return UpstreamEvent(number if isinstance(number, int) and 0 <= number < MAX_NUMBER else None, data)


def whole_event(answer: dict[str, Any]) -> UpstreamEvent:
    """Return a JSON answer, a response object without a stream, as one event."""
    return UpstreamEvent(None, {"type": f"response.{answer.get('status')}", "response": answer}, is_whole=True)


def parse_object(content: bytes | str) -> dict[str, Any]:
    """Return a JSON object.

    Raises UpstreamInvalid if the content is not a JSON object. Raises UpstreamOversized if it has over 200 levels, or
    over a million objects and lists.
    """
    if _brackets(content) > MAX_CONTAINERS:
        raise UpstreamOversized
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise UpstreamInvalid from None
    if not isinstance(body, dict):
        raise UpstreamInvalid
    if blobs.is_deeper(body, MAX_DEPTH):
        raise UpstreamOversized
    return body


def _brackets(content: bytes | str) -> int:
    if isinstance(content, str):
        return content.count("{") + content.count("[")
    return content.count(b"{") + content.count(b"[")


def _is_usable(name: object) -> bool:
    """Return whether an id leads to this upstream: none that an agent's token could be."""
    return is_id(name) and not str(name).startswith(AGENT_PREFIX)


async def read_bounded(response: httpx.Response) -> bytes:
    """Return the whole body, decompressed. Raise UpstreamOversized if it is over 32 MiB."""
    async with aclosing(decoding.decoded(response, MAX_ANSWER)) as pieces:
        return b"".join([piece async for piece in pieces])


def is_event_stream(response: httpx.Response) -> bool:
    """Return whether the content type of an answer is `text/event-stream`."""
    kind: str = response.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower() == "text/event-stream"


def check_status(response: httpx.Response, content: bytes, *, missing: bool) -> Success:
    """Return the answer if its status is a 2xx, or raise the error that its status means.

    400, 404, 405, 413, 415 and 422 raise UpstreamRefused. With `missing`, a 404 is about the response that was asked
    for, and raises UpstreamMissing. Every other status raises UpstreamUnavailable, with the wait of its Retry-After.
    """
    wait_s = parse_retry_after(response.headers.get("retry-after"), int(time.time() * 1000))
    status = response.status_code
    if status == 404 and missing:
        raise UpstreamMissing
    if status in _REFUSALS:
        raise _refusal(status, content)
    if not response.is_success:
        if status in (401, 403):
            _log.error("upstream.credentials_refused", extra={"status": status})
        raise UpstreamUnavailable(f"status {status}", retry_after_s=wait_s)
    return Success(content, wait_s)


def _refusal(status: int, content: bytes) -> UpstreamRefused:
    """Return the refusal, with the upstream's own message if the body is OpenAI's error envelope."""
    try:
        error = orjson.loads(content)["error"]
        message, param, code = _text(error["message"]), error.get("param"), error.get("code")
    except (ValueError, KeyError, TypeError, AttributeError):
        message, param, code = None, None, None
    message = message or f"The upstream refused the request with status {status}."
    return UpstreamRefused(status, message, param=_text(param), code=_text(code))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
