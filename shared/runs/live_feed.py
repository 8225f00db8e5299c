"""The live feed: a bounded buffer between a run and the one client whose request began it, ahead of the event log."""

import asyncio
from collections.abc import AsyncGenerator

MAX_BYTES = 1_048_576


class LiveFeed:
    """Events for a live reader, each as a frame of bytes.

    A reader that falls behind by over 1 MiB is cut off, and continues from the log.
    """

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._size = 0
        self._more = asyncio.Event()
        self.is_open = True
        self.is_complete = False  # the end of the stream is in it
        self.last = -1  # the number of the last event that was put in
        self.left = asyncio.Event()  # set when the client has left

    def put(self, number: int, frame: bytes) -> None:
        """Add the frame of the event with this number. If the reader is too far behind, close the feed instead."""
        if not self.is_open:
            return
        if self._size > MAX_BYTES:
            self.close()
            return
        self._frames.append(frame)
        self._size += len(frame)
        self.last = number
        self._more.set()

    def finish(self, number: int, frames: bytes) -> None:
        """Add the frames that end the stream, the last of which has this number, and close the feed."""
        self.put(number, frames)
        self.is_complete = self.is_open
        self.close()

    def close(self) -> None:
        """Accept no more frames."""
        self.is_open = False
        self._more.set()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the frames that have arrived, joined, until the feed is closed and empty."""
        while self.is_open or self._frames:
            await self._more.wait()
            self._more.clear()
            if self._frames:
                chunk = b"".join(self._frames)
                self._frames.clear()
                self._size = 0
                yield chunk
