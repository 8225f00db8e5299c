"""Streams that say nothing, as fast as they can: they are bounded, and others have their turn meanwhile."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import httpx
import pytest

from shared.core.errors import UpstreamOversized
from shared.upstreams.streams import events_in

NOTHING = [b"data:{}\n\n", b"data:ping\n\n", b"event:ping\ndata:\n\n"]


def answer(text: bytes, *, packed: bool = False) -> httpx.Response:
    """Return a stream whose body arrives at once."""

    async def arriving() -> AsyncIterator[bytes]:
        yield gzip.compress(text) if packed else text

    headers = {"content-type": "text/event-stream"} | ({"content-encoding": "gzip"} if packed else {})
    return httpx.Response(200, headers=headers, content=arriving())


async def turns_during(response: httpx.Response) -> int:
    """Return how often another task had its turn while a stream was read to its end."""
    turns, is_over = 0, False

    async def other() -> None:
        nonlocal turns
        while not is_over:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    async for _ in events_in(response):
        pass
    is_over = True
    await task
    return turns


@pytest.mark.parametrize("message", NOTHING)
async def test_messages_that_are_no_events_count(message: bytes) -> None:
    """Heartbeats and events without a type count like the others, and the error names the limit."""
    assert [event.data async for event in events_in(answer(message * 1_000), most_messages=1_000)] in ([], [{}] * 1_000)
    with pytest.raises(UpstreamOversized, match="1000 messages"):
        async for _ in events_in(answer(message * 1_500), most_messages=1_000):
            pass


@pytest.mark.parametrize("line", [b":\n", b"\n", b"retry:1\n", b"event:x\n"])
async def test_lines_that_make_no_message_count(line: bytes) -> None:
    """A comment, a blank line, a field without data."""
    text = b":\n" + line * 1_998
    assert [event async for event in events_in(answer(text), most_lines=2_000)] == []
    with pytest.raises(UpstreamOversized, match="2000 lines"):
        async for _ in events_in(answer(text + line * 2), most_lines=2_000):
            pass


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("message", NOTHING)
async def test_others_have_their_turn_between_messages(message: bytes, packed: bool) -> None:
    """One packet may hold a hundred thousand of them."""
    assert await turns_during(answer(message * 25_600, packed=packed)) >= 100


@pytest.mark.parametrize("packed", [False, True])
async def test_others_have_their_turn_between_comments(packed: bool) -> None:
    """Nothing is yielded for these, so the bytes give way."""
    assert await turns_during(answer(b":\n" * 524_288, packed=packed)) >= 14
