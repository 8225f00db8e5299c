"""Any server with the Responses contract as an upstream, over HTTP."""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from shared.contract import sse
from shared.core.errors import (
    UpstreamBroken,
    UpstreamMissing,
    UpstreamOversized,
    UpstreamRefused,
    UpstreamSilent,
    UpstreamUnavailable,
)
from shared.core.records import Record
from shared.telemetry import spans
from shared.telemetry.logs import logger
from shared.telemetry.operations import Operation
from shared.telemetry.spans import Exchange
from shared.upstreams import answers
from shared.upstreams.protocol import Authorize, Memory, Sent, Step

START_DEADLINE_S = 20.0
CALL_DEADLINE_S = 10.0
SILENCE_S = 60.0  # OpenAI sends a keepalive after about 30 s
_DONE = "[DONE]"
_ID = re.compile("/[^/]+")
_AS_STREAM = {"Accept": "text/event-stream, application/json"}

_log = logger(__name__)


class ResponsesUpstream:
    """Any server with the Responses contract: OpenAI, Azure OpenAI, a gateway; with background mode or without."""

    def __init__(self, client: httpx.AsyncClient, base_url: str, authorize: Authorize, *, replays: bool = True) -> None:
        self.replays = replays
        self.operation = Operation(provider=_provider(httpx.URL(base_url).host))
        self._client = client
        self._url = f"{base_url.rstrip('/')}/responses"
        self._shown_url = str(httpx.URL(self._url).copy_with(userinfo=b""))
        self._authorize = authorize

    def admit(self, request: Mapping[str, Any], previous: Record | None) -> None:
        """Find nothing wrong: the upstream judges for itself."""

    async def start(self, request: dict[str, Any], key: str) -> Step:
        """POST /responses with the key as Idempotency-Key; deadline 20 s."""
        return answers.step(await self._call("POST", "", START_DEADLINE_S, request, {"Idempotency-Key": key}))

    async def advance(self, token: str) -> Step:
        """GET /responses/{id}; raises UpstreamMissing on 404. Azure answers that soon after a create, too."""
        return answers.step(await self._call("GET", _path(token), CALL_DEADLINE_S))

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
    ) -> answers.Answer:
        try:
            return await self._exchange(method, path, deadline_s, body, headers or {})
        except httpx.HTTPError as error:
            raise UpstreamUnavailable(type(error).__name__) from error
        except TimeoutError as error:
            raise UpstreamUnavailable(f"no answer within {deadline_s:g} s") from error

    async def _stream(
        self, method: str, path: str, body: dict[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Sent, None]:
        with self._asking(method, path) as exchange:
            response = await self._opened_stream(method, path, body, {**(headers or {}), **exchange.headers()})
            exchange.answered(response.status_code)
            async with aclosing(self._told(response, method)) as told:
                async for one in told:
                    yield one

    async def _told(self, response: httpx.Response, method: str) -> AsyncGenerator[Sent, None]:
        try:
            if not response.is_success or not answers.is_stream(response):
                answer = answers.judged(response, await answers.bounded(response), missing=method != "POST")
                yield answers.whole(answers.object_of(answer.content))
                return
            async with aclosing(sse.messages(response.aiter_bytes(), answers.MAX_ANSWER)) as messages:
                async for message in messages:
                    if message.data != _DONE:
                        yield answers.sent(message.data)
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
        self, method: str, path: str, deadline_s: float, body: dict[str, Any] | None, headers: Mapping[str, str]
    ) -> answers.Answer:
        # The deadline is inside: so that an exchange which takes too long says so, and not that it was given up.
        with self._asking(method, path) as exchange:
            async with asyncio.timeout(deadline_s):
                response = await self._send(method, path, body, {**headers, **exchange.headers()})
                exchange.answered(response.status_code)
                try:
                    content = await answers.bounded(response)
                finally:
                    await response.aclose()
        return answers.judged(response, content, missing=method != "POST" or bool(path))

    def _asking(self, method: str, path: str) -> Exchange:
        template = "/responses" + _ID.sub("/{id}", path.partition("?")[0], count=1)
        return spans.asking(method, template, self._shown_url + path)


def _provider(host: str) -> str:
    """Return who OpenTelemetry says answers there; a server that only speaks OpenAI's contract counts as OpenAI."""
    return "azure.ai.openai" if host.endswith((".azure.com", ".azure.us", ".azure.cn")) else "openai"


def _path(token: str) -> str:
    """Return the upstream's id as one segment of a path, whatever characters it holds."""
    return f"/{quote(token, safe='')}"
