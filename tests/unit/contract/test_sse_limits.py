"""Server-sent events: how many lines a stream may have."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from shared.contract.sse import TooManyLines, messages


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    """Yield chunks."""
    for chunk in chunks:
        yield chunk


def read(*chunks: bytes, most_lines: int) -> list[str]:
    """Return the data of the messages in a stream."""

    async def collect() -> list[str]:
        return [message.data async for message in messages(stream(*chunks), 1_000, most_lines=most_lines)]

    return asyncio.run(collect())


def test_every_line_counts() -> None:
    """Comments and blank lines do, too, because each takes time."""
    chunks = (b": c\n\n", b"data: a\n", b"\n")
    assert read(*chunks, most_lines=4) == ["a"]
    with pytest.raises(TooManyLines):
        read(*chunks, most_lines=3)
