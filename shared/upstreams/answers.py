"""Reads the HTTP answers of an upstream as progress, or as errors."""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpx

from shared import json_text
from shared.contract import upstream_errors, upstream_events
from shared.contract.upstream_errors import MAX_DEPTH, ReportedError
from shared.core import blobs
from shared.core.backoff import parse_retry_after
from shared.core.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamFailed,
    UpstreamInvalid,
    UpstreamMissing,
    UpstreamOversized,
    UpstreamRedirected,
    UpstreamRefused,
    UpstreamUnavailable,
    UpstreamUncertain,
    UpstreamUndecodable,
    UpstreamUnnamed,
)
from shared.core.states import Status, WaitReason
from shared.json_text import InvalidJson
from shared.telemetry.logs import logger
from shared.upstreams import decoding, tries
from shared.upstreams.protocol import AGENT_PREFIX, Progress, UpstreamEvent, is_id
from shared.upstreams.tries import Meaning

MAX_ANSWER = 33_554_432  # bytes
# What a call about existing work is refused with. A create is read by the table in `tries`.
_REFUSALS = frozenset({400, 405, 409, 413, 415, 422, 501})

_SLASHES = frozenset("/\\")

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Success:
    """A 2xx answer: its whole body, and the wait that its Retry-After asks for, in seconds."""

    content: bytes = field(repr=False)
    retry_after_s: float | None


def progress_in(answer: Success, asked: str | None = None) -> Progress:
    """Return the progress that a response object shows. Its id is the token until its status is terminal.

    `asked` is the token that was asked for, which counts if the object has no id of its own.
    Raises UpstreamFailed if the body is an error instead, UpstreamInvalid if it is anything else, UpstreamUnnamed if it
    is unfinished and has no id to ask for, and UpstreamOversized if it is nested too deeply.
    """
    body = response_in(answer.content)
    status = Status(body["status"])
    upstream_id = body.get("id") if _is_usable(body.get("id")) else asked
    if upstream_id is None and not status.is_terminal:
        raise UpstreamUnnamed
    return Progress(status, None if status.is_terminal else upstream_id, body, upstream_id, answer.retry_after_s)


def response_in(content: bytes) -> dict[str, Any]:
    """Return the response object in a body, which has a status of the contract. Raises as `progress_in`."""
    body = _parse(content)
    if found := upstream_events.response_in(body):
        return _with_text_id(found)
    if reported := upstream_errors.error_in_result(body):
        raise failed(reported)
    raise UpstreamInvalid


def _with_text_id(answer: dict[str, Any]) -> dict[str, Any]:
    """Return a response object whose id is a text, also if it is a number."""
    name = answer.get("id")
    return {**answer, "id": str(name)} if isinstance(name, int) and not isinstance(name, bool) else answer


def failed(reported: ReportedError) -> UpstreamFailed:
    """Return the exception for an error that the upstream tells in words."""
    return UpstreamFailed(
        reported.code or reported.type or "server_error",
        reported.message or "The upstream gave no reason.",
        param=reported.param,
        kind=reported.type,
    )


def check_reported(event: UpstreamEvent) -> None:
    """Raise UpstreamFailed if an event reports an error."""
    if reported := upstream_errors.error_in_event(event.data):
        raise failed(reported)


def whole_event(content: bytes) -> UpstreamEvent:
    """Return the JSON answer of an upstream that did not stream, a response object, as one event.

    Raises as `progress_in`, but needs no id.
    """
    answer = with_usable_id(response_in(content))
    return UpstreamEvent(None, {"type": f"response.{answer['status']}", "response": answer}, is_whole=True)


def parse_object(content: bytes | str) -> dict[str, Any]:
    """Return a JSON object, in the tolerant reading.

    Raises UpstreamInvalid if the content is not a JSON object. Raises UpstreamOversized if it has over 200 levels, or
    more than `json_text.OF_ANSWERS` allows.
    """
    body = _parse(content)
    if not isinstance(body, dict):
        raise UpstreamInvalid
    return body


def _parse(content: bytes | str) -> Any:
    if limit := json_text.excess(content, json_text.OF_ANSWERS):
        raise UpstreamOversized(f"The upstream's answer holds more than {limit}.")
    try:
        body = json_text.read_tolerantly(content)
    except InvalidJson:
        raise UpstreamInvalid from None
    if json_text.openings(content) > MAX_DEPTH and blobs.is_deeper(body, MAX_DEPTH):
        raise UpstreamOversized
    return body


def _is_usable(name: object) -> bool:
    """Return whether an id leads to this upstream, and to a response there.

    An agent's token could have the prefix. Some servers take an escaped slash for the end of a segment of the path, and
    so the id could lead to anything else that our credentials open.
    """
    return is_id(name) and not str(name).startswith(AGENT_PREFIX) and not _SLASHES & set(str(name))


