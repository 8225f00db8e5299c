"""Broadcasts: each reader gets every event above its own last one, once, and nothing waits for a slow one."""

from shared.contract.stream_events import frames
from shared.core.event_log import Event
from shared.runtime.broadcast import RECENT_BYTES, Broadcast
from shared.runtime.live_feed import MAX_BYTES, LiveFeed

ID = f"resp_{'a' * 32}"
LARGE = "x" * (RECENT_BYTES // 2)


def event(text: str) -> Event:
    """Return an event with this text."""
    return Event("a", b'{"delta":"%b"}' % text.encode())


def sent(first: int, *texts: str) -> bytes:
    """Return the events with these texts as a reader gets them."""
    return frames(ID, first, [event(text) for text in texts])


def told(broadcast: Broadcast, first: int, *texts: str) -> None:
    """Publish events with these texts."""
    for number, text in enumerate(texts, first):
        broadcast.publish(number, event(text))


async def read(feed: LiveFeed | None) -> bytes:
    """Return everything in a closed feed."""
    return b"".join([chunk async for chunk in feed.chunks()]) if feed else b""


async def test_a_reader_gets_what_it_lacks_and_what_follows() -> None:
    """Readers that join at different numbers get the events above these, those published before included."""
    broadcast = Broadcast(ID, 3)
    told(broadcast, 3, "a", "b")
    feeds = [broadcast.join(after) for after in (2, 3, 4, 9)]
    told(broadcast, 5, "c")
    broadcast.close()
    expected = [sent(3, "a", "b", "c"), sent(4, "b", "c"), sent(5, "c"), b""]
    assert [await read(feed) for feed in feeds] == expected
    assert not broadcast.has_readers


def test_a_reader_behind_the_broadcast_does_not_join() -> None:
    """A reader that lacks events from before the broadcast, or that are no longer kept, reads the log first."""
    broadcast = Broadcast(ID, 3)
    assert broadcast.join(1) is None
    told(broadcast, 3, LARGE, LARGE, LARGE)
    broadcast.note_stored(6)
    assert broadcast.join(2) is None
    assert broadcast.join(5)


def test_what_is_not_stored_is_kept() -> None:
    """Events that are not stored are kept for readers that join, however large they are. A gap loses none."""
    broadcast = Broadcast(ID, 3)
    told(broadcast, 3, LARGE)
    told(broadcast, 257, LARGE, LARGE, "a")
    broadcast.note_stored(4)
    feed = broadcast.join(3)
    assert feed
    assert feed.last == 259
    broadcast.note_stored(260)
    assert broadcast.join(256) is None


async def test_the_end_goes_to_all_readers() -> None:
    """Every reader gets the events of the end that it lacks, is complete then, and nobody joins any more."""
    broadcast = Broadcast(ID, 3)
    feeds = [LiveFeed(2), LiveFeed(3)]
    for feed in feeds:
        broadcast.attach(feed)
    broadcast.finish([(3, b"error"), (4, b"failed")])
    told(broadcast, 5, "late")
    assert [(await read(feed), feed.is_complete) for feed in feeds] == [(b"errorfailed", True), (b"failed", True)]
    assert broadcast.join(4) is None


def test_a_slow_reader_is_cut_off_alone() -> None:
    """A reader that lags by over 1 MiB reads by itself again, and the others go on."""
    broadcast = Broadcast(ID, 0)
    slow = broadcast.join(-1)
    told(broadcast, 0, "x" * (MAX_BYTES + 1), "a")
    quick = LiveFeed(1)
    broadcast.attach(quick)
    told(broadcast, 2, "b")
    assert slow
    assert (slow.is_open, slow.last, quick.is_open, quick.last) == (False, 0, True, 2)


def test_readers_learn_that_a_response_is_gone() -> None:
    """Readers of a removed response are told so. Those of another broadcast that closes go on by themselves."""
    for is_gone in (True, False):
        broadcast, feed = Broadcast(ID, 0), LiveFeed()
        broadcast.attach(feed)
        broadcast.close(is_gone=is_gone)
        assert (feed.is_gone, feed.is_open, feed.is_complete) == (is_gone, False, False)
