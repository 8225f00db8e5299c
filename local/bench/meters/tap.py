"""A tap between the host and Azurite. It forwards all bytes unchanged and records the requests."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from local.bench.meters.storage_requests import StorageRequest

LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)
MESSAGE = b"<QueueMessage>"
CHUNK = 65_536


@dataclass(frozen=True)
class Tap:
    """The ports that it listens on, by service, and the requests that have passed."""

    targets: Mapping[str, int]
    ports: dict[str, int] = field(default_factory=dict)
    requests: list[StorageRequest] = field(default_factory=list)

    def through(self, connection_string: str) -> str:
        """Return the connection string that leads to the same account through the tap."""
        for service, port in self.ports.items():
            connection_string = connection_string.replace(f":{self.targets[service]}/", f":{port}/")
        return connection_string

    async def serve(self, service: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until either side closes it."""
        onward = await asyncio.open_connection("127.0.0.1", self.targets[service])
        connection = _Connection(service, self.requests)
        ways = {
            asyncio.create_task(connection.pass_requests(reader, onward[1])),
            asyncio.create_task(connection.pass_answers(onward[0], writer)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            writer.transport.abort()
            onward[1].transport.abort()


class _Connection:
    """One connection, on which each request waits for the answer to the previous one."""

    def __init__(self, service: str, requests: list[StorageRequest]) -> None:
        self._service = service
        self._requests = requests
        self._latest: StorageRequest | None = None

    async def pass_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = LENGTH.search(head)
                body = await reader.readexactly(int(length[1])) if length else b""
                self._note(head, body)
                writer.write(head + body)
                await writer.drain()

    async def pass_answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if self._latest and MESSAGE in data:
                    self._latest.brought_message = True
                writer.write(data)
                await writer.drain()

    def _note(self, head: bytes, body: bytes) -> None:
        method, path, _ = head.split(b" ", 2)
        self._latest = StorageRequest(self._service, method.decode(), path.decode(), body)
        self._requests.append(self._latest)


@asynccontextmanager
async def tap(targets: Mapping[str, int]) -> AsyncIterator[Tap]:
    """Listen for each service until the end of the block."""
    listening = Tap(targets)
    async with contextlib.AsyncExitStack() as cleanup:
        for service in targets:
            server = await asyncio.start_server(partial(listening.serve, service), "127.0.0.1", 0)
            cleanup.callback(server.close)
            listening.ports[service] = server.sockets[0].getsockname()[1]
        yield listening
