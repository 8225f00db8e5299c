"""Small servers that answer with exact bytes, and clients with the transport of the service."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from shared.upstreams.transport import AiohttpTransport

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SMALL = HEAD + b"Content-Length: 2\r\n\r\n{}"
DEADLINE_S = 30.0

Respond = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A loopback server. `heads` are the heads of the requests that it has read, and `connections` counts."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self.heads: list[bytes] = []
        self.connections = 0
        self.url = ""
        self.segment = 0  # the largest segment of the last connection
        self.closed = asyncio.Event()  # by the client

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until either side closes it."""
        self.connections += 1
        self.segment = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                await self._respond(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed.set()
        finally:
            writer.close()


@asynccontextmanager
async def serving(respond: Respond, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Run a server."""
    server = Server(respond)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.url = f"http{'s' if tls else ''}://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    async with asyncio.timeout(DEADLINE_S):
        yield server
    listening.close()


def always(answer: bytes, *, keeps_open: bool = False) -> Respond:
    """Answer each request with these bytes, and close the connection by default."""

    async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        if not keeps_open:
            raise ConnectionError

    return respond


async def silence(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Answer nothing."""
    await asyncio.sleep(DEADLINE_S)


def ours(**changed: Any) -> AiohttpTransport:
    """Return our transport."""
    return AiohttpTransport(**{"context": ssl.create_default_context(), "max_connections": 10, **changed})


@asynccontextmanager
async def client(transport: httpx.AsyncBaseTransport | None = None, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client with our transport, or another."""
    async with httpx.AsyncClient(transport=transport or ours(), trust_env=False, **options) as http:
        yield http


async def outcome(http: httpx.AsyncClient, method: str, url: str, **options: Any) -> tuple[Any, ...] | str:
    """Return the status, the body as received and the headers of an answer, or the name of the error."""
    try:
        async with http.stream(method, url, **options) as answer:
            body = b"".join([piece async for piece in answer.aiter_raw()])
            return answer.status_code, body, answer.headers.raw
    except httpx.TransportError as error:
        return type(error).__name__
