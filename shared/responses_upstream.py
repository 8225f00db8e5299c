"""Any server with the Responses contract as an upstream, over HTTP."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from shared import packing, sse
from shared.errors import (
    UpstreamBroken,
    UpstreamInvalid,
    UpstreamMissing,
    UpstreamOversized,
    UpstreamRefused,
    UpstreamSilent,
    UpstreamUnavailable,
)
from shared.records import Record
from shared.schedule import retry_after_s
from shared.states import Status
from shared.upstreams import MAX_ID, Authorize, Memory, Sent, Step

START_DEADLINE_S = 20.0
CALL_DEADLINE_S = 10.0
SILENCE_S = 60.0  # OpenAI sends a keepalive after about 30 s
MAX_ANSWER = 33_554_432
MAX_DEPTH = 200
MAX_NUMBER = 10**10
_DONE = "[DONE]"
_AS_STREAM = {"Accept": "text/event-stream, application/json"}
_REFUSALS = frozenset({400, 404, 405, 413, 415, 422})

_log = logging.getLogger(__name__)


class ResponsesUpstream:
    """Any server with the Responses contract: OpenAI, Azure OpenAI, a gateway; with background mode or without."""

    def __init__(self, client: httpx.AsyncClient, base_url: str, authorize: Authorize, *, replays: bool = True) -> None:
        self.replays = replays
        self._client = client
        self._url = f"{base_url.rstrip('/')}/responses"
        self._authorize = authorize

    def admit(self, request: Mapping[str, Any], previous: Record | None) -> None:
        """Find nothing wrong: the upstream judges for itself."""

    async def start(self, request: dict[str, Any], key: str) -> Step:
        """POST /responses with the key as Idempotency-Key; deadline 20 s."""
        return _step(await self._call("POST", "", START_DEADLINE_S, request, {"Idempotency-Key": key}))

    async def advance(self, token: str) -> Step:
        """GET /responses/{id}; raises UpstreamMissing on 404. Azure answers that soon after a create, too."""
        return _step(await self._call("GET", _path(token), CALL_DEADLINE_S))

    def run(self, request: dict[str, Any], key: str, _memory: Memory) -> AsyncGenerator[Sent, None]:
        """POST /responses, answered as a stream.

        Without background mode the answer may begin only with the first output, and be silent while the model thinks:
        the deadline then is the caller's.
        """
        return self._stream("POST", "", request | {"stream": True}, {"Idempotency-Key": key})

    def follow(self, token: str, after: int | None) -> AsyncGenerator[Sent, None]:
        """GET /responses/{id}?stream=true; raises UpstreamMissing on 404, UpstreamRefused when it is too late."""
        cursor = "" if after is None else f"&starting_after={after}"
        return self._stream("GET", f"{_path(token)}?stream=true{cursor}")

    async def stop(self, token: str) -> None:
        """POST /responses/{id}/cancel. A 400 is an answer about a response that has just ended: confirmed."""
        try:
            await self._call("POST", f"{_path(token)}/cancel", CALL_DEADLINE_S)
        except (UpstreamMissing, UpstreamRefused):
            return

    async def forget(self, upstream_id: str) -> None:
        """DELETE /responses/{id}; gone already is as good."""
        try:
            await self._call("DELETE", _path(upstream_id), CALL_DEADLINE_S)
        except (UpstreamMissing, UpstreamRefused):
            return

    async def check(self) -> None:
        """Raise UpstreamUnavailable if no credential can be had."""
        await self._headers()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _headers(self) -> Mapping[str, str]:
        try:
            async with asyncio.timeout(CALL_DEADLINE_S):
                return await self._authorize()
        except Exception as error:  # whatever a credential raises means: no call can be made now
            raise UpstreamUnavailable("no credential for the upstream") from error

    async def _call(
        self,
        method: str,
        path: str,
        deadline_s: float,
        body: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> "_Answer":
        try:
            async with asyncio.timeout(deadline_s):
                return await self._exchange(method, path, body, headers or {})
        except httpx.HTTPError as error:
            raise UpstreamUnavailable(type(error).__name__) from error
        except TimeoutError as error:
            raise UpstreamUnavailable(f"no answer within {deadline_s:g} s") from error

    async def _stream(
        self, method: str, path: str, body: dict[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Sent, None]:
        response = await self._opened_stream(method, path, body, headers or {})
        try:
            if not response.is_success or not _is_stream(response):
                answer = _judged(response, await _bounded(response), missing=method != "POST")
                yield _whole(_object(answer.content))
                return
            async with aclosing(sse.messages(response.aiter_bytes(), MAX_ANSWER)) as messages:
                async for message in messages:
                    if message.data != _DONE:
                        yield _sent(message.data)
        except httpx.ReadTimeout as error:
            raise UpstreamSilent(f"nothing for {SILENCE_S:g} s") from error
        except httpx.HTTPError as error:
            raise UpstreamBroken(type(error).__name__) from error
        except sse.Oversized:
            raise UpstreamOversized from None
        finally:
            await response.aclose()

    async def _opened_stream(
        self, method: str, path: str, body: dict[str, Any] | None, headers: Mapping[str, str]
    ) -> httpx.Response:
        silence_s = SILENCE_S if self.replays else None
        try:
            async with asyncio.timeout(START_DEADLINE_S if self.replays else None):
                return await self._send(method, path, body, {**headers, **_AS_STREAM}, silence_s)
        except httpx.HTTPError as error:
            raise UpstreamUnavailable(type(error).__name__) from error
        except TimeoutError as error:
            raise UpstreamUnavailable(f"no stream within {START_DEADLINE_S:g} s") from error

    async def _send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        headers: Mapping[str, str],
        silence_s: float | None = SILENCE_S,
    ) -> httpx.Response:
        content = None if body is None else orjson.dumps(body)
        sent = {"Content-Type": "application/json"} if content else {}
        request = self._client.build_request(
            method,
            self._url + path,
            content=content,
            headers={**sent, **headers, **await self._headers()},
            timeout=httpx.Timeout(30.0, connect=5.0, read=silence_s),
        )
        return await self._client.send(request, stream=True)

    async def _exchange(
        self, method: str, path: str, body: dict[str, Any] | None, headers: Mapping[str, str]
    ) -> "_Answer":
        response = await self._send(method, path, body, headers)
        try:
            return _judged(response, await _bounded(response), missing=method != "POST" or bool(path))
        finally:
            await response.aclose()


@dataclass(frozen=True, slots=True)
class _Answer:
    """A 2xx, read whole."""

    content: bytes = field(repr=False)
    retry_after_s: float | None


def _path(token: str) -> str:
    """Return the upstream's id as one segment of a path, whatever characters it holds."""
    return f"/{quote(token, safe='')}"


