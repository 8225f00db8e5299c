"""What an upstream's HTTP answers mean: a step, an event of a stream, or one of the errors."""

import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from shared.core import blobs
from shared.core.backoff import retry_after_s
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
from shared.upstreams.protocol import MAX_ID, Sent, Step

MAX_ANSWER = 33_554_432
MAX_DEPTH = 200
MAX_NUMBER = 10**10
_REFUSALS = frozenset({400, 404, 405, 413, 415, 422})

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx, read whole."""

    content: bytes = field(repr=False)
    retry_after_s: float | None


def step(answer: Answer) -> Step:
    """Return what a response object says of the work."""
    body = object_of(answer.content)
    upstream_id = body.get("id")
    try:
        status = Status(str(body.get("status")))
    except ValueError:
        raise UpstreamInvalid from None
    if not isinstance(upstream_id, str) or not 0 < len(upstream_id) <= MAX_ID:
        raise UpstreamInvalid
    return Step(status, None if status.is_terminal else upstream_id, body, upstream_id, answer.retry_after_s)


def sent(text: str) -> Sent:
    """Return the event that a message of the stream is; what is no JSON object breaks the stream."""
    try:
        data = object_of(text)
    except UpstreamInvalid:
        raise UpstreamBroken("an event is not a JSON object") from None
    number = data.get("sequence_number")
    return Sent(number if isinstance(number, int) and 0 <= number < MAX_NUMBER else None, data)


def whole(answer: dict[str, Any]) -> Sent:
    """Return the one event that an answer without a stream amounts to."""
    return Sent(None, {"type": f"response.{answer.get('status')}", "response": answer}, whole=True)


def object_of(content: bytes | str) -> dict[str, Any]:
    """Return a JSON object; raise UpstreamInvalid if it is none, UpstreamOversized if it is too deep to be written."""
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise UpstreamInvalid from None
    if not isinstance(body, dict):
        raise UpstreamInvalid
    if blobs.is_deeper(body, MAX_DEPTH):
        raise UpstreamOversized
    return body


async def bounded(response: httpx.Response) -> bytes:
    """Return the whole body, if it is not over the limit."""
    chunks, size = [], 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > MAX_ANSWER:
            raise UpstreamOversized
        chunks.append(chunk)
    return b"".join(chunks)


def is_stream(response: httpx.Response) -> bool:
    """Say whether an answer is server-sent events."""
    kind: str = response.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower() == "text/event-stream"


def judged(response: httpx.Response, content: bytes, *, missing: bool) -> Answer:
    """Return the answer, or raise what its status means."""
    wait_s = retry_after_s(response.headers.get("retry-after"), int(time.time() * 1000))
    status = response.status_code
    if status == 404 and missing:
        raise UpstreamMissing
    if status in _REFUSALS:
        raise _refusal(status, content)
    if not response.is_success:
        if status in (401, 403):
            _log.error("upstream.credentials_refused", extra={"status": status})
        raise UpstreamUnavailable(f"status {status}", retry_after_s=wait_s)
    return Answer(content, wait_s)


def _refusal(status: int, content: bytes) -> UpstreamRefused:
    """Return the upstream's own words about the request, as far as they have OpenAI's form."""
    try:
        error = orjson.loads(content)["error"]
        message, param, code = _text(error["message"]), error.get("param"), error.get("code")
    except (ValueError, KeyError, TypeError, AttributeError):
        message, param, code = None, None, None
    message = message or f"The upstream refused the request with status {status}."
    return UpstreamRefused(status, message, param=_text(param), code=_text(code))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
