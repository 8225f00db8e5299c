"""A proxy between an app and one Azurite service. It counts requests and makes the network fail on demand.

Azurite's signatures cover the path but not the address. An app therefore uses the proxy as soon as its connection
string names the proxy's port.
"""

import asyncio
import io
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

import aiohttp
from aiohttp import web
from yarl import URL

from local.stack.ports import free_port

# aiohttp's client would add these to a request that has none. The content type is signed.
OWN_HEADERS = {"Accept", "Accept-Encoding", "Content-Type", "User-Agent"}
DEADLINE = aiohttp.ClientTimeout(total=60)
TURNS = 10  # of the event loop: a connection is accepted, or closed, in fewer
# These are about one connection, not about the message (RFC 9110, 7.6.1 and RFC 9112, 6).
HOP_BY_HOP = {"connection", "keep-alive", "content-length", "transfer-encoding"}


@dataclass(frozen=True)
class StorageRequest:
    """One request as Azurite receives it."""

    method: str
    path: str
    body: bytes

    @property
    def kind(self) -> str:
        """The method and the shape of the path, such as `POST $batch` or `DELETE nudges/messages/id`."""
        _, _, resource = self.path.partition("?")[0].lstrip("/").partition("/")
        resource = re.sub(r"\(.+\)$", "(key)", resource)
        return f"{self.method} {re.sub('(?<=/messages/).+', 'id', resource)}"


Matching = Callable[[StorageRequest], bool]


def is_read(request: StorageRequest) -> bool:
    """Return whether a request only reads."""
    return request.method == "GET"


def is_write(request: StorageRequest) -> bool:
    """Return whether a request changes something."""
    return request.method != "GET"


def is_transaction(request: StorageRequest) -> bool:
    """Return whether a request is an entity group transaction."""
    return request.kind == "POST $batch"


@dataclass
class Fault:
    """A fault of the n-th matching request, or of every one (`nth=None`). `happened` is set afterwards."""

    matching: Matching
    nth: int | None
    delay_s: float = 0.0
    drops_answer: bool = False
    status: int | None = None
    happened: asyncio.Event = field(default_factory=asyncio.Event)
    _seen: int = 0

    def strikes(self, request: StorageRequest) -> bool:
        """Count a matching request, and return whether it is one to fail. Call this once per request."""
        if not self.matching(request):
            return False
        self._seen += 1
        return self.nth in {None, self._seen}


class FaultProxy:
    """A proxy that listens during its block, on a port that stays the same before and after an outage."""

    def __init__(self, service: str, target_port: int) -> None:
        self.port = free_port()
        self.counts: Counter[str] = Counter()
        self._service = service
        self._target = f"http://127.0.0.1:{target_port}"
        self._faults: list[Fault] = []
        self._transports = set[asyncio.Transport]()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=OWN_HEADERS, timeout=DEADLINE)
        await self._listen()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._stop()
        await self._session.close()

    def through(self, connection_string: str) -> str:
        """Return the connection string that leads to the same account through this proxy."""
        endpoint = f"{self._service.title()}Endpoint=http://127.0.0.1:"
        return re.sub(rf"(?<={re.escape(endpoint)})\d+", str(self.port), connection_string)

    def drop_answer(self, matching: Matching, nth: int | None = 1) -> Fault:
        """Let Azurite carry out the n-th matching request from now on, or all of them, and drop the answer."""
        return self._add(Fault(matching, nth, drops_answer=True))

    def delay(self, matching: Matching, delay_s: float, nth: int | None = None) -> Fault:
        """Delay the answers to all matching requests from now on, or the answer to the n-th of them."""
        return self._add(Fault(matching, nth, delay_s=delay_s))

    def refuse(self, matching: Matching, status: int | None = 503) -> Fault:
        """Refuse all matching requests from now on, with this status or, without one, by cutting their connections."""
        return self._add(Fault(matching, None, drops_answer=status is None, status=status or 503))

    def heal(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    @asynccontextmanager
    async def refusing(self) -> AsyncIterator[None]:
        """Cut all connections and refuse new ones until the end of the block."""
        await self._stop()
        try:
            yield
        finally:
            await self._listen()

    def _add(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault

    async def _listen(self) -> None:
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def _stop(self) -> None:
        for site in tuple(self._runner.sites):
            await site.stop()
        await _turns()  # a connection that is just being accepted is then known, and is cut, too
        await self._runner.cleanup()
        for transport in self._transports:  # one that could not be flushed would stay open
            transport.abort()
        self._transports.clear()
        await _turns()

    async def _handle(self, incoming: web.BaseRequest) -> web.Response:
        if incoming.transport:
            self._transports.add(incoming.transport)
        request = StorageRequest(incoming.method, incoming.raw_path, await incoming.content.read())
        self.counts[request.kind] += 1
        faults = [fault for fault in self._faults if fault.strikes(request)]
        if refusals := [fault for fault in faults if fault.status]:
            refusals[0].happened.set()
            return _cut(incoming) if refusals[0].drops_answer else _refusal(refusals[0].status or 503)
        try:
            answer = await self._forward(incoming, request)
        except aiohttp.ClientError:
            return _cut(incoming)
        for fault in faults:
            await asyncio.sleep(fault.delay_s)
            fault.happened.set()
        return _cut(incoming) if any(fault.drops_answer for fault in faults) else answer

    async def _forward(self, incoming: web.BaseRequest, request: StorageRequest) -> web.Response:
        url = URL(self._target + request.path, encoded=True)
        headers = [(name, value) for name, value in incoming.headers.items() if _is_end_to_end(name)]
        async with self._session.request(request.method, url, headers=headers, data=io.BytesIO(request.body)) as answer:
            kept = [(name, value) for name, value in answer.headers.items() if _is_end_to_end(name)]
            return web.Response(status=answer.status, reason=answer.reason, headers=kept, body=await answer.read())


async def _turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def _is_end_to_end(header: str) -> bool:
    return header.lower() not in HOP_BY_HOP


def _refusal(status: int) -> web.Response:
    """Return an answer with this status in the form of Azure Storage's errors."""
    body = "<?xml version='1.0' encoding='utf-8'?><Error><Code>ServerBusy</Code><Message>refused</Message></Error>"
    return web.Response(status=status, text=body, content_type="application/xml")


def _cut(incoming: web.BaseRequest) -> web.Response:
    """Close the connection without an answer. The empty response that is returned is never sent."""
    if incoming.transport:
        incoming.transport.abort()
    return web.Response()
