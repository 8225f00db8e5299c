"""Live feeds: frames on their way to one client, in bounded memory."""

import asyncio

from shared.runtime.live_feed import MAX_BYTES, LiveFeed


def filled(*frames: bytes) -> LiveFeed:
    """Return a feed with these frames, numbered from 0."""
    feed = LiveFeed()
    for number, frame in enumerate(frames):
        feed.put(number, frame)
    return feed


async def drained(feed: LiveFeed) -> list[bytes]:
    """Return all chunks until the feed ends."""
    return [chunk async for chunk in feed.chunks()]


async def test_buffered_frames_are_one_chunk() -> None:
    """A reader that was busy gets all buffered frames at once, in order."""
    feed = filled(b"a", b"b", b"c")
    feed.close()
    assert await drained(feed) == [b"abc"]
    assert feed.last == 2


async def test_a_waiting_reader_gets_each_frame_at_once() -> None:
    """A frame for a waiting reader is not buffered."""
    feed = LiveFeed()
    chunks = feed.chunks()
    for number, frame in enumerate([b"a", b"b"]):
        coming = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0)
        feed.put(number, frame)
        assert await coming == frame
    feed.close()
    assert [chunk async for chunk in chunks] == []


async def test_a_feed_without_frames_can_be_closed() -> None:
    """The reader of a feed that was closed without frames continues from the start of the log."""
    feed = filled()
    feed.close()
    assert (await drained(feed), feed.last) == ([], -1)


async def test_a_reader_that_falls_behind_is_cut_off() -> None:
    """The feed is closed when more than 1 MiB is buffered.

    The reader gets the buffered frames and continues after `last`.
    """
    half = b"x" * (MAX_BYTES // 2)
    feed = filled(half, half, b"1", b"2", b"3")
    assert not feed.is_open
    assert await drained(feed) == [half + half + b"1"]
    assert feed.last == 2


async def test_frames_that_were_read_do_not_count() -> None:
    """A reader that keeps up is never cut off, however many bytes pass through the feed."""
    feed, frame = LiveFeed(), b"x" * MAX_BYTES
    chunks = feed.chunks()
    for number in range(5):
        feed.put(number, frame)
        assert await anext(chunks) == frame
    assert feed.is_open


async def test_a_closed_feed_ignores_frames() -> None:
    """A closed feed ignores frames, because the client reads them from the log."""
    feed = filled(b"a")
    feed.close()
    feed.put(1, b"b")
    assert (await drained(feed), feed.last) == ([b"a"], 0)


async def test_a_feed_with_the_end_of_the_stream_is_complete() -> None:
    """After the frames that end the stream there is nothing to read elsewhere, so the reader is told that."""
    feed = filled(b"a")
    feed.finish([(1, b"error"), (2, b"end")])
    feed.put(3, b"late")
    assert (await drained(feed), feed.last, feed.is_complete) == ([b"aerrorend"], 2, True)


async def test_the_end_is_not_in_a_feed_whose_reader_is_too_far_behind() -> None:
    """A reader that is cut off at the end reads the rest from the log, also if the feed was closed before."""
    behind, closed = filled(b"x" * (MAX_BYTES + 1)), filled(b"a")
    closed.close()
    for feed in (behind, closed):
        feed.finish([(1, b"end")])
        assert (feed.last, feed.is_complete, feed.is_open) == (0, False, False)


async def test_a_feed_gives_no_event_twice() -> None:
    """A reader that has events up to a number gets only later ones, and its end even if it has that already."""
    feed = LiveFeed(1)
    for number, frame in enumerate([b"a", b"b", b"c"]):
        feed.put(number, frame)
    feed.finish([(2, b"again")])
    assert (await drained(feed), feed.last, feed.is_complete) == ([b"c"], 2, True)


async def test_a_silent_feed_says_so_until_a_frame_comes() -> None:
    """An empty chunk stands for each silence. Without a limit for it, a reader waits for a frame."""
    feed = LiveFeed()
    chunks = feed.chunks(0.02)
    assert [await anext(chunks), await anext(chunks)] == [b"", b""]
    feed.put(0, b"a")
    assert await anext(chunks) == b"a"
    feed.close()
    assert [chunk async for chunk in chunks] == []
