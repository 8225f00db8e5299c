"""Compressed answers that unpack to nothing: what arrives counts, and others have their turn meanwhile."""

import asyncio
import gzip
import zlib

import pytest

from shared.core.errors import UpstreamOversized
from tests.unit.upstreams.test_decoding import MIB, TEXT, answer, raw_deflate, read

EMPTY_BLOCK = b"\0\0\0\xff\xff"  # https://www.rfc-editor.org/rfc/rfc1951#section-3.2.4
EMPTY_BLOCKS = EMPTY_BLOCK * (2 * MIB // len(EMPTY_BLOCK))


@pytest.mark.parametrize(
    ("encoding", "begun"),
    [
        ("gzip", gzip.compress(TEXT, mtime=0)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw_deflate(TEXT)),
        ("gzip, gzip", gzip.compress(gzip.compress(TEXT, mtime=0), mtime=0)),
    ],
)
async def test_what_follows_the_compressed_data_counts(encoding: str, begun: bytes) -> None:
    """It is ignored, and read all the same."""
    assert await read(answer(begun + bytes(MIB - len(begun)), encoding, cut=65_536)) == TEXT
    with pytest.raises(UpstreamOversized):
        await read(answer(begun + bytes(MIB + 1 - len(begun)), encoding, cut=65_536))


@pytest.mark.parametrize("begun", [b"", b"\x78\x9c"])
async def test_empty_blocks_count(begun: bytes) -> None:
    """Deflate may have any number of them."""
    with pytest.raises(UpstreamOversized):
        await read(answer(begun + EMPTY_BLOCKS, "deflate", cut=65_536))


@pytest.mark.parametrize("encoding", ["deflate", "deflate, gzip"])
async def test_others_have_their_turn_while_nothing_is_unpacked(encoding: str) -> None:
    """In one layer and in two, where one packet may be megabytes of empty blocks."""
    body, turns = gzip.compress(EMPTY_BLOCKS) if "gzip" in encoding else EMPTY_BLOCKS, 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    assert await read(answer(body, encoding, cut=65_536), 4 * MIB) == b""
    task.cancel()
    assert turns >= 16
