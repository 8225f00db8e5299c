"""What this process has accepted and ended in the last hour, for operators. Other processes count for themselves."""

from collections import Counter, deque

_MINUTE_MS = 60_000
_MINUTES = 60


class Rates:
    """Counts by name, one set for each of the last 60 minutes that had any."""

    def __init__(self) -> None:
        self._minutes: deque[tuple[int, Counter[str]]] = deque()

    def note(self, name: str, now_ms: int) -> None:
        """Count one at a time in unix milliseconds."""
        minute = now_ms // _MINUTE_MS
        if not self._minutes or self._minutes[-1][0] < minute:
            self._minutes.append((minute, Counter()))
            self._forget(minute)
        self._minutes[-1][1][name] += 1

    def last_hour(self, now_ms: int) -> dict[str, int]:
        """Return what was counted in the last 60 minutes, by name."""
        self._forget(now_ms // _MINUTE_MS)
        total = Counter[str]()
        for _, counts in self._minutes:
            total += counts
        return dict(total)

    def by_minute(self, now_ms: int) -> list[dict[str, int]]:
        """Return what was counted in each of the last 60 minutes that had any, oldest first.

        `at` is when the minute began, in unix seconds.
        """
        self._forget(now_ms // _MINUTE_MS)
        return [{"at": minute * _MINUTE_MS // 1000, **counts} for minute, counts in self._minutes]

    def _forget(self, minute: int) -> None:
        while self._minutes and self._minutes[0][0] <= minute - _MINUTES:
            self._minutes.popleft()
