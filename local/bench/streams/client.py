"""A stream client with little overhead. It timestamps what it receives and decodes no event."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import urlsplit

import orjson

from local.stack.process import PartError

CHUNK = 262_144
TICK = re.compile(rb'"delta":"(\d{13}) "')
NUMBER = re.compile(rb'"sequence_number":(\d+)')
ID = re.compile(rb'"id":"(resp_[0-9a-f]{32})"')


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole frames that arrived together, at a unix time in milliseconds."""

    at_ms: float
    frames: bytes = field(repr=False)

    @property
    def response_id(self) -> str:
        """The id in the first event that has one."""
        found = ID.search(self.frames)
        return found[1].decode() if found else ""

    @property
    def numbers(self) -> list[int]:
        """The sequence numbers of its events."""
        return [int(number) for number in NUMBER.findall(self.frames)]

    @property
    def late_ms(self) -> list[float]:
        """How late each delta arrived, in ms. The text of such a delta is the unix ms at which it was due."""
        return [self.at_ms - int(due_ms) for due_ms in TICK.findall(self.frames)]


Pieces: TypeAlias = AsyncIterator[Piece]


class StreamClient:
    """Opens streams of one service, each on a new connection."""

    def __init__(self, base_url: str, api_key: str) -> None:
        address = urlsplit(base_url)
        self._address = address.hostname, address.port
        self._path = f"{address.path}/responses"
        self._head = f"Host: {address.netloc}\r\nAuthorization: Bearer {api_key}\r\n"

    @asynccontextmanager
    async def create(self, model: str, *, background: bool = True) -> AsyncIterator[Pieces]:
        """Yield the stream of new work. The client disconnects at the end of the block."""
        body = orjson.dumps({"model": model, "input": "Go on.", "background": background, "stream": True})
        head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        async with self._opened("POST", self._path, head, body) as pieces:
            yield pieces

    @asynccontextmanager
    async def resume(self, response_id: str, after: int) -> AsyncIterator[Pieces]:
        """Yield the events above a number. The client disconnects at the end of the block."""
        async with self._opened("GET", f"{self._path}/{response_id}?stream=true&starting_after={after}") as pieces:
            yield pieces

    @asynccontextmanager
    async def _opened(self, method: str, path: str, head: str = "", body: bytes = b"") -> AsyncIterator[Pieces]:
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            writer.write(f"{method} {path} HTTP/1.1\r\n{self._head}{head}Connection: close\r\n\r\n".encode() + body)
            status = await reader.readline()
            if b" 200 " not in status:
                raise PartError("host", f"{method} {path} answered {status.decode().strip()}")
            await reader.readuntil(b"\r\n\r\n")
            async with aclosing(pieces(reader)) as coming:
                yield coming
        finally:
            writer.transport.abort()


async def pieces(reader: asyncio.StreamReader) -> AsyncGenerator[Piece, None]:
    """Yield frames as they arrive. The sizes of HTTP chunks stay between the frames, where no pattern finds them."""
    rest = b""
    while data := await reader.read(CHUNK):
        at_ms = time.time() * 1000
        whole, end, rest = (rest + data).rpartition(b"\n\n")
        if end:
            yield Piece(at_ms, whole)


async def late_ms(stream: Pieces) -> list[float]:
    """Read a stream to its end. Return how late each of its deltas arrived, in milliseconds."""
    return [late for piece in [piece async for piece in stream] for late in piece.late_ms]
