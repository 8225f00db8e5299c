"""Network failures of upstream calls: refused, dropped, cut off, silent and slow. Each raises an UpstreamError."""

import asyncio
import contextlib
import socketserver
import ssl
import threading
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Self

import httpx
import pytest

from shared.core.errors import UpstreamUnavailable, UpstreamUndecodable
from shared.upstreams.endpoint import Endpoint
from shared.upstreams.responses_api import CALL_DEADLINE_S, START_DEADLINE_S, BackgroundResponses, ForegroundResponses
from shared.upstreams.transport import AiohttpTransport
from tests.unit.upstreams.agents.test_tools import MemoryCheckpoints

KEY = "sk-geheim-0123456789"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

Call = Callable[[BackgroundResponses], Awaitable[Any]]
CALLS: list[Call] = [
    lambda upstream: upstream.start({"model": "m"}, "resp_1"),
    lambda upstream: upstream.poll("up_1"),
    lambda upstream: upstream.stop("up_1"),
    lambda upstream: upstream.forget("up_1"),
]
every_call = pytest.mark.parametrize("call", CALLS, ids=["start", "poll", "stop", "forget"])


async def with_key() -> Mapping[str, str]:
    """Return the authorization header of a key."""
    return {"Authorization": f"Bearer {KEY}"}


class Server(socketserver.ThreadingTCPServer):
    """A loopback server that answers each request with the same bytes. It then closes the connection by default.

    The server has its own threads, because the test needs the event loop for the client.
    """

    def __init__(self, answer: bytes, *, keeps_open: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.answer, self.keeps_open, self.opened = answer, keeps_open, 0

    @property
    def url(self) -> str:
        """The base URL of this upstream."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Exchange(socketserver.StreamRequestHandler):
    """One connection."""

    server: Server

    def handle(self) -> None:
        """Read the head of a request and write the answer, again if the connection stays open."""
        self.server.opened += 1
        while self._read_head():
            self.wfile.write(self.server.answer)
            if not self.server.keeps_open:
                return

    def _read_head(self) -> bool:
        return any(line == b"\r\n" for line in iter(self.rfile.readline, b""))


@contextlib.asynccontextmanager
async def upstream_at(url: str) -> AsyncIterator[BackgroundResponses]:
    """Yield an upstream with the service's HTTP client, and close its connections at the end."""
    transport = AiohttpTransport(ssl.create_default_context(), max_connections=10)
    upstream = BackgroundResponses(Endpoint(transport, url, with_key))
    async with contextlib.aclosing(upstream):
        yield upstream


def trouble(call: Call, answer: bytes) -> UpstreamUnavailable:
    """Return the error of a call to a server that answers with these bytes."""

    async def main() -> None:
        async with upstream_at(server.url) as upstream:
            await call(upstream)

    with Server(answer) as server, pytest.raises(UpstreamUnavailable) as unavailable:
        asyncio.run(main())
    return unavailable.value


@every_call
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 2",
        b"\x00\x01\x02\r\n\r\n",
        HEAD,
        HEAD + b"Content-Length: 100\r\n\r\n" + b'{"id":"up_1","status":',
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nnot hex\r\n",
    ],
    ids=["dropped", "cut status", "not HTTP", "cut head", "cut body", "cut chunk", "bad chunk"],
)
def test_a_broken_connection_is_unavailable(call: Call, answer: bytes) -> None:
    """A call can be retried wherever its connection broke. The error names only the kind of failure."""
    error = trouble(call, answer)
    assert str(error) in {"RemoteProtocolError", "ReadError", "WriteError"}
    assert KEY not in "".join(traceback.format_exception(error))


@every_call
@pytest.mark.parametrize("encoding", [b"gzip", b"br"])
def test_a_body_that_cannot_be_decompressed_is_unusable(call: Call, encoding: bytes) -> None:
    """The connection was sound, so another call would get the same."""
    answer = HEAD + b"Content-Encoding: " + encoding + b"\r\nContent-Length: 9\r\n\r\nnot gzip!"
    with pytest.raises(UpstreamUndecodable):
        trouble(call, answer)


