"""The retry policy of webhooks: what follows a delivery attempt. Pure: the time and the jitter are parameters.

The full schedule is the example of Standard Webhooks 1.0.0, which also gives 2xx, 3xx, 410 and Retry-After their
meaning. The short schedule and the meaning of 413 are ours.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

    2xx                                            delivered
    410                                            gone
    413                                            failed
    other 3xx and 4xx                              short schedule: 4 attempts in about 35 minutes, time for a deploy
    408, 425, 429, 5xx, errors of the network      full schedule: 10 attempts in about 76 hours
    503, time-out                                  full schedule, with 10 s and 60 s after attempts 1 and 2
    URL refused, or address refused twice in a row blocked

Jitter only lengthens a wait, so no attempt is made before its Retry-After. A wait that would outlast the response's
retention ends the delivery, because there would be nothing left to fetch.
"""

from dataclasses import dataclass

from shared.core.backoff import EARLY_MS, Random, parse_retry_after
from shared.core.outcomes import Answer, SendError
from shared.core.states import DeliveryState

HOUR_MS = 3_600_000
# SCHEDULE_MS[n] is the wait after attempt n. Attempt 1 is made at once.
SCHEDULE_MS = (0, 5_000, 300_000, 1_800_000, *(hours * HOUR_MS for hours in (2, 5, 10, 14, 20, 24)))
MAX_ATTEMPTS = len(SCHEDULE_MS)
SHORT_ATTEMPTS = 4
SOON_MS = (0, 10_000, 60_000)  # the waits after attempts 1 and 2 that met an outage, which is often over soon
THROTTLED_MS = 60_000  # the least wait after a 429 that does not say how long
RETRY_AFTER_EXTRA_MS = 2 * HOUR_MS
RETRY_AFTER_MAX_MS = 24 * HOUR_MS

_TEMPORARY = frozenset({408, 425, 429})


@dataclass(frozen=True)
class AttemptMade:
    """The attempt just made.

    `number` counts from 1 in its schedule. `refused_before`: the previous attempt met a refused address.
    """

    number: int
    answer: Answer
    refused_before: bool = False


@dataclass(frozen=True)
class Decision:
    """The state of the delivery after the attempt. If it is pending, `at_ms` is the next attempt's time in unix ms."""

    state: DeliveryState
    at_ms: int | None = None


def decide(attempt: AttemptMade, *, now_ms: int, until_ms: int, random: Random) -> Decision:
    """Return what follows an attempt that ended at `now_ms`, for a response that is kept until `until_ms`.

    Both are unix milliseconds.
    """
    final = _final_state(attempt)
    return Decision(final) if final else _next(attempt, now_ms, until_ms, random)


def _final_state(attempt: AttemptMade) -> DeliveryState | None:
    match attempt.answer:
        case Answer(status=int(status)) if 200 <= status < 300:
            return DeliveryState.DELIVERED
        case Answer(status=410):
            return DeliveryState.GONE
        case Answer(status=413):
            return DeliveryState.FAILED
        case Answer(error=SendError.URL_REFUSED):
            return DeliveryState.BLOCKED
        case Answer(error=SendError.ADDRESS_REFUSED) if attempt.refused_before:
            return DeliveryState.BLOCKED
    return None


def _next(attempt: AttemptMade, now_ms: int, until_ms: int, random: Random) -> Decision:
    if attempt.number >= _max_attempts(attempt.answer.status):
        return Decision(DeliveryState.FAILED)
    at_ms = now_ms + _wait_ms(attempt, now_ms, random)
    return Decision(DeliveryState.PENDING, at_ms) if at_ms < until_ms else Decision(DeliveryState.FAILED)


def _max_attempts(status: int | None) -> int:
    is_short = status is not None and 300 <= status < 500 and status not in _TEMPORARY
    return SHORT_ATTEMPTS if is_short else MAX_ATTEMPTS


def _wait_ms(attempt: AttemptMade, now_ms: int, random: Random) -> int:
    asked_s = parse_retry_after(attempt.answer.retry_after, now_ms)
    base_ms = _base_ms(attempt)
    if attempt.answer.status == 429 and asked_s is None:
        base_ms = max(base_ms, THROTTLED_MS)
    spread = 1.0 if attempt.number == 1 else 0.25
    scheduled_ms = int(base_ms * (1 + spread * random()))
    if asked_s is None:
        return scheduled_ms
    cap_ms = min(scheduled_ms + RETRY_AFTER_EXTRA_MS, RETRY_AFTER_MAX_MS)
    return max(scheduled_ms, int(min(asked_s * 1000 + EARLY_MS, cap_ms)))


def _base_ms(attempt: AttemptMade) -> int:
    """Return the wait after an attempt without jitter. It depends on its number and its answer, on nothing earlier."""
    is_outage = attempt.answer.status == 503 or attempt.answer.error is SendError.TIMEOUT
    return (SOON_MS if is_outage and attempt.number < len(SOON_MS) else SCHEDULE_MS)[attempt.number]