def with_usable_id(answer: dict[str, Any]) -> dict[str, Any]:
    """Return a response object whose id is None if it cannot be asked for."""
    answer = _with_text_id(answer)
    return answer if "id" not in answer or _is_usable(answer["id"]) else {**answer, "id": None}


async def read_bounded(response: httpx.Response) -> bytes:
    """Return the whole body, decompressed. Raise UpstreamOversized if it is over 32 MiB."""
    async with aclosing(decoding.decoded(response, MAX_ANSWER)) as pieces:
        return await gathered(pieces)


async def gathered(chunks: AsyncIterator[bytes]) -> bytes:
    """Return the chunks of a body as one. Raise UpstreamOversized if it is over 32 MiB."""
    found = bytearray()  # a list of chunks of one byte each would take fifty times their place
    async for chunk in chunks:
        if len(found) + len(chunk) > MAX_ANSWER:
            raise UpstreamOversized
        found += chunk
    return bytes(found)


def check_status(response: httpx.Response, content: bytes, *, missing: bool) -> Success:
    """Return the answer if its status is a 2xx, or raise the error that its status means.

    For a create, the table in `tries` decides between UpstreamRefused, UpstreamUnavailable and UpstreamUncertain. With
    `missing`, the call is about existing work: a 404 or 410 raises UpstreamMissing, a redirect UpstreamRedirected, 400,
    405, 409, 413, 415, 422 and 501 UpstreamRefused, and every other status UpstreamUnavailable. Errors have the wait of
    the Retry-After header.
    """
    wait_s = parse_retry_after(response.headers.get("retry-after"), int(time.time() * 1000))
    status = response.status_code
    if response.is_success:
        return Success(content, wait_s)
    if status in (401, 403):
        _log.error("upstream.credentials_refused", extra={"status": status})
    if response.is_redirect:
        # no later try changes that: an operator has to set the new address
        _log.error("upstream.redirected", extra={"status": status})
        if missing:
            raise UpstreamRedirected
    if status in (404, 410) and missing:
        raise UpstreamMissing
    reported = upstream_errors.error_in_answer(content) or ReportedError()
    meaning = _meaning(status, reported, missing=missing)
    if meaning is Meaning.END:
        raise _refusal(status, reported)
    if meaning is Meaning.COUNTED:
        message = reported.message or None
        raise UpstreamUncertain(f"status {status}", retry_after_s=wait_s, code=reported.code, message=message)
    raise UpstreamUnavailable(f"status {status}", retry_after_s=wait_s, waits_for=_waits_for(status))


def check_stream(response: httpx.Response, content: bytes, *, missing: bool) -> None:
    """Raise the error that the status of a stream's answer means, as `check_status`. It is no success.

    A stream of existing work that is answered so, and not by overload, is a broken one. Its work can still be polled.
    """
    status = response.status_code
    known = response.is_redirect or status in (404, 410) or status in _REFUSALS
    if missing and not known and tries.of_status(status) is not Meaning.FREE:
        raise UpstreamBroken(f"status {status}")
    check_status(response, content, missing=missing)


def _waits_for(status: int) -> WaitReason:
    if status in (401, 403):
        return WaitReason.CREDENTIALS
    return WaitReason.RATE_LIMIT if status == 429 else WaitReason.UPSTREAM_DOWN


def _meaning(status: int, reported: ReportedError, *, missing: bool) -> Meaning:
    if missing:
        return Meaning.END if status in _REFUSALS else Meaning.FREE
    return tries.of_status(status, f"{reported.code} {reported.type}")


def _refusal(status: int, reported: ReportedError) -> UpstreamRefused:
    """Return the refusal, with the upstream's own words if the body has any."""
    is_redirect = 300 <= status < 400
    ours = UpstreamRedirected.message if is_redirect else f"The upstream refused the request with status {status}."
    code = reported.code or (UpstreamRedirected.code if is_redirect else None)
    kind = reported.type if reported.message else None
    return UpstreamRefused(status, reported.message or ours, param=reported.param, code=code, kind=kind)


def trouble(error: httpx.HTTPError) -> UpstreamError:
    """Return what an error of the client means. It has only the name of its class, because a text may name a secret."""
    if isinstance(error, httpx.DecodingError):
        return UpstreamUndecodable()
    name = type(error).__name__
    if isinstance(error, httpx.PoolTimeout):
        return UpstreamUnavailable(name, waits_for=None)  # for a connection of our own
    return UpstreamUnavailable(name) if tries.of_transport(name) is Meaning.FREE else UpstreamUncertain(name)
