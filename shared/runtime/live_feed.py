"""The live feed: a bounded buffer between what reads or writes an event log in this process, and one client."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from shared.silence import Silence

MAX_BYTES = 1_048_576


class LiveFeed:
    """Events for one reader, each as a frame of bytes.

    A reader that falls behind by over 1 MiB is cut off, and continues from the log.
    """

    def __init__(self, after: int = -1) -> None:
        """Take only events with numbers above `after`."""
        self._frames: list[bytes] = []
        self._size = 0
        self._more = asyncio.Event()
        self.is_open = True
        self.is_complete = False  # the end of the stream is in it
        self.is_gone = False  # the response was removed
        self.last = after  # the number of the last event that was put in
        self.left = asyncio.Event()  # set when the client has left

    def put(self, number: int, frame: bytes) -> None:
        """Add the frame of the event with this number. If the reader is too far behind, close the feed instead."""
        if not self.is_open or number <= self.last:
            return
        if self._size > MAX_BYTES:
            self.close()
            return
        self._frames.append(frame)
        self._size += len(frame)
        self.last = number
        self._more.set()

    def finish(self, ends: Sequence[tuple[int, bytes]]) -> None:
        """Add the events that end the stream, as numbers and frames, and close the feed."""
        for number, frame in ends:
            self.put(number, frame)
        self.is_complete = self.is_open
        self.close()

    def close(self) -> None:
        """Accept no more frames."""
        self.is_open = False
        self._more.set()

    async def chunks(self, silence_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the frames that have arrived, joined, until the feed is closed and empty.

        With `silence_s`, an empty chunk says that no frame has arrived for so many seconds.
        """
        silence = None if silence_s is None else Silence(silence_s, self._more.set)
        try:
            while self.is_open or self._frames:
                await self._more.wait()
                self._more.clear()
                chunk = b"".join(self._frames)
                if chunk or (silence and silence.is_over):
                    self._frames.clear()
                    self._size = 0
                    yield chunk
                if silence:
                    silence.begin_again()
        finally:
            if silence:
                silence.end()
