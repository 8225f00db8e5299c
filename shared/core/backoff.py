"""When things are done again. Pure: the moment and the dice are parameters. All times are unix milliseconds."""

from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

Dice = Callable[[], float]

POLL_MIN_MS = 1_000
POLL_MAX_MS = 30_000
RETRY_MAX_MS = 60_000
RETRY_AFTER_MAX_MS = 3_600_000
EARLY_MS = 1_000  # a sweep may come so much before what it was asked for: nudges are parked in whole seconds
ASKED_MAX_S = 31_536_000.0
MAX_UNEXPECTED = 5


def poll_delay(elapsed_ms: int, dice: Dice, least_ms: int = POLL_MIN_MS) -> int:
    """Return the wait before the next poll: a tenth of the elapsed time, 1 s to 30 s, up to 10 % more by the dice.

    An upstream that tells of its ends by itself is left alone for `least_ms`. The jitter only adds: a nudge is parked
    in whole seconds and must not be early by more than that rounding.
    """
    delay = max(min(max(elapsed_ms // 10, POLL_MIN_MS), POLL_MAX_MS), least_ms)
    return delay + int(delay * dice() / 10)


def retry_delay(tries: int, dice: Dice, *, retry_after_s: float | None = None) -> int:
    """Return the wait after the given number of errors in a row: 1, 2, 4 ... 60 s, half of it jitter.

    A Retry-After of the upstream is a floor, also for a sweep that comes early, and honoured up to an hour.
    """
    delay = min(POLL_MIN_MS << min(tries, 10), RETRY_MAX_MS)
    delay = delay // 2 + int(delay * dice() / 2)
    if retry_after_s is not None:
        delay = max(delay, min(int(retry_after_s * 1000) + EARLY_MS, RETRY_AFTER_MAX_MS))
    return max(delay, POLL_MIN_MS)


def retry_after_s(header: str | None, now_ms: int) -> float | None:
    """Return the seconds a Retry-After header asks for (RFC 9110: seconds or a date), None if it is neither.

    At most a year, so that whoever reckons with it gets a time.
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
