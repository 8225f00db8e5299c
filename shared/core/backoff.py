"""When something is done again. Pure: the time and the random numbers are parameters.

All times are unix milliseconds.
"""

from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

Random = Callable[[], float]
"""Gives numbers from 0 up to 1, for jitter."""

POLL_MIN_MS = 1_000
POLL_MAX_MS = 30_000
RETRY_MAX_MS = 60_000
RETRY_AFTER_MAX_MS = 3_600_000
EARLY_MS = 1_000  # how much too early a sweep may come: queue messages are delayed by whole seconds
ASKED_MAX_S = 31_536_000.0
MAX_UNEXPECTED = 5  # unexpected failures in a row


def poll_delay(elapsed_ms: int, random: Random, least_ms: int = POLL_MIN_MS) -> int:
    """Return the wait before the next poll: a tenth of the elapsed time, from 1 s to 30 s, plus up to 10 % jitter.

    `least_ms` is a longer minimum, for an upstream that announces its ends. The jitter only adds, because a sweep may
    already come a second early.
    """
    delay = max(min(max(elapsed_ms // 10, POLL_MIN_MS), POLL_MAX_MS), least_ms)
    return delay + int(delay * random() / 10)


def retry_delay(tries: int, random: Random, *, retry_after_s: float | None = None) -> int:
    """Return the wait after this number of errors in a row: 1, 2, 4 ... 60 s, half of it jitter.

    The upstream's Retry-After is a minimum, also for a sweep that comes early. It is honoured up to an hour.
    """
    delay = min(POLL_MIN_MS << min(tries, 10), RETRY_MAX_MS)
    delay = delay // 2 + int(delay * random() / 2)
    if retry_after_s is not None:
        delay = max(delay, min(int(retry_after_s * 1000) + EARLY_MS, RETRY_AFTER_MAX_MS))
    return max(delay, POLL_MIN_MS)


def parse_retry_after(header: str | None, now_ms: int) -> float | None:
    """Return the seconds that a Retry-After header asks for, at most a year; None if it is neither seconds nor a date.

    RFC 9110, section 10.2.3.
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
        moment = moment.replace(tzinfo=UTC)  # asctime dates and "-0000" name no zone; RFC 9110 dates are all GMT
    return min(max(0.0, moment.timestamp() - now_ms / 1000), ASKED_MAX_S)
