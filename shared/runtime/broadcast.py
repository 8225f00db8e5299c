"""The broadcast of a response: what its readers in this process get, from a run in this process or from one tail.

A reader first reads by itself whatever is stored, and then joins. So any number of readers cost storage as much as one.
"""

from collections import deque
from collections.abc import Sequence

from shared.contract import stream_events
from shared.core.event_log import Event
from shared.core.records import WaitInfo
from shared.runtime.live_feed import LiveFeed

_WAITS_FOR_NOTHING = WaitInfo()
RECENT_BYTES = 65_536  # of events that are kept for readers that join, beside those that are not stored


class Broadcast:
    """The events of one response from a number on, as they become known in this process."""

    def __init__(self, response_id: str, next_seq: int) -> None:
        """Take the number of the next event. All earlier ones are stored."""
        self.response_id = response_id
        self.is_open = True
        self.wait = _WAITS_FOR_NOTHING  # what the response waits for, as last known here
        self._from = next_seq  # a reader that has all events below this number gets all others here
        self._recent: deque[tuple[int, Event]] = deque()
        self._size = 0
        self._feeds: list[LiveFeed] = []

    @property
    def has_readers(self) -> bool:
        """Whether a reader listens."""
        return any(feed.is_open for feed in self._feeds)

    # Readers

    def attach(self, feed: LiveFeed) -> None:
        """Give all further events to a feed."""
        self._feeds.append(feed)

    def join(self, after: int) -> LiveFeed | None:
        """Return a feed with all events above a number.

        Returns None if some of them are no longer here. The reader finds them in the log.
        """
        if not self.is_open or after + 1 < self._from:
            return None
        feed = LiveFeed(after)
        for number, event in self._recent:
            feed.put(number, self._frame(number, event))
        self.attach(feed)
        return feed

    # Events

    def publish(self, number: int, event: Event) -> None:
        """Give the event with this number to all readers."""
        if not self.is_open:
            return
        self.wait = _WAITS_FOR_NOTHING
        self._recent.append((number, event))
        self._size += len(event.body)
        self._feeds = [feed for feed in self._feeds if feed.is_open]
        if self._feeds:
            frame = self._frame(number, event)
            for feed in self._feeds:
                feed.put(number, frame)

    def note_stored(self, next_seq: int) -> None:
        """Note that every event below a number is stored. Only the last ones of them are kept."""
        while self._recent and self._recent[0][0] < next_seq and self._size > RECENT_BYTES:
            number, event = self._recent.popleft()
            self._size -= len(event.body)
            self._from = number + 1

    def finish(self, ends: Sequence[tuple[int, bytes]]) -> None:
        """Give the events that end the stream to all readers, as numbers and frames, and close."""
        for feed in self._feeds:
            feed.finish(ends)
        self.close()

    def close(self, *, is_gone: bool = False) -> None:
        """Publish no more. Readers go on by themselves, or end if `is_gone` says that the response was removed."""
        self.is_open = False
        for feed in self._feeds:
            feed.is_gone = feed.is_gone or (is_gone and feed.is_open)
            feed.close()
        self._recent.clear()

    def _frame(self, number: int, event: Event) -> bytes:
        return stream_events.frames(self.response_id, number, [event])
