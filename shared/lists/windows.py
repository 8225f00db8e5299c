"""How a list is read oldest first, although its rows are newest first: in windows of time. Pure.

The first window holds all that is left, since most callers have little. If it holds too much, it is split: the first
part is as short as what was too much, and each following part ends twice as far from the beginning. A part that holds
too much is halved later. So a busy day is found behind an empty month in a few reads.
"""

from dataclasses import dataclass

from shared.core import keys


@dataclass(slots=True)
class Walk:
    """A walk from older to younger entries. Times are unix milliseconds.

    All that stands at `end` or behind it in the list has been read. The next window begins with what was created at
    `from_ms`. `last_ms` are the ends of the windows that are left, the nearest one last.
    """

    from_ms: int
    end: str
    last_ms: list[int]
    is_split: bool = False  # the first window was too large

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to read."""
        return not self.last_ms

    @property
    def first(self) -> str:
        """The place where the next window begins in the list. The window ends at `end`."""
        return keys.entry_place(self.last_ms[-1])

    @property
    def is_narrow(self) -> bool:
        """Whether the next window cannot be split."""
        return self.last_ms[-1] == self.from_ms

    def splits(self, unread: str) -> None:
        """Split the next window, since what stands in it before the place `unread` was too much alone."""
        last_ms = self.last_ms[-1]
        full_ms = last_ms - keys.parse_entry_place(unread)[0] + 1
        width_ms = last_ms - self.from_ms + 1
        while width_ms > 1:
            width_ms //= 2
            self.last_ms.append(self.from_ms + width_ms - 1)
            if self.is_split or width_ms <= full_ms:
                break
        self.is_split = True

    def goes_on(self) -> None:
        """Go on behind the next window, which has been read."""
        last_ms = self.last_ms.pop()
        self.from_ms, self.end = last_ms + 1, keys.entry_place(last_ms)


def walk_from(created_after_ms: int, after: str | None, last_ms: int) -> Walk:
    """Return a walk through what was created after a time and up to `last_ms`, and stands before the place `after`."""
    start_ms, end = created_after_ms + 1, keys.entry_place(max(0, created_after_ms))
    if start_ms == 0:
        end = keys.END
    if after is not None and after < end:
        created_ms, response_id = keys.parse_entry_place(after)
        start_ms, end = created_ms + (not response_id), after
    return Walk(start_ms, end, [last_ms] if start_ms <= last_ms else [])