def _step(answer: _Answer) -> Step:
    """Return what a response object says of the work."""
    body = _object(answer.content)
    upstream_id = body.get("id")
    try:
        status = Status(str(body.get("status")))
    except ValueError:
        raise UpstreamInvalid from None
    if not isinstance(upstream_id, str) or not 0 < len(upstream_id) <= MAX_ID:
        raise UpstreamInvalid
    return Step(status, None if status.is_terminal else upstream_id, body, upstream_id, answer.retry_after_s)


def _sent(text: str) -> Sent:
    """Return the event that a message of the stream is; what is no JSON object breaks the stream."""
    try:
        data = _object(text)
    except UpstreamInvalid:
        raise UpstreamBroken("an event is not a JSON object") from None
    number = data.get("sequence_number")
    return Sent(number if isinstance(number, int) and 0 <= number < MAX_NUMBER else None, data)


def _whole(answer: dict[str, Any]) -> Sent:
    return Sent(None, {"type": f"response.{answer.get('status')}", "response": answer}, whole=True)


def _object(content: bytes | str) -> dict[str, Any]:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise UpstreamInvalid from None
    if not isinstance(body, dict):
        raise UpstreamInvalid
    if packing.is_deeper(body, MAX_DEPTH):
        raise UpstreamOversized
    return body


async def _bounded(response: httpx.Response) -> bytes:
    """Return the whole body, if it is not over the limit."""
    chunks, size = [], 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > MAX_ANSWER:
            raise UpstreamOversized
        chunks.append(chunk)
    return b"".join(chunks)


def _is_stream(response: httpx.Response) -> bool:
    kind: str = response.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower() == "text/event-stream"


def _judged(response: httpx.Response, content: bytes, *, missing: bool) -> _Answer:
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
    return _Answer(content, wait_s)


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
