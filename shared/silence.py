"""Silences: what waits for many small pieces learns when none has come for too long.

A timer for each piece takes longer than the piece itself, where hundreds of streams share a process. Here each stream
has one, which is set again only when it fires.
"""

import asyncio
from collections.abc import Callable


class Silence:
    """Calls `on_over` when a silence has lasted `most_s` seconds, and again for as long as it lasts. End it."""

    __slots__ = ("_loop", "_most_s", "_on_over", "_since_s", "_timer", "is_over")

    def __init__(self, most_s: float, on_over: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._most_s, self._on_over = most_s, on_over
        self.begin_again()
        self._timer = self._loop.call_later(most_s, self._look)

    def begin_again(self) -> None:
        """Note that something has come, so that another silence begins."""
        self.is_over = False
        self._since_s = self._loop.time()

    def end(self) -> None:
        """Call nobody any more."""
        self._timer.cancel()

    def _look(self) -> None:
        left_s = self._since_s + self._most_s - self._loop.time()
        self._timer = self._loop.call_later(left_s if left_s > 0 else self._most_s, self._look)
        if left_s <= 0:
            self.is_over = True
            self._on_over()
