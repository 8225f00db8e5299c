"""Time: the wall clock, a clock for durations, and waiting."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Where flows get the time from, so that tests can set it."""

    def now_ms(self) -> int:
        """Return the wall-clock time in unix milliseconds."""

    def elapsed_s(self) -> float:
        """Return seconds of a clock that only measures durations. It never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's clock, and the event loop's for durations and waiting."""

    def now_ms(self) -> int:
        """Return the wall-clock time in unix milliseconds."""
        return time.time_ns() // 1_000_000

    def elapsed_s(self) -> float:
        """Return the event loop's time in seconds."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