@every_call
def test_a_refused_connection_is_unavailable(call: Call) -> None:
    """A call to a port on which no server listens any longer can be retried."""

    async def main() -> None:
        async with upstream_at(gone.url) as upstream:
            await call(upstream)

    with Server(b"") as gone:
        pass
    with pytest.raises(UpstreamUnavailable, match=r"^ConnectError$"):
        asyncio.run(main())


def test_one_connection_serves_many_calls() -> None:
    """The client keeps its connections, so a poll does not need another handshake."""

    async def main() -> None:
        async with upstream_at(server.url) as upstream:
            for _ in range(5):
                await upstream.poll("up_1")

    body = b'{"id":"up_1","status":"queued"}'
    with Server(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body), keeps_open=True) as server:
        asyncio.run(main())
    assert server.opened == 1


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock can be moved forward, so that deadlines are reached at once."""

    skipped_s = 0.0

    def time(self) -> float:
        """Return the loop's time."""
        return super().time() + self.skipped_s


def elapsed_at_deadline(call: Call, step_s: float) -> float:
    """Return the seconds after which a call to a silent upstream gives up. `step_s` is the resolution."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SkippingLoop)

        async def silent(_: httpx.Request) -> httpx.Response:
            while True:
                loop.skipped_s += step_s
                await asyncio.sleep(0)

        transport = httpx.MockTransport(silent)
        async with contextlib.aclosing(
            BackgroundResponses(Endpoint(transport, "https://model.example.com/v1", with_key))
        ) as upstream:
            with pytest.raises(UpstreamUnavailable, match="no answer within"):
                await call(upstream)
        return loop.skipped_s

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        return runner.run(main())


@every_call
def test_every_call_has_its_own_deadline(call: Call) -> None:
    """The deadline is 20 s for a create and 10 s for any other call. It holds whatever the transport does."""
    deadline_s = START_DEADLINE_S if call is CALLS[0] else CALL_DEADLINE_S
    assert deadline_s <= elapsed_at_deadline(call, step_s=0.5) <= deadline_s + 2
    assert (START_DEADLINE_S, CALL_DEADLINE_S) == (20.0, 10.0)


def test_a_credential_has_a_deadline_too() -> None:
    """An identity endpoint that does not answer delays a call no longer than the call's deadline."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SkippingLoop)

        async def silent() -> Mapping[str, str]:
            while True:
                loop.skipped_s += 0.5
                await asyncio.sleep(0)

        async with contextlib.aclosing(
            BackgroundResponses(Endpoint(httpx.AsyncHTTPTransport(), "https://x/v1", silent))
        ) as upstream:
            with pytest.raises(UpstreamUnavailable, match="no credential"):
                await upstream.check()
        assert loop.skipped_s <= CALL_DEADLINE_S + 2

    began_s = time.monotonic()
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(main())
    assert time.monotonic() - began_s < CALL_DEADLINE_S


async def timed_out(_: httpx.Request) -> httpx.Response:
    """Raise a time-out that is not httpx's own."""
    raise TimeoutError


async def test_a_stream_whose_transport_times_out_can_be_tried_again() -> None:
    """Any time-out is passing, with background mode and without."""
    transport = httpx.MockTransport(timed_out)
    with_mode = BackgroundResponses(Endpoint(transport, "https://model.example.com/v1", with_key))
    without = ForegroundResponses(Endpoint(transport, "https://model.example.com/v1", with_key))
    request = {"model": "m", "stream": True}
    for events in (with_mode.stream(request, "resp_1"), without.stream(request, "resp_1", MemoryCheckpoints())):
        with pytest.raises(UpstreamUnavailable, match="no stream in time"):
            await anext(events)
