"""Calls to the upstream's API beside responses: models, counts of tokens, compactions and conversations.

Each is one request whose JSON answer is passed on. It has no tries and no state.
"""

import asyncio
from typing import Any, Protocol

import httpx

from shared import off_loop
from shared.core.errors import UpstreamUncertain
from shared.upstreams import answers, decoding
from shared.upstreams.endpoint import Endpoint

SILENCE_S = 200.0  # a compaction asks a model
_CONNECT_S = 5.0
_TIMES = httpx.Timeout(SILENCE_S, connect=_CONNECT_S, pool=_CONNECT_S)
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": decoding.ACCEPTED,
}


class Relay(Protocol):
    """Passes calls on to an upstream."""

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON object that the upstream answers, within 200 s.

        `path` is quoted and relative to the base URL, with its query. Raises UpstreamRefused if the upstream refuses
        the call with a 4xx, and another UpstreamError if it cannot be asked or its answer cannot be read.
        """


class HttpRelay(Relay):
    """Passes calls on over HTTP."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send the call, and return the object that is the answer. Raises as the protocol says."""
        try:
            async with asyncio.timeout(SILENCE_S):
                response = await self._endpoint.send(method, path, body, _HEADERS, _TIMES)
                try:
                    content = await answers.read_bounded(response)
                finally:
                    await response.aclose()
        except httpx.HTTPError as error:
            raise answers.trouble(error) from error
        except TimeoutError as error:
            raise UpstreamUncertain(f"no answer within {SILENCE_S:g} s") from error
        size = 0 if response.is_success else len(content)
        answer = await off_loop.run(size, answers.check_status, response, content, missing=False)
        return await off_loop.run(len(answer.content), answers.parse_object, answer.content)
