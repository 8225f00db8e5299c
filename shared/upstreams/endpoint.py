"""The endpoint of an upstream: where its calls go, and the headers and names that they have."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import orjson

from shared import off_loop
from shared.core.errors import UpstreamUnavailable
from shared.core.states import WaitReason
from shared.upstreams.protocol import Authorize
from shared.upstreams.specs import UpstreamSpec

DEADLINE_S = 10.0
USER_AGENT = "background-responses/1"
_PLAIN = UpstreamSpec()
_OF_JSON = {"Content-Type": "application/json"}


class Endpoint:
    """Sends the calls to one upstream. Calls with different settings have different endpoints."""

    def __init__(
        self, transport: httpx.AsyncBaseTransport, base_url: str, authorize: Authorize, spec: UpstreamSpec = _PLAIN
    ) -> None:
        """Take the transport itself, because a client of httpx would send the cookies of one answer with all calls."""
        self._transport = transport
        self._base = base_url.rstrip("/")
        self._shown = str(httpx.URL(self._base).copy_with(userinfo=b""))
        self._authorize = authorize
        self._spec = spec

    @property
    def host(self) -> str:
        """The name of the upstream's host."""
        return httpx.URL(self._base).host

    def shown(self, path: str) -> str:
        """Return the URL of a call as telemetry may show it, without credentials."""
        return self._shown + path

    async def send(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str], times: httpx.Timeout
    ) -> httpx.Response:
        """Send a call and return its answer, whose body is not read yet.

        `path` is quoted and relative to the base URL, with its query. A `model` in the body is given the upstream's own
        name. Raises UpstreamUnavailable if no credential is available within 10 s, and httpx.HTTPError.
        """
        content = None if body is None else await off_loop.run_on(body, orjson.dumps, self._renamed(body))
        merged = httpx.Headers({"User-Agent": USER_AGENT})  # whatever the case of their names
        for some in (self._spec.headers, _OF_JSON if content else {}, headers, await self.authorization()):
            merged.update(some)
        request = httpx.Request(
            method,
            self._url(path),
            content=content,
            headers=merged,
            extensions={"timeout": times.as_dict()},
        )
        return await self._transport.handle_async_request(request)

    async def authorization(self) -> Mapping[str, str]:
        """Return the headers that authorize one call. Raise UpstreamUnavailable if there are none within 10 s."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._authorize()
        except Exception as error:  # without a credential no call can be made, whatever the reason
            raise UpstreamUnavailable("no credential for the upstream", waits_for=WaitReason.CREDENTIALS) from error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    def _url(self, path: str) -> str:
        if not self._spec.api_version:
            return self._base + path
        return f"{self._base}{path}{'&' if '?' in path else '?'}api-version={self._spec.api_version}"

    def _renamed(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        model = body.get("model")
        theirs = self._spec.renamed(model) if isinstance(model, str) else ""
        return {**body, "model": theirs} if theirs else body
