"""An event loop in which waiting takes no time: when nothing is ready, its clock jumps to the next timer.

So a run depends on nothing but its input. There are no sockets, no threads and no real time. A wait that nothing can
end is an error instead of a hang.
"""

import asyncio
from typing import Any

from tests.support.clocks import START_MS


class Stuck(Exception):
    """Nothing is ready, and no timer is set: the loop would wait forever."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop with a clock of its own, which begins at 0."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._selector = self  # what the base class asks for events, and how long it waits

    def time(self) -> float:
        """Return the seconds of the loop's clock."""
        return self._now_s

    def select(self, timeout: float | None) -> list[Any]:
        """Wait for as long as nothing happens, which is at once over. Raises Stuck."""
        if timeout is None:
            raise Stuck("nothing is ready, and no timer is set")
        self._now_s += timeout
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """There is no other thread that this could wake the loop for."""

    def run_for(self, seconds: float) -> None:
        """Let all tasks go on for some seconds of the loop's clock."""
        self.run_until_complete(asyncio.sleep(seconds))


class VirtualClock:
    """The clock of a process on such a loop, which is ahead of the loop by `skew_ms`."""

    def __init__(self, loop: VirtualLoop, skew_ms: int = 0) -> None:
        self._loop = loop
        self.skew_ms = skew_ms

    def now_ms(self) -> int:
        """Return the wall-clock time in unix milliseconds."""
        return START_MS + self.skew_ms + int(self._loop.time() * 1000)

    def elapsed_s(self) -> float:
        """Return the loop's time in seconds."""
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds."""
        await asyncio.sleep(seconds)
