"""What follows one attempt to deliver a callback. Pure: the moment and the dice are parameters.

    2xx                                        delivered
    410                                        gone
    413                                        failed
    other 3xx and 4xx                          short budget: 4 attempts in about 35 minutes, time for a deploy
    408, 425, 429, 5xx, trouble on the way     full schedule: 10 attempts in about 76 hours
    URL refused; address refused twice in a row  blocked

Jitter only lengthens a wait, so that no floor is undercut. A wait that would outlast the response's retention
is the end: there would be nothing left to fetch.
"""

from dataclasses import dataclass
from typing import Literal

from shared.core.backoff import EARLY_MS, Dice, retry_after_s
from shared.core.outcomes import Answer, SendError

HOUR_MS = 3_600_000
# SCHEDULE_MS[n] is the wait after attempt n; attempt 1 has none before it.
SCHEDULE_MS = (0, 5_000, 300_000, 1_800_000, *(hours * HOUR_MS for hours in (2, 5, 10, 14, 20, 24)))
MAX_ATTEMPTS = len(SCHEDULE_MS)
SHORT_ATTEMPTS = 4
THROTTLED_MIN_MS = 60_000
RETRY_AFTER_EXTRA_MS = 2 * HOUR_MS
RETRY_AFTER_MAX_MS = 24 * HOUR_MS

_THROTTLED = frozenset({429, 503})
_OVERLOADED = frozenset({408, 429})
_PASSING = frozenset({408, 425, 429})


_ON_THE_WAY = frozenset({SendError.TIMEOUT, SendError.DNS, SendError.CONNECT, SendError.TLS, SendError.PROTOCOL})


def is_trouble(answer: Answer) -> bool | None:
    """Say whether the receiver's host is in trouble; None where nothing is known of it.

    A refusal is none: the many callers of a shared host must not be cut off by one's outdated URLs.
    """
    if answer.status is not None:
        return answer.status >= 500 or answer.status in _OVERLOADED
    return True if answer.error in _ON_THE_WAY else None


@dataclass(frozen=True)
class Attempt:
    """The attempt just made, counted from 1 in its schedule, and whether the one before it met a refused address."""

    number: int
    answer: Answer
    refused_before: bool = False


@dataclass(frozen=True)
class Delivered:
    """The receiver has it."""


@dataclass(frozen=True)
class Retry:
    """Try again at this time."""

    at_ms: int


@dataclass(frozen=True)
class GiveUp:
    """Never again; the state is the delivery's last."""

    state: Literal["gone", "failed", "blocked"]


Decision = Delivered | Retry | GiveUp


def decide(attempt: Attempt, *, now_ms: int, until_ms: int, dice: Dice) -> Decision:
    """Return what follows an attempt that ended at `now_ms`, for a response that is kept until `until_ms`."""
    return _final(attempt) or _next(attempt, now_ms, until_ms, dice)


def _final(attempt: Attempt) -> Delivered | GiveUp | None:
    match attempt.answer:
        case Answer(status=int(status)) if 200 <= status < 300:
            return Delivered()
        case Answer(status=410):
            return GiveUp("gone")
        case Answer(status=413):
            return GiveUp("failed")
        case Answer(error=SendError.URL_REFUSED):
            return GiveUp("blocked")
        case Answer(error=SendError.ADDRESS_REFUSED) if attempt.refused_before:
            return GiveUp("blocked")
    return None


def _next(attempt: Attempt, now_ms: int, until_ms: int, dice: Dice) -> Retry | GiveUp:
    if attempt.number >= _max_attempts(attempt.answer.status):
        return GiveUp("failed")
    at_ms = now_ms + _wait_ms(attempt, now_ms, dice)
    return Retry(at_ms) if at_ms < until_ms else GiveUp("failed")


def _max_attempts(status: int | None) -> int:
    is_short = status is not None and 300 <= status < 500 and status not in _PASSING
    return SHORT_ATTEMPTS if is_short else MAX_ATTEMPTS


def _wait_ms(attempt: Attempt, now_ms: int, dice: Dice) -> int:
    scheduled_ms = _scheduled_ms(attempt, dice)
    asked_s = retry_after_s(attempt.answer.retry_after, now_ms)
    if asked_s is None:
        return scheduled_ms
    cap_ms = min(scheduled_ms + RETRY_AFTER_EXTRA_MS, RETRY_AFTER_MAX_MS)
    return max(scheduled_ms, int(min(asked_s * 1000 + EARLY_MS, cap_ms)))


def _scheduled_ms(attempt: Attempt, dice: Dice) -> int:
    base_ms = SCHEDULE_MS[attempt.number]
    if attempt.answer.status in _THROTTLED or attempt.answer.error is SendError.TIMEOUT:
        base_ms = max(base_ms, THROTTLED_MIN_MS)
    spread = 1.0 if attempt.number == 1 else 0.25
    return int(base_ms * (1 + spread * dice()))
