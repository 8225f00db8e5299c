"""The edge of every HTTP function: reads the request within limits, authenticates, and builds answers and errors."""

import asyncio
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import orjson
from azurefunctions.extensions.http.fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from functions import invocations
from shared import off_loop
from shared.bootstrap import service
from shared.contract import compression, stream_events
from shared.contract.callers import Caller
from shared.contract.requests import MAX_BODY
from shared.core.backoff import POLL_MIN_MS, poll_delay
from shared.core.errors import (
    BadRequest,
    ServiceError,
    SettingsError,
    StoreError,
    StoreRefused,
    StreamBroken,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
)
from shared.core.records import Record
from shared.engine import Engine
from shared.foreground.call_stream import Chunks
from shared.runtime.clock import SystemClock
from shared.telemetry import metrics, spans
from shared.telemetry.logs import logger

_log = logger(__name__)
_clock = SystemClock()

RETRY_AFTER_S = 5  # for an error that does not say when to try again
READ_WITHIN_S = 230.0  # as Azure's front end gives an answer: 8 MiB at 300 kbit/s


class UpgradeRequired(BadRequest):
    """The request asks for a protocol that this service does not speak."""

    status = 426


class TooSlow(BadRequest):
    """The body of the request did not arrive in time."""

    status = 408


class RefusedByStorage(ServiceError):
    """Storage refuses what this request needs, and would refuse it again."""

    is_final = True


Handle = Callable[[Engine, Caller, Request], Awaitable[Response]]
Answer = Callable[[Request], Awaitable[Response]]


def for_callers(handle: Handle) -> Answer:
    """Return a trigger that authenticates the caller and calls the handler. No exception leaves it.

    An exception that leaves an HTTP function also closes the client's connection.
    """

    async def authenticated(req: Request) -> Response:
        known = await service()
        return await for_caller(known.engine, known.callers.authenticate(req.headers), handle, req)

    return for_anyone(authenticated)


async def for_caller(engine: Engine, caller: Caller, handle: Handle, req: Request) -> Response:
    """Return the answer of a handler to a caller. Errors become answers.

    Each answer, also that of an error, tells a caller with a limit of requests how many are left.
    """
    response = await _answered(partial(handle, engine, caller), req)
    response.headers.update(engine.quotas.left(caller))
    return response


def for_anyone(handle: Answer) -> Answer:
    """Return a trigger that calls a handler for any client. Errors become answers, and no exception leaves it."""

    async def checked(req: Request) -> Response:
        _refuse_upgrade(req)
        return await handle(req)

    async def answer(req: Request) -> Response:
        await invocations.begin()
        return await _answered(checked, req)

    return answer


async def _answered(handle: Answer, req: Request) -> Response:
    """Return the answer of a handler. Errors become answers, and each answer has an id."""
    request_id = f"req_{secrets.token_hex(16)}"
    try:
        response = await handle(req)
    except ServiceError as error:
        response = _refusal(error)
    except StoreError as error:
        _log.exception("request.storage_failed", extra={"request": request_id})
        response = _refusal(_storage_failure(error))
    except SettingsError as error:
        _log.error("settings.wrong", extra={"reason": str(error)})
        response = _refusal(ServiceError("The service is not configured correctly."))
    except ClientDisconnect:
        _log.info("request.abandoned", extra={"request": request_id})
        response = _refusal(BadRequest("The connection was closed before the body had ended."))
    except Exception:  # noqa: BLE001 - the edge: nothing may leave an HTTP function
        _log.exception("request.failed", extra={"request": request_id})
        response = _refusal(ServiceError("The server had an error while processing the request."))
    response.headers.setdefault("x-request-id", request_id)  # the log has that of the first one
    return response


def _storage_failure(error: StoreError) -> ServiceError:
    if isinstance(error, StoreRefused):
        return RefusedByStorage(error.advice, code="storage")
    return Unavailable(error.advice, code="storage", retry_after_s=RETRY_AFTER_S)


def _refuse_upgrade(req: Request) -> None:
    if req.headers.get("upgrade", "").lower() == "websocket":
        raise UpgradeRequired("This service does not speak WebSocket. Use HTTP, with 'stream': true for events.")


def traced(route: str | None, answer: Answer) -> Answer:
    """Return a trigger whose requests are traced and measured. A stream is measured to its end.

    `route` is the template of the path, or None if no route matches.
    """

    async def served(req: Request) -> Response:
        traceparent = req.headers.get("traceparent", "")
        with ExitStack() as until_sent:
            span = until_sent.enter_context(spans.server_span(req.method, route, str(req.url), traceparent))
            with span.activated():
                response = await answer(req)
            span.record_answer(response.status_code)
            if isinstance(response, LateAnswer):
                response.until_sent.push(until_sent.pop_all())
        return response

    return served


