"""The decompression of an upstream's answers: every layer within a limit, before anything is unpacked."""

import gzip
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import aclosing

import httpx
import pytest

from shared.core.errors import UpstreamOversized
from shared.upstreams import decoding
from shared.upstreams.decoding import decoded

MIB = 1_048_576
TEXT = b'{"status": "completed"} ' * 500


def answer(body: bytes, encoding: str | None, *, cut: int = 1_000) -> httpx.Response:
    """Return an answer whose body arrives in pieces of `cut` bytes."""

    async def arriving() -> AsyncIterator[bytes]:
        for start in range(0, len(body), cut):
            yield body[start : start + cut]

    return httpx.Response(200, headers={"content-encoding": encoding} if encoding else {}, content=arriving())


async def read(response: httpx.Response, most: int = MIB) -> bytes:
    """Return the whole body."""
    async with aclosing(decoded(response, most)) as pieces:
        return b"".join([piece async for piece in pieces])


def raw_deflate(text: bytes) -> bytes:
    """Return compressed bytes without the header of zlib."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(text) + packer.flush()


@pytest.mark.parametrize("cut", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (None, TEXT),
        ("identity", TEXT),
        ("gzip", gzip.compress(TEXT, mtime=0)),
        ("X-GZip", gzip.compress(TEXT, mtime=0)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw_deflate(TEXT)),
        ("deflate, gzip", gzip.compress(zlib.compress(TEXT), mtime=0)),
        ("gzip, identity, gzip", gzip.compress(gzip.compress(TEXT, mtime=0), mtime=0)),
        ("gzip", gzip.compress(TEXT, mtime=0) + b"\0\0 padding"),
    ],
)
async def test_a_body_is_decompressed_as_its_encoding_says(encoding: str | None, body: bytes, cut: int) -> None:
    """In any order and number of pieces. What follows the compressed data is ignored."""
    assert await read(answer(body, encoding, cut=cut)) == TEXT


async def test_every_piece_is_small() -> None:
    """A reader that stops early has made nobody unpack more."""
    async with aclosing(decoded(answer(gzip.compress(bytes(8 * MIB)), "gzip", cut=MIB), 16 * MIB)) as pieces:
        sizes = [len(piece) async for piece in pieces]
    assert max(sizes) <= 65_536
    assert sum(sizes) == 8 * MIB


@pytest.mark.parametrize(("encoding", "layers"), [("gzip", 1), ("gzip, gzip", 2)])
async def test_a_bomb_is_given_up_at_the_limit(encoding: str, layers: int) -> None:
    """512 MiB of zeros, compressed once or twice, cost neither their time nor their memory."""
    bomb = gzip.compress(bytes(512 * MIB), 9)
    if layers == 2:
        bomb = gzip.compress(bomb, 9)
    tracemalloc.start()
    began_s = time.process_time()
    with pytest.raises(UpstreamOversized):
        await read(answer(bomb, encoding, cut=65_536), 4 * MIB)
    taken_s, (_, peak) = time.process_time() - began_s, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * MIB
    assert taken_s < 2.0


async def test_an_inner_layer_is_limited_too() -> None:
    """Data that unpacks to nothing is no way around the limit: the bytes between two layers count."""
    empty_blocks = zlib.compressobj()
    inner = empty_blocks.compress(b"") + b"".join(empty_blocks.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    block = inner[-5:]
    nothing = inner + block * (2 * MIB // len(block))
    with pytest.raises(UpstreamOversized):
        await read(answer(gzip.compress(nothing), "deflate, gzip"), MIB)


@pytest.mark.parametrize("encoding", ["gzip, gzip, gzip", "deflate,gzip,deflate,gzip"])
async def test_more_than_two_layers_are_no_answer(encoding: str) -> None:
    """No server needs three layers."""
    with pytest.raises(UpstreamOversized):
        await read(answer(b"", encoding))


@pytest.mark.parametrize("encoding", ["identity", "utf-8", "none", "aws-chunked", ""])
async def test_a_name_of_no_compression_is_ignored(encoding: str) -> None:
    """Some servers name a character set there. Other readers ignore it, too."""
    assert await read(answer(TEXT, encoding)) == TEXT
    assert await read(answer(gzip.compress(TEXT), f"{encoding}, gzip")) == TEXT


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br", "compress", "br, utf-8"])
async def test_only_what_was_asked_for_is_read(encoding: str) -> None:
    """An encoding that the request does not accept is a fault of the answer."""
    assert not set(encoding.split(", ")) <= set(decoding.ACCEPTED.split(", "))
    with pytest.raises(httpx.DecodingError):
        await read(answer(b"x", encoding))


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", b"not compressed at all"),
        ("deflate", b"not compressed at all"),
        ("deflate", zlib.compress(TEXT)[:-4] + b"sum?"),
        ("gzip", gzip.compress(TEXT, mtime=0)[:-8] + b"checksum"),
        ("gzip, gzip", gzip.compress(gzip.compress(TEXT, mtime=0)[:-8] + b"checksum", mtime=0)),
    ],
)
async def test_a_damaged_body_is_a_fault_of_the_answer(encoding: str, body: bytes) -> None:
    """Also if the damage comes last."""
    with pytest.raises(httpx.DecodingError):
        await read(answer(body, encoding))


async def test_a_body_over_the_limit_is_given_up_without_compression_too() -> None:
    """The limit is exact."""
    assert await read(answer(bytes(1_000), None), 1_000) == bytes(1_000)
    with pytest.raises(UpstreamOversized):
        await read(answer(bytes(1_001), None), 1_000)
