"""Time: the wall clock, a clock for durations, and waiting."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """The source of time for the flows. Tests replace it."""

    def now_ms(self) -> int:
        """Return the wall-clock time in unix milliseconds."""

    def elapsed_s(self) -> float:
        """Return the seconds of a monotonic clock, which only measures durations."""

    async def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds."""


class SystemClock:
    """The machine's clock, and the event loop's clock for durations and waiting."""

    def now_ms(self) -> int:
        """Return the wall-clock time in unix milliseconds."""
        return time.time_ns() // 1_000_000

    def elapsed_s(self) -> float:
        """Return the event loop's time in seconds."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds."""
        await asyncio.sleep(seconds)