def _refusal(error: ServiceError) -> Response:
    """Return the answer of an error. Every 5xx and 429 says when to try again.

    Without Retry-After, the .NET client repeats a request three times within 0.1 s (RFC 9110, section 10.2.3). The
    other SDKs of OpenAI repeat a 409 and a 429, unless `x-should-retry` says that it is in vain. A final 429 or 5xx has
    Retry-After, too, because the .NET client does not read `x-should-retry`.
    """
    is_temporary = error.status >= 500 or error.status == 429
    wait_s = error.retry_after_s or (RETRY_AFTER_S if is_temporary else None)
    headers = {"Retry-After": str(wait_s)} if wait_s else {}
    if error.is_final:
        headers["x-should-retry"] = "false"
    return as_json(error.envelope(), error.status, headers)


def as_json(value: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    return _json(orjson.dumps(value), status, headers)


def as_response(shown: tuple[Record, bytes], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer with a response object. If it is unfinished, the headers say when to poll again.

    These are `Retry-After` in seconds, and `openai-poll-after-ms`, which the polling helpers of OpenAI's SDKs read.
    """
    record, body = shown
    hints: dict[str, str] = {}
    if not record.status.is_terminal:
        wait_ms = poll_delay(_clock.now_ms() - record.created_ms, lambda: 0.0)
        hints = {"Retry-After": str(-(-wait_ms // POLL_MIN_MS)), "openai-poll-after-ms": str(wait_ms)}
    return _json(body, status, {**hints, **(headers or {})})


def as_stream(chunks: Chunks) -> Response:
    """Return an answer of server-sent events."""
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return EventStream(chunks, headers=headers, media_type="text/event-stream; charset=utf-8")


class LateAnswer(StreamingResponse):
    """An answer whose body goes on after its function has returned. No exception leaves it.

    If the body fails, the connection breaks, because its last message is missing. Most clients take a clean end for the
    whole answer.
    """

    def __init__(self, chunks: AsyncIterable[bytes], **options: Any) -> None:
        super().__init__(chunks, **options)
        self.until_sent = ExitStack()  # contexts that end with the answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the body until it ends or the client disconnects."""
        try:
            with self.until_sent:
                await self._send(scope, receive, send)
        except StreamBroken:
            _log.info("answer.broken")
        except Exception:  # noqa: BLE001 - the edge: the connection breaks, and the client repeats or resumes
            _log.exception("answer.failed")

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except ClientDisconnect:
            _log.info("answer.left")


class EventStream(LateAnswer):
    """A stream that is always closed, also if the client disconnects. A client can resume after its last event."""

    def __init__(self, chunks: Chunks, **options: Any) -> None:
        super().__init__(chunks, **options)
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until they end or the client disconnects."""
        if scope.get("http_version") == "1.0":
            self.body_iterator = _telling(self._chunks)
        metrics.stream_readers.add(1)
        try:
            await super().__call__(scope, receive, send)
        finally:
            metrics.stream_readers.add(-1)
            await self._chunks.aclose()


async def _telling(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield the chunks. If they end early, say so in an event, because HTTP/1.0 knows no other way for sure.

    nginx speaks it to what is behind it, unless `proxy_http_version 1.1` is set.
    """
    try:
        async for chunk in chunks:
            yield chunk
    except (StreamBroken, StoreError):
        yield stream_events.interruption()
        raise


def _json(body: bytes, status: int, headers: Mapping[str, str] | None) -> Response:
    return Response(body, status, dict(headers or {}), media_type="application/json")


async def read_json(
    req: Request, caller: Caller | None = None, most: int = MAX_BODY, within_s: float = READ_WITHIN_S
) -> bytes:
    """Return the body, decompressed. Raise TooLarge before more than `most` bytes, or the caller's limit, are read.

    Raises TooSlow if it does not arrive within `within_s` seconds, and UnsupportedMediaType if the Content-Type is not
    JSON, or the body is compressed in another way than with gzip or zstd.
    """
    most = min(most, caller.limits.max_body_bytes or most) if caller else most
    kind = req.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaType("The body must be JSON: 'Content-Type: application/json'.", param="Content-Type")
    encoding = compression.check_encoding(req.headers.get("content-encoding"))
    declared = req.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:18]) > most:
        raise _too_large(most)
    try:
        async with asyncio.timeout(within_s):
            body = await _whole_body(req, most)
    except TimeoutError:
        raise TooSlow(f"The request body did not arrive within {within_s:g} s.", code="request_timeout") from None
    return await off_loop.run(0 if encoding == "identity" else MAX_BODY, compression.unpacked, body, encoding, most)


async def _whole_body(req: Request, most: int) -> bytes:
    chunks, size = [], 0
    async for chunk in req.stream():
        size += len(chunk)
        if size > most:
            raise _too_large(most)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"The request body is over {most} bytes.", code="request_too_large")
