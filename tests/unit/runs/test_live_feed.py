"""Feeds: events on their way to one client, in bounded memory."""

import asyncio

from shared.runs.live_feed import MAX_BYTES, LiveFeed


def filled(*frames: bytes) -> LiveFeed:
    """Return a feed with these frames, numbered from 0."""
    feed = LiveFeed()
    for number, frame in enumerate(frames):
        feed.put(number, frame)
    return feed


async def drained(feed: LiveFeed) -> list[bytes]:
    """Return all chunks up to the end."""
    return [chunk async for chunk in feed.chunks()]


async def test_what_has_gathered_is_one_chunk() -> None:
    """A reader that was away for a moment gets it all at once, in order."""
    feed = filled(b"a", b"b", b"c")
    feed.close()
    assert await drained(feed) == [b"abc"]
    assert feed.last == 2


async def test_a_reader_that_waits_gets_each_frame_as_it_comes() -> None:
    """Nothing is held back."""
    feed = LiveFeed()
    chunks = feed.chunks()
    for number, frame in enumerate([b"a", b"b"]):
        coming = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0)
        feed.put(number, frame)
        assert await coming == frame
    feed.close()
    assert [chunk async for chunk in chunks] == []


async def test_an_end_without_anything_is_an_end() -> None:
    """The reader goes on from the log, from the start."""
    feed = filled()
    feed.close()
    assert (await drained(feed), feed.last) == ([], -1)


async def test_a_reader_that_lags_is_cut_off_and_keeps_what_it_was_given() -> None:
    """Beyond a mebibyte nothing is taken any more; `last` says where to go on."""
    half = b"x" * (MAX_BYTES // 2)
    feed = filled(half, half, b"1", b"2", b"3")
    assert not feed.is_open
    assert await drained(feed) == [half + half + b"1"]
    assert feed.last == 2


async def test_what_has_been_read_counts_no_more() -> None:
    """A reader that keeps up is never cut off, however much passes."""
    feed, frame = LiveFeed(), b"x" * MAX_BYTES
    chunks = feed.chunks()
    for number in range(5):
        feed.put(number, frame)
        assert await anext(chunks) == frame
    assert feed.is_open


async def test_a_closed_feed_takes_nothing() -> None:
    """What is put in later is read from the log."""
    feed = filled(b"a")
    feed.close()
    feed.put(1, b"b")
    assert (await drained(feed), feed.last) == ([b"a"], 0)
