"""Clocks that a test controls."""

from shared.runtime.clock import SystemClock

START_MS = 1_800_000_000_000


class Clock(SystemClock):
    """A wall clock that stands still until it is moved. Durations and waits are real."""

    def __init__(self, ms: int = START_MS) -> None:
        self.ms = ms

    def now_ms(self) -> int:
        """Return the time that was set."""
        return self.ms

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self.ms += int(seconds * 1000)


class SkewedClock(SystemClock):
    """A running clock that is ahead of the machine's by a number of milliseconds, which may be negative."""

    def __init__(self, by_ms: int) -> None:
        self._by_ms = by_ms

    def now_ms(self) -> int:
        """Return the machine's time plus the difference."""
        return super().now_ms() + self._by_ms
