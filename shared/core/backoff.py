"""Delays before the next poll or the next try. Pure: the time and the random numbers are parameters.

Points in time are unix milliseconds.
"""

from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

Random = Callable[[], float]
"""Returns a random number from 0 up to 1, for jitter."""

POLL_MIN_MS = 1_000
POLL_MAX_MS = 60_000  # of the usual wait
POLL_LONGEST_MS = 300_000  # of a wait that is stretched because polls are late
LOOK_MIN_MS = 500
LOOK_MAX_MS = 5_000
RETRY_MAX_MS = 60_000
RETRY_AFTER_MAX_MS = 3_600_000
EARLY_MS = 1_000  # a sweep may run this much early, because queue messages are delayed by whole seconds
ASKED_MAX_S = 31_536_000.0  # a year
MAX_COUNTED = 3  # tries of one response that may each have begun work upstream
_LATE_MS = 2_000  # a poll may be this late: messages count in seconds, and an idle queue is asked once a second
_STRETCH_MAX = 16.0
COUNTED_WAITS_MS = (10_000, 120_000)  # after the first and the second of them. An outage behind a gateway is 502s.
MAX_UNEXPECTED = 5  # unexpected failures in a row, after which work is given up


def poll_delay(
    elapsed_ms: int,
    random: Random,
    least_ms: int = POLL_MIN_MS,
    *,
    stretch: float = 1.0,
    left_ms: int | None = None,
) -> int:
    """Return the milliseconds to wait before the next poll: a tenth of the elapsed time, plus jitter.

    `elapsed_ms` is the age of the response. The wait is between 1 s and 60 s, times `stretch`, and up to 10 % jitter is
    added to it. `least_ms` is a longer minimum, for an upstream that announces its ends. Jitter never shortens the
    wait, because a sweep may already run a second early. No wait is over 5 minutes. `left_ms` is the time until the
    deadline of the response. If that is positive, the wait is no longer than it.
    """
    delay = max(int(min(max(elapsed_ms // 10, POLL_MIN_MS), POLL_MAX_MS) * stretch), least_ms)
    delay = min(delay + int(delay * random() / 10), POLL_LONGEST_MS)
    return min(delay, left_ms) if left_ms and left_ms > 0 else delay


class PollPace:
    """How much a process stretches the waits between polls, for each shard: by a factor of 1 to 16.

    A process that polls late has more to poll than it can. If it only added the lateness to each wait, half of the
    lateness would remain. A factor that grows until the polls are on time removes it.
    """

    def __init__(self) -> None:
        self._factors: dict[str, float] = {}

    def stretch(self, shard: str) -> float:
        """Return the factor of a shard."""
        return self._factors.get(shard, 1.0)

    def note(self, shard: str, late_ms: int) -> None:
        """Note by how many milliseconds the first poll of a sweep was late.

        Beyond 2 s, the factor grows by a fortieth for each second, by a tenth at most. Otherwise it shrinks by a
        fiftieth.
        """
        excess_s = (late_ms - _LATE_MS) / 1000
        factor = self.stretch(shard) * (1 + min(0.1, excess_s / 40) if excess_s > 0 else 0.98)
        self._factors[shard] = min(max(factor, 1.0), _STRETCH_MAX)


def look_delay(elapsed_ms: int) -> int:
    """Return the milliseconds to wait before the record of a response of this age is read again for its caller."""
    return min(max(elapsed_ms // 10, LOOK_MIN_MS), LOOK_MAX_MS)


def retry_delay(tries: int, random: Random, *, retry_after_s: float | None = None) -> int:
    """Return the milliseconds to wait before the next try: between half of a limit and the limit, at least 1 s.

    The limit is 1 s for 0 tries and doubles with each try up to 60 s. `retry_after_s` is the upstream's Retry-After. It
    is a minimum, also for a sweep that runs early, and is honoured up to an hour.
    """
    delay = min(POLL_MIN_MS << min(tries, 10), RETRY_MAX_MS)
    delay = delay // 2 + int(delay * random() / 2)
    if retry_after_s is not None:
        delay = max(delay, min(int(retry_after_s * 1000) + EARLY_MS, RETRY_AFTER_MAX_MS))
    return max(delay, POLL_MIN_MS)


def counted_delay(counted: int, random: Random, *, retry_after_s: float | None = None) -> int:
    """Return the milliseconds to wait after a try that may have begun work: 10 s, then 2 min, plus up to 10 % jitter.

    `counted` is the number of such tries so far, from 1. `retry_after_s` is a minimum, as in `retry_delay`.
    """
    delay = COUNTED_WAITS_MS[min(max(counted, 1), len(COUNTED_WAITS_MS)) - 1]
    if retry_after_s is not None:
        delay = max(delay, min(int(retry_after_s * 1000) + EARLY_MS, RETRY_AFTER_MAX_MS))
    return delay + int(delay * random() / 10)


def before_deadline(due_ms: int, now_ms: int, deadline_ms: int) -> int:
    """Return the time of the next try, which is `due_ms` if that is not after the deadline. All are unix milliseconds.

    Otherwise half of the time until the deadline is waited, and at least 1 s. So an upstream that asks for a longer
    wait is asked again before the response fails.
    """
    if due_ms <= deadline_ms:
        return due_ms
    return min(due_ms, now_ms + max((deadline_ms - now_ms) // 2, POLL_MIN_MS))


def parse_retry_after(header: str | None, now_ms: int) -> float | None:
    """Return the seconds that a Retry-After header asks for, at most a year (RFC 9110, section 10.2.3).

    Returns None if the header is missing, or neither a number of seconds nor a date. A date is compared with `now_ms`.
    """
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        return _until_date(header, now_ms)
    return min(seconds, ASKED_MAX_S) if 0 <= seconds < float("inf") else None


def _until_date(header: str, now_ms: int) -> float | None:
    try:
        moment = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)  # asctime dates and "-0000" have no zone, and all dates of RFC 9110 are GMT
    return min(max(0.0, moment.timestamp() - now_ms / 1000), ASKED_MAX_S)
