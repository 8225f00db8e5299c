"""Circuit breakers: a host in trouble is left alone for a while. Pure: the time is a parameter, in unix milliseconds.

    closed      every attempt is made, until 5 in a row fail, or 70 % of at least 10 within 5 minutes
    open        no attempt is made, for 30 s, doubled each time the breaker opens again, up to 15 minutes
    half-open   one attempt is made as a probe: a success closes the breaker, a failure opens it again

There is one breaker per caller and host, so no caller can block the deliveries of another. Each process has separate
breakers. What they have learned is lost when the process ends, and costs five attempts to learn again.
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
PROBE_MS = 30_000  # a probe whose outcome is not recorded by then is given up, and another one is made
MAX_KNOWN = 10_000
_SECOND_MS = 1_000


class BreakerKey(NamedTuple):
    """The caller whose callbacks a breaker stops, and the host that they go to."""

    caller: str
    host: str


@dataclass(slots=True)
class _Second:
    """The attempts of one second: when it began in unix milliseconds, how many ended, and how many of them failed."""

    at_ms: int
    made: int = 0
    failed: int = 0


@dataclass
class _Breaker:
    in_a_row: int = 0
    recent: deque[_Second] = field(default_factory=deque)
    made: int = 0  # attempts in `recent`
    failed: int = 0  # those of them that failed
    opened: int = 0  # times in a row, or 0 if it is closed
    until_ms: int = 0
    probe_until_ms: int = 0

    def count(self, now_ms: int, *, failed: bool) -> None:
        self.in_a_row = self.in_a_row + 1 if failed else 0
        if not self.recent or self.recent[-1].at_ms + _SECOND_MS <= now_ms:
            self.recent.append(_Second(now_ms))
        second = self.recent[-1]
        second.made, self.made = second.made + 1, self.made + 1
        second.failed, self.failed = second.failed + failed, self.failed + failed
        while self.recent[0].at_ms <= now_ms - WINDOW_MS:
            old = self.recent.popleft()
            self.made -= old.made
            self.failed -= old.failed

    @property
    def is_bad(self) -> bool:
        in_window = self.made >= WINDOW_MIN and self.failed >= WINDOW_SHARE * self.made
        return self.in_a_row >= FAILURES_IN_A_ROW or in_window

    def trip(self, now_ms: int) -> None:
        self.opened += 1
        self.until_ms = now_ms + min(OPEN_MS << min(self.opened - 1, 10), OPEN_MAX_MS)
        self.probe_until_ms = 0


class CircuitBreakers:
    """The breakers of one process."""

    def __init__(self) -> None:
        self._known: dict[BreakerKey, _Breaker] = {}

    def admit(self, key: BreakerKey, now_ms: int) -> int:
        """Return 0 if an attempt may be made now, or else the time at which to ask again, in unix milliseconds.

        After a 0 the caller must `record` the outcome, or `release` the breaker if nothing was sent.
        """
        if until_ms := self.until_ms(key, now_ms):
            return until_ms
        breaker = self._known.get(key)
        if breaker and breaker.opened:
            breaker.probe_until_ms = now_ms + PROBE_MS
        return 0

    def until_ms(self, key: BreakerKey, now_ms: int) -> int:
        """Return what `admit` would return, without admitting anything: no probe is taken."""
        breaker = self._known.get(key)
        if breaker is None or not breaker.opened:
            return 0
        until_ms = max(breaker.until_ms, breaker.probe_until_ms)
        return until_ms if until_ms > now_ms else 0

    def record(self, key: BreakerKey, now_ms: int, *, failed: bool) -> int:
        """Count an outcome. Returns the time until which this has opened the breaker, or 0 if it has not."""
        breaker = self._of(key)
        if breaker.opened and not failed:
            del self._known[key]
            return 0
        if breaker.opened and now_ms < breaker.until_ms:
            return 0  # the attempt was sent before the breaker opened
        breaker.count(now_ms, failed=failed)
        if not (breaker.opened or breaker.is_bad):
            return 0
        breaker.trip(now_ms)
        return breaker.until_ms

    def release(self, key: BreakerKey) -> None:
        """Let another attempt be the probe.

        This one was not sent, or its outcome shows nothing about the host.
        """
        if breaker := self._known.get(key):
            breaker.probe_until_ms = 0

    def _of(self, key: BreakerKey) -> _Breaker:
        """Return the breaker of a key, and mark it as the last one used.

        If there are too many, the breaker that was used longest ago is dropped.
        """
        breaker = self._known[key] = self._known.pop(key, _Breaker())
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        return breaker
