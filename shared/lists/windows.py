"""How a list is read oldest first, although its rows are newest first: in windows of time that grow. Pure."""

from dataclasses import dataclass

from shared.core import keys

WINDOW_MS = 60_000
_GROWTH = 4


@dataclass(slots=True)
class Walk:
    """A walk from older to younger entries. All that stands at `end` or behind it in the list has been read.

    The next window begins with what was created at `from_ms`, and is `width_ms` milliseconds wide.
    """

    from_ms: int
    end: str
    width_ms: int = WINDOW_MS

    def first(self, now_ms: int) -> str:
        """Return the place where the window begins in the list, which ends at `end`."""
        return keys.entry_place(self._last_ms(now_ms))

    def shrinks(self) -> bool:
        """Make the window narrower, since it holds too much. Returns False if it cannot be narrower."""
        if self.width_ms == 1:
            return False
        self.width_ms = max(1, self.width_ms // _GROWTH)
        return True

    def goes_on(self, now_ms: int) -> None:
        """Go on behind the window, with a wider one."""
        last_ms = self._last_ms(now_ms)
        self.from_ms, self.end = last_ms + 1, keys.entry_place(last_ms)
        self.width_ms *= _GROWTH

    def _last_ms(self, now_ms: int) -> int:
        return min(self.from_ms + self.width_ms - 1, max(now_ms, self.from_ms))


def walk_from(created_after_ms: int, after: str | None, oldest_ms: int) -> Walk:
    """Return a walk through what was created after a time in unix milliseconds, or before a place in the list.

    Little is older than `oldest_ms`, so the first window reaches up to there.
    """
    start_ms, end = created_after_ms + 1, keys.entry_place(max(0, created_after_ms))
    if start_ms == 0:
        end = keys.END
    if after is not None and after < end:
        created_ms, response_id = keys.parse_entry_place(after)
        start_ms, end = created_ms + (not response_id), after
    return Walk(start_ms, end, max(WINDOW_MS, oldest_ms - start_ms))
