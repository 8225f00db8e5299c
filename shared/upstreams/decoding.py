"""The body of an upstream's answer without its compression, in small pieces and within a limit.

The HTTP client would decompress each piece as a whole. A body that was compressed twice grows a million times: 1.7 KB
become 1 GB before any limit is checked. Here each layer gives at most 64 KiB at a time, and every layer is limited.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, Iterator, Sequence

import httpx

from shared.core.errors import UpstreamOversized

ACCEPTED = "gzip, deflate"
MAX_LAYERS = 2
_PIECE = 65_536  # bytes
_BREATH = 65_536  # bytes, received and unpacked, after which other work of the process has its turn
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_UNREAD = frozenset({"br", "compress", "x-compress", "dcb", "dcz", "zstd"})
_RAW = -15
_HEADER_BYTES = 2


async def decoded(response: httpx.Response, most: int) -> AsyncGenerator[bytes, None]:
    """Yield the body, decompressed as its `Content-Encoding` says, in pieces of at most 64 KiB.

    Raises UpstreamOversized if the body is over `most` bytes, in any layer of compression or without it. Raises
    httpx.DecodingError if it is damaged, or compressed in a way that was not asked for. Other names are no compression:
    some servers say `utf-8` there.
    """
    is_read = response.is_stream_consumed  # by the client, which has decompressed it too
    layers = [] if is_read else [_Layer(name, most) for name in reversed(_encodings(response))]
    arrived = size = breath = 0
    async for received in response.aiter_bytes() if is_read else response.aiter_raw():
        arrived += len(received)
        if arrived > most:
            raise UpstreamOversized
        for piece in _through(layers, received):
            size += len(piece)
            if size > most:
                raise UpstreamOversized
            if not piece or arrived + size - breath >= _BREATH:
                breath = arrived + size
                await asyncio.sleep(0)
            if piece:
                yield piece


def _encodings(response: httpx.Response) -> list[str]:
    named = [name.strip().lower() for name in response.headers.get("content-encoding", "").split(",")]
    found = [name for name in named if name in _WINDOW_BITS or name in _UNREAD]
    if len(found) > MAX_LAYERS:
        raise UpstreamOversized
    if not _UNREAD.isdisjoint(found):
        raise httpx.DecodingError("the encoding was not asked for")
    return found


def _through(layers: Sequence["_Layer"], received: bytes) -> Iterator[bytes]:
    """Yield the pieces that bytes from the network are after all layers. Nothing is unpacked ahead of its reader.

    What unpacks to nothing is one empty piece, because there may be megabytes of it.
    """
    if not layers:
        yield from (received[start : start + _PIECE] for start in range(0, len(received), _PIECE))
        return
    is_nothing = True
    for piece in layers[0].pieces(received):
        is_nothing = False
        yield from _through(layers[1:], piece)
    if is_nothing:
        yield b""


class _Layer:
    """One layer of compression."""

    __slots__ = ("_begun", "_left", "_name", "_stream")

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._left = most
        self._begun = b""  # the first bytes, until they are enough to know the format
        self._stream: zlib._Decompress | None = None

    def pieces(self, received: bytes) -> Iterator[bytes]:
        """Yield what is inside. Raises UpstreamOversized if that is over the limit in all.

        What follows the end of the compressed data is ignored.
        """
        if self._stream is None:
            received = self._begun = self._begun + received
            if len(received) < _HEADER_BYTES:
                return
            self._stream = zlib.decompressobj(_window_bits(self._name, received))
        yield from self._unpacked(self._stream, received)

    def _unpacked(self, stream: "zlib._Decompress", rest: bytes) -> Iterator[bytes]:
        is_full = False
        while (rest or is_full) and not stream.eof:
            try:
                piece = stream.decompress(rest, _PIECE)
            except zlib.error:
                raise httpx.DecodingError("the body is damaged") from None
            rest, is_full = stream.unconsumed_tail, len(piece) == _PIECE
            self._left -= len(piece)
            if self._left < 0:
                raise UpstreamOversized
            if piece:
                yield piece


def _window_bits(name: str, begun: bytes) -> int:
    """Return the format for zlib. Some servers send `deflate` without the header of RFC 1950."""
    has_header = begun[0] & 15 == 8 and int.from_bytes(begun[:2], "big") % 31 == 0
    return _RAW if name == "deflate" and not has_header else _WINDOW_BITS[name]
