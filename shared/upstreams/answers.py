"""Reads the HTTP answers of an upstream as progress, as events of a stream, or as errors."""

import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from shared.core import blobs
from shared.core.backoff import parse_retry_after
from shared.core.errors import (
    UpstreamBroken,
    UpstreamFailed,
    UpstreamInvalid,
    UpstreamMissing,
    UpstreamOversized,
    UpstreamRefused,
    UpstreamUnavailable,
    UpstreamUncertain,
)
from shared.core.states import Status
from shared.telemetry.logs import logger
from shared.upstreams import tries
from shared.upstreams.protocol import MAX_ID, Progress, UpstreamEvent
from shared.upstreams.tries import Meaning

MAX_ANSWER = 33_554_432  # bytes
MAX_DEPTH = 200
MAX_NUMBER = 10**10
# What a call about existing work is refused with. A create is read by the table in `tries`.
_REFUSALS = frozenset({400, 404, 405, 413, 415, 422})

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Success:
    """A 2xx answer: its whole body, and the wait that its Retry-After asks for, in seconds."""

    content: bytes = field(repr=False)
    retry_after_s: float | None


def progress_in(answer: Success) -> Progress:
    """Return the progress that a response object shows. Its id is the token until its status is terminal.

    Raises UpstreamInvalid if the body is not a response object, UpstreamFailed if it is an error instead, and
    UpstreamOversized if it is nested too deeply.
    """
    body = parse_object(answer.content)
    check_reported(body)
    upstream_id = body.get("id")
    try:
        status = Status(str(body.get("status")))
    except ValueError:
        raise UpstreamInvalid from None
    if not isinstance(upstream_id, str) or not 0 < len(upstream_id) <= MAX_ID:
        raise UpstreamInvalid
    return Progress(status, None if status.is_terminal else upstream_id, body, upstream_id, answer.retry_after_s)


def parse_event(text: str) -> UpstreamEvent:
    """Return the event in the `data` of a server-sent event.

    Raises UpstreamBroken if it is not a JSON object, UpstreamFailed if it is an error without a type, and
    UpstreamOversized if it is nested too deeply.
    """
    try:
        data = parse_object(text)
    except UpstreamInvalid:
        raise UpstreamBroken("an event is not a JSON object") from None
    check_reported(data)
    number = data.get("sequence_number")
    return UpstreamEvent(number if isinstance(number, int) and 0 <= number < MAX_NUMBER else None, data)


def check_reported(body: dict[str, Any]) -> None:
    """Raise UpstreamFailed if the upstream has answered with an error object in place of what was asked for."""
    error = body.get("error")
    if isinstance(error, dict) and error and "status" not in body and "type" not in body:
        raise UpstreamFailed(
            str(error.get("code") or "server_error")[:100],
            str(error.get("message") or "The upstream gave no reason.")[:2_000],
            param=_text(error.get("param")),
            kind=_text(error.get("type")),
        )


def whole_event(answer: dict[str, Any]) -> UpstreamEvent:
    """Return a JSON answer, a response object without a stream, as one event."""
    return UpstreamEvent(None, {"type": f"response.{answer.get('status')}", "response": answer}, is_whole=True)


def parse_object(content: bytes | str) -> dict[str, Any]:
    """Return a JSON object.

    Raises UpstreamInvalid if the content is not a JSON object, and UpstreamOversized if it has over 200 levels.
    """
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise UpstreamInvalid from None
    if not isinstance(body, dict):
        raise UpstreamInvalid
    if blobs.is_deeper(body, MAX_DEPTH):
        raise UpstreamOversized
    return body


async def read_bounded(response: httpx.Response) -> bytes:
    """Return the whole body. Raise UpstreamOversized if it is over 32 MiB."""
    chunks, size = [], 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > MAX_ANSWER:
            raise UpstreamOversized
        chunks.append(chunk)
    return b"".join(chunks)


def is_event_stream(response: httpx.Response) -> bool:
    """Return whether the content type of an answer is `text/event-stream`."""
    kind: str = response.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower() == "text/event-stream"


def check_status(response: httpx.Response, content: bytes, *, missing: bool) -> Success:
    """Return the answer if its status is a 2xx, or raise the error that its status means.

    For a create, the table in `tries` decides between UpstreamRefused, UpstreamUnavailable and UpstreamUncertain. With
    `missing`, the call is about existing work: a 404 raises UpstreamMissing, 400, 405, 413, 415 and 422 raise
    UpstreamRefused, and every other status raises UpstreamUnavailable. Errors have the wait of the Retry-After header.
    """
    wait_s = parse_retry_after(response.headers.get("retry-after"), int(time.time() * 1000))
    status = response.status_code
    if response.is_success:
        return Success(content, wait_s)
    if status in (401, 403):
        _log.error("upstream.credentials_refused", extra={"status": status})
    if status == 404 and missing:
        raise UpstreamMissing
    error = _error_in(content)
    if _meaning(status, error, missing=missing) is Meaning.END:
        raise _refusal(status, error)
    if _meaning(status, error, missing=missing) is Meaning.COUNTED:
        code, message = _text(error.get("code")), _text(error.get("message"))
        raise UpstreamUncertain(f"status {status}", retry_after_s=wait_s, code=code, message=message)
    raise UpstreamUnavailable(f"status {status}", retry_after_s=wait_s)


def _meaning(status: int, error: dict[str, Any], *, missing: bool) -> Meaning:
    if missing:
        return Meaning.END if status in _REFUSALS else Meaning.FREE
    return tries.of_status(status, f"{error.get('code')} {error.get('type')}")


def _error_in(content: bytes) -> dict[str, Any]:
    """Return the error in OpenAI's envelope, or nothing if the body is in another form."""
    try:
        error = orjson.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}


def _refusal(status: int, error: dict[str, Any]) -> UpstreamRefused:
    """Return the refusal, with the upstream's own message if the body is OpenAI's error envelope."""
    message = _text(error.get("message"))
    return UpstreamRefused(
        status,
        message or f"The upstream refused the request with status {status}.",
        param=_text(error.get("param")) if message else None,
        code=_text(error.get("code")) if message else None,
        kind=_text(error.get("type")) if message else None,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
