"""Any server of the Responses API as an upstream, over HTTP: OpenAI, Azure OpenAI, a gateway.

https://developers.openai.com/api/reference/resources/responses
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, ClassVar, Literal
from urllib.parse import quote

import httpx

from shared import off_loop
from shared.core.errors import (
    UpstreamBroken,
    UpstreamMissing,
    UpstreamRefused,
    UpstreamSilent,
    UpstreamUncertain,
)
from shared.core.records import Record
from shared.telemetry import spans
from shared.telemetry.operations import Operation, provider_of
from shared.telemetry.spans import MeasuredSpan
from shared.upstreams import answers, decoding, streams
from shared.upstreams.endpoint import Endpoint
from shared.upstreams.health import Health, Sight
from shared.upstreams.includes import Includes, is_about, query
from shared.upstreams.protocol import (
    BackgroundUpstream,
    Checkpoints,
    ForegroundUpstream,
    Progress,
    UpstreamEvent,
)
from shared.upstreams.shapes import Shapes, telling_of_refusals

START_DEADLINE_S = 20.0
CALL_DEADLINE_S = 10.0
SILENCE_S = 60.0  # OpenAI sends a keepalive after about 30 s
_CONNECT_S = 5.0
# With the connect and the TLS handshake it is shorter than the deadline of a create. So a create that reaches its
# deadline has been sent.
_POOL_S = 5.0
_ID = re.compile("/[^/]+")
_ROOT = "/responses"
_HEADERS = {"Accept": "application/json", "Accept-Encoding": decoding.ACCEPTED}
_AS_STREAM = {"Accept": "text/event-stream, application/json"}


class _ResponsesApi:
    """The calls that both kinds of upstream make."""

    # How long a stream may take to begin, and how long it may be silent. None means until the response's deadline.
    _stream_deadline_s: ClassVar[float | None]
    _silence_s: ClassVar[float | None]

    def __init__(self, endpoint: Endpoint) -> None:
        self.operation = Operation(provider=provider_of(endpoint.host))
        self._endpoint = endpoint
        self._includes = Includes()
        self._shapes = Shapes()
        self._health = Health()

    def sight(self) -> Sight:
        """Return how the upstream was last seen."""
        return self._health.sight()

    def validate(self, request: Mapping[str, Any], previous: Record | None) -> None:
        """Accept every request, because the upstream validates it."""

    async def poll(self, token: str, include: Sequence[str] = ()) -> Progress:
        """GET /responses/{id}. Raise UpstreamMissing on 404, which Azure also answers soon after a create.

        If the answer to a GET with `include[]` is a 400, it is sent once more without it.
        """
        path, asked = _path(token), self._includes.accepted(include)
        try:
            answer = await self._call("GET", path + query(include=asked), CALL_DEADLINE_S)
        except UpstreamRefused as refusal:
            if not is_about(asked, refusal):
                raise
            answer = await self._call("GET", path, CALL_DEADLINE_S)
            self._includes.refuse(asked)
        return await _progress_in(answer, token)

    async def stop(self, token: str) -> None:
        """POST /responses/{id}/cancel. A 400 confirms it, too: the response has just ended. A 409 is raised."""
        try:
            await self._call("POST", f"{_path(token)}/cancel", CALL_DEADLINE_S)
        except UpstreamMissing:
            return
        except UpstreamRefused as refusal:
            if refusal.status == 409:
                raise

    async def forget(self, upstream_id: str) -> None:
        """DELETE /responses/{id}. It is not an error if the response is gone."""
        try:
            await self._call("DELETE", _path(upstream_id), CALL_DEADLINE_S)
        except (UpstreamMissing, UpstreamRefused):
            return

    async def check(self) -> None:
        """Raise UpstreamUnavailable if no credential is available within 10 s."""
        await self._endpoint.authorization()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._endpoint.aclose()

    # Calls

    async def _call(
        self,
        method: str,
        path: str,
        deadline_s: float,
        body: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> answers.Success:
        with self._health.noting():
            try:
                return await self._exchange(method, path, deadline_s, body, headers or {})
            except httpx.HTTPError as error:
                raise answers.trouble(error) from error
            except TimeoutError as error:
                raise UpstreamUncertain(f"no answer within {deadline_s:g} s") from error

    async def _exchange(
        self, method: str, path: str, deadline_s: float, body: dict[str, Any] | None, headers: Mapping[str, str]
    ) -> answers.Success:
        # The deadline is inside the span, so that the span ends with a timeout and not as cancelled.
        with self._span(method, path) as span:
            async with asyncio.timeout(deadline_s):
                response = await self._send(method, path, body, {**headers, **span.headers()}, SILENCE_S)
                span.record_answer(response.status_code)
                try:
                    content = await answers.read_bounded(response)
                finally:
                    await response.aclose()
        # an error is read here, and may have millions of bytes, too
        size = 0 if response.is_success else len(content)
        return await off_loop.run(size, answers.check_status, response, content, missing=method != "POST" or bool(path))

    # Streams

    def _create(self, request: dict[str, Any], key: str) -> AsyncGenerator[UpstreamEvent, None]:
        """Send a create, and yield the events of the answer, or one for a whole answer."""
        return self._stream("POST", "", request, {"Idempotency-Key": key})

    def _start_stream(self, request: dict[str, Any], key: str) -> AsyncGenerator[UpstreamEvent, None]:
        """Send a create as a stream, or without one if the upstream refuses to stream."""
        return self._shapes.events(request, lambda body: self._create(body, key))

    async def _stream(
        self, method: str, path: str, body: dict[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[UpstreamEvent, None]:
        with self._health.noting(), self._span(method, path) as span:
            response = await self._open_stream(method, path, body, {**(headers or {}), **span.headers()})
            span.record_answer(response.status_code)
            async with aclosing(self._events(response, method)) as events:
                async for event in events:
                    yield event

    async def _events(self, response: httpx.Response, method: str) -> AsyncGenerator[UpstreamEvent, None]:
        try:
            if not response.is_success:
                content = await answers.read_bounded(response)
                await off_loop.run(len(content), answers.check_stream, response, content, missing=method != "POST")
            self._health.note_answer()
            async with aclosing(streams.events_in(response)) as events:
                async for event in events:
                    answers.check_reported(event)
                    yield event
        except httpx.ReadTimeout as error:
            raise UpstreamSilent(f"nothing for {SILENCE_S:g} s") from error
        except httpx.HTTPError as error:
            raise UpstreamBroken(type(error).__name__) from error
        finally:
            await response.aclose()

    async def _open_stream(
        self, method: str, path: str, body: dict[str, Any] | None, headers: Mapping[str, str]
    ) -> httpx.Response:
        try:
            async with asyncio.timeout(self._stream_deadline_s):
                return await self._send(method, path, body, {**headers, **_AS_STREAM}, self._silence_s)
        except httpx.HTTPError as error:
            raise answers.trouble(error) from error
        except TimeoutError as error:
            raise UpstreamUncertain("no stream in time") from error

    async def _send(
        self, method: str, path: str, body: dict[str, Any] | None, headers: Mapping[str, str], silence_s: float | None
    ) -> httpx.Response:
        times = httpx.Timeout(30.0, connect=_CONNECT_S, pool=_POOL_S, read=silence_s)
        return await self._endpoint.send(method, _ROOT + path, body, {**_HEADERS, **headers}, times)

    def _span(self, method: str, path: str) -> MeasuredSpan:
        template = _ROOT + _ID.sub("/{id}", path.partition("?")[0], count=1)
        return spans.upstream_span(method, template, self._endpoint.shown(_ROOT + path))


class BackgroundResponses(_ResponsesApi, BackgroundUpstream):
    """A server with background mode.

    https://developers.openai.com/api/docs/guides/background
    """

    is_background: Literal[True] = True
    _stream_deadline_s = START_DEADLINE_S
    _silence_s = SILENCE_S

    async def start(self, request: dict[str, Any], key: str) -> Progress:
        """POST /responses with the key as Idempotency-Key. The deadline is 20 s."""
        headers = {"Idempotency-Key": key}
        with telling_of_refusals():
            return await _progress_in(await self._call("POST", "", START_DEADLINE_S, request, headers))

    async def stream(self, request: dict[str, Any], key: str) -> AsyncGenerator[UpstreamEvent, None]:
        """POST /responses with `stream: true` and the key as Idempotency-Key, and yield the events.

        If the upstream refuses that, it is asked without a stream. One event has its answer, and the work is polled.
        """
        with telling_of_refusals():
            async with aclosing(self._start_stream(request, key)) as events:
                async for event in events:
                    yield event

    async def resume(
        self, token: str, after: int | None, include: Sequence[str] = ()
    ) -> AsyncGenerator[UpstreamEvent, None]:
        """GET /responses/{id}?stream=true&starting_after={after}. `include` is as in `poll`.

        Raises UpstreamMissing on 404, and UpstreamRefused if it is too late to read the stream.
        """
        path, asked = _path(token), self._includes.accepted(include)
        cursor = {"stream": "true"} if after is None else {"stream": "true", "starting_after": str(after)}
        try:
            async with aclosing(self._stream("GET", path + query(cursor, asked))) as events:
                async for event in events:
                    yield event
        except UpstreamRefused as refusal:
            if not is_about(asked, refusal):
                raise
            async with aclosing(self._stream("GET", path + query(cursor))) as events:
                async for event in events:
                    yield event


class ForegroundResponses(_ResponsesApi, ForegroundUpstream):
    """A server without background mode. Only the deadline of the response limits how long its stream may be silent."""

    is_background: Literal[False] = False
    _stream_deadline_s = None
    _silence_s = None

    def stream(
        self, request: dict[str, Any], key: str, _checkpoints: Checkpoints
    ) -> AsyncGenerator[UpstreamEvent, None]:
        """POST /responses with `stream: true` and the key as Idempotency-Key, and yield the events.

        A stream shows that a long call is alive. If the caller asked for none and the upstream refuses to stream, the
        request is sent once more as the caller sent it.
        """
        return self._create(request, key) if request.get("stream") else self._start_stream(request, key)


async def _progress_in(answer: answers.Success, asked: str | None = None) -> Progress:
    return await off_loop.run(len(answer.content), answers.progress_in, answer, asked)


def _path(token: str) -> str:
    """Return the upstream's id as one segment of a path, with every other character escaped."""
    return f"/{quote(token, safe='')}"
