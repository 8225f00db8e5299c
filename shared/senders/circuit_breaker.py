"""Circuit breakers: a host in trouble is left alone. Pure: the time is a parameter, unix milliseconds.

    closed      everything is sent; 5 failures in a row, or 70 % of at least 10 within 5 minutes, open it
    open        nothing is sent, for 30 s, doubled each time it opens again, to 15 minutes
    half-open   one attempt is sent, to see; a success closes, a failure opens again

There is one per caller and host, so that no caller can cut another off. Each process has its own: what it forgets when
it ends is learned again at the price of five attempts.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

FAILURES_IN_A_ROW = 5
WINDOW_MS = 300_000
WINDOW_MIN = 10
WINDOW_SHARE = 0.7
OPEN_MS = 30_000
OPEN_MAX_MS = 900_000
PROBE_MS = 30_000  # after it a probe that was never heard of again is given up for another
MAX_KNOWN = 10_000


class Line(NamedTuple):
    """Whose callbacks, and to which host."""

    caller: str
    host: str


@dataclass
class _Breaker:
    in_a_row: int = 0
    recent: deque[tuple[int, bool]] = field(default_factory=deque)  # when, and whether it failed
    opened: int = 0  # times in a row; 0: it is closed
    until_ms: int = 0
    probe_until_ms: int = 0

    def count(self, now_ms: int, *, failed: bool) -> None:
        self.in_a_row = self.in_a_row + 1 if failed else 0
        self.recent.append((now_ms, failed))
        while self.recent[0][0] <= now_ms - WINDOW_MS:
            self.recent.popleft()

    @property
    def is_bad(self) -> bool:
        failed = sum(failed for _, failed in self.recent)
        in_window = len(self.recent) >= WINDOW_MIN and failed >= WINDOW_SHARE * len(self.recent)
        return self.in_a_row >= FAILURES_IN_A_ROW or in_window

    def open(self, now_ms: int) -> None:
        self.opened += 1
        self.until_ms = now_ms + min(OPEN_MS << min(self.opened - 1, 10), OPEN_MAX_MS)
        self.probe_until_ms = 0


class Breakers:
    """The breakers of one process."""

    def __init__(self) -> None:
        self._known: dict[Line, _Breaker] = {}

    def admit(self, line: Line, now_ms: int) -> int:
        """Return 0 where an attempt may be sent now, else the time at which to ask again.

        Whoever is admitted says by `note` what came of it, or by `leave` that nothing was sent.
        """
        breaker = self._known.get(line)
        if breaker is None or not breaker.opened:
            return 0
        if (wait_ms := max(breaker.until_ms, breaker.probe_until_ms)) > now_ms:
            return wait_ms
        breaker.probe_until_ms = now_ms + PROBE_MS
        return 0

    def note(self, line: Line, now_ms: int, *, failed: bool) -> int:
        """Count what an attempt brought; return until when the breaker is open if that has opened it, else 0."""
        breaker = self._of(line)
        if breaker.opened and not failed:
            del self._known[line]
            return 0
        if breaker.opened and now_ms < breaker.until_ms:
            return 0  # sent before it opened
        breaker.count(now_ms, failed=failed)
        if not (breaker.opened or breaker.is_bad):
            return 0
        breaker.open(now_ms)
        return breaker.until_ms

    def leave(self, line: Line) -> None:
        """Let another be the probe: this one was not sent, or says nothing about the host."""
        if breaker := self._known.get(line):
            breaker.probe_until_ms = 0

    def _of(self, line: Line) -> _Breaker:
        """Return the breaker, as the one used last; the one used longest ago is forgotten when there are too many."""
        breaker = self._known[line] = self._known.pop(line, _Breaker())
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        return breaker
