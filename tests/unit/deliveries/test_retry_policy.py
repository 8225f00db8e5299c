"""What follows a delivery attempt: the retry policy as a table, and its minimum and maximum waits as properties."""

import itertools
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.outcomes import Answer, SendError
from shared.core.states import DeliveryState
from shared.deliveries.retry_policy import SCHEDULE_MS, AttemptMade, Decision, decide

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
NOW_MS = 1_800_000_000_000
FAR_MS = NOW_MS + 1000 * HOUR
Outcome = int | SendError

SHORT_STATUSES = [300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 405, 409, 415, 422, 451]
FULL_OUTCOMES: list[Outcome] = [408, 425, 429, 500, 501, 502, 503, 504, 599]
FULL_OUTCOMES += [error for error in SendError if error not in {SendError.ADDRESS_REFUSED, SendError.URL_REFUSED}]
OUTAGES: list[Outcome] = [503, SendError.TIMEOUT]


def answer(outcome: Outcome, retry_after: str | None = None) -> Answer:
    """Return the answer to an attempt that ended with a status or an error."""
    if isinstance(outcome, SendError):
        return Answer(None, outcome, retry_after, duration_ms=1)
    return Answer(outcome, None, retry_after, duration_ms=1)


def decided(
    outcome: Outcome,
    number: int = 1,
    *,
    retry_after: str | None = None,
    jitter: float = 0.0,
    until_ms: int = FAR_MS,
) -> Decision:
    """Return the decision after one attempt at NOW_MS with a fixed jitter."""
    attempt = AttemptMade(number, answer(outcome, retry_after))
    return decide(attempt, now_ms=NOW_MS, until_ms=until_ms, random=lambda: jitter)


def pending(at_ms: int) -> Decision:
    """Return the decision to try again at this time, in unix ms."""
    return Decision(DeliveryState.PENDING, at_ms)


def wait_ms(decision: Decision) -> int:
    """Return the wait from NOW_MS until the retry, in ms."""
    assert decision.state is DeliveryState.PENDING
    assert decision.at_ms is not None
    return decision.at_ms - NOW_MS


def test_the_schedule_is_that_of_standard_webhooks() -> None:
    """There are ten attempts, the last one 75 h 35 min 5 s after the first."""
    hours = [2, 5, 10, 14, 20, 24]
    expected = [0, 5 * SECOND, 5 * MINUTE, 30 * MINUTE, *(number * HOUR for number in hours)]
    assert list(SCHEDULE_MS) == expected
    assert sum(SCHEDULE_MS) == 75 * HOUR + 35 * MINUTE + 5 * SECOND


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
@pytest.mark.parametrize("number", [1, 10])
def test_any_2xx_delivers(status: int, number: int) -> None:
    """Any status from 200 to 299 ends the delivery, after any number of attempts."""
    assert decided(status, number) == Decision(DeliveryState.DELIVERED)


@pytest.mark.parametrize(("outcome", "state"), [(410, "gone"), (413, "failed"), (SendError.URL_REFUSED, "blocked")])
def test_some_answers_end_a_delivery_at_once(outcome: Outcome, state: str) -> None:
    """A 410, a 413 and a URL that breaks our rules would not change with another attempt."""
    decision = decided(outcome)
    assert (decision.state, decision.at_ms) == (state, None)


@pytest.mark.parametrize("status", SHORT_STATUSES)
def test_a_receiver_that_refuses_gets_the_short_schedule(status: int) -> None:
    """After a redirect or a client error there are four attempts within about 35 minutes.

    Then the delivery has failed.
    """
    waits = [wait_ms(decided(status, number)) for number in (1, 2, 3)]
    assert waits == [5 * SECOND, 5 * MINUTE, 30 * MINUTE]
    assert decided(status, 4) == Decision(DeliveryState.FAILED)


@pytest.mark.parametrize("outcome", FULL_OUTCOMES)
def test_a_temporary_failure_gets_the_full_schedule(outcome: Outcome) -> None:
    """Overload, server errors and network errors are retried up to ten attempts."""
    waits = [wait_ms(decided(outcome, number)) for number in range(3, 10)]
    assert waits == list(SCHEDULE_MS[3:])
    assert decided(outcome, 10) == Decision(DeliveryState.FAILED)


@pytest.mark.parametrize("outcome", FULL_OUTCOMES)
def test_an_outage_is_retried_soon_and_then_by_the_schedule(outcome: Outcome) -> None:
    """After a 503 or a time-out the first two waits are 10 s and 60 s. A 429 that names no time waits for 60 s.

    A wait goes by the number of its attempt and its own answer. What the attempts before met does not matter.
    """
    first, second = (wait_ms(decided(outcome, number)) for number in (1, 2))
    if outcome in OUTAGES:
        assert (first, second) == (10 * SECOND, MINUTE)
    else:
        assert (first, second) == (MINUTE if outcome == 429 else 5 * SECOND, 5 * MINUTE)


def test_a_refused_address_is_blocked_the_second_time() -> None:
    """One refused address may be an error of DNS. After two in a row the delivery is blocked."""
    first = AttemptMade(3, answer(SendError.ADDRESS_REFUSED))
    second = AttemptMade(4, answer(SendError.ADDRESS_REFUSED), refused_before=True)
    other = AttemptMade(4, answer(SendError.DNS), refused_before=True)
    decisions = [
        decide(attempt, now_ms=NOW_MS, until_ms=FAR_MS, random=lambda: 0.0) for attempt in (first, second, other)
    ]
    assert decisions == [pending(NOW_MS + 30 * MINUTE), Decision(DeliveryState.BLOCKED), pending(NOW_MS + 2 * HOUR)]


@pytest.mark.parametrize(
    ("outcome", "number", "jitter", "expected_ms"),
    [
        (500, 1, 0.0, 5 * SECOND),
        (500, 1, 0.5, 7_500),
        (500, 1, 1.0, 10 * SECOND),
        (503, 1, 1.0, 20 * SECOND),
        (503, 2, 1.0, 75 * SECOND),
        (429, 1, 1.0, 2 * MINUTE),
        (500, 2, 1.0, 375 * SECOND),
        (500, 9, 0.5, 27 * HOUR),
        (500, 9, 1.0, 30 * HOUR),
    ],
)
def test_jitter_only_lengthens_a_wait(outcome: Outcome, number: int, jitter: float, expected_ms: int) -> None:
    """Jitter adds up to 100 % to the first wait and up to 25 % to later ones. It is added to minimum waits, too."""
    assert wait_ms(decided(outcome, number, jitter=jitter)) == expected_ms


def in_http_date(delay_ms: int) -> str:
    """Return a Retry-After date that is this far after NOW_MS."""
    return format_datetime(datetime.fromtimestamp((NOW_MS + delay_ms) / 1000, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("status", "number", "retry_after", "expected_ms"),
    [
        (500, 1, "1", 5 * SECOND),
        (500, 1, "120", 2 * MINUTE + SECOND),
        (302, 1, "120", 2 * MINUTE + SECOND),
        (404, 2, "600", 10 * MINUTE + SECOND),
        (429, 1, "1", 5 * SECOND),
        (429, 1, "30", 31 * SECOND),
        (429, 1, "soon", MINUTE),
        (503, 1, "30", 31 * SECOND),
        (503, 2, "120", 2 * MINUTE + SECOND),
        (429, 1, "120", 2 * MINUTE + SECOND),
        (500, 1, "7204", 7205 * SECOND),
        (500, 1, "86400", 2 * HOUR + 5 * SECOND),
        (503, 1, "86400", 2 * HOUR + 10 * SECOND),
        (503, 1, "9" * 64, 2 * HOUR + 10 * SECOND),
        (500, 8, "86400", 22 * HOUR),
        (500, 9, "172800", 24 * HOUR),
        (500, 1, in_http_date(10 * MINUTE), 10 * MINUTE + SECOND),
        (500, 1, in_http_date(-10 * MINUTE), 5 * SECOND),
        (500, 1, "soon", 5 * SECOND),
        (500, 1, "", 5 * SECOND),
        (500, 1, "-60", 5 * SECOND),
    ],
)
def test_retry_after_moves_a_retry_within_bounds(status: int, number: int, retry_after: str, expected_ms: int) -> None:
    """A retry is never earlier than scheduled. Retry-After delays it by up to 2 h, and to at most 24 h.

    One second is added, because a sweep may be early.
    """
    assert wait_ms(decided(status, number, retry_after=retry_after)) == expected_ms


def test_retry_after_is_not_lengthened_by_jitter() -> None:
    """If Retry-After is later than the schedule with its jitter, it is the exact time."""
    assert wait_ms(decided(500, 1, retry_after="120", jitter=0.9)) == 2 * MINUTE + SECOND


@pytest.mark.parametrize(
    ("left_ms", "expected"), [(5_001, pending(NOW_MS + 5_000)), (5_000, Decision(DeliveryState.FAILED))]
)
def test_retention_ends_the_schedule(left_ms: int, expected: Decision) -> None:
    """There is no retry if the response would be purged by then."""
    assert decided(500, until_ms=NOW_MS + left_ms) == expected


outcomes = st.one_of(st.integers(100, 599), st.sampled_from(list(SendError)))
retry_afters = st.one_of(st.none(), st.text(max_size=64), st.integers(0, 10**9).map(str), st.just("inf"))


@given(
    outcome=outcomes,
    number=st.integers(1, 10),
    retry_after=retry_afters,
    jitter=st.floats(0, 1, exclude_max=True),
    left_ms=st.integers(-HOUR, 100 * HOUR),
)
def test_a_retry_is_never_early_and_never_beyond_the_cap(
    outcome: Outcome, number: int, retry_after: str | None, jitter: float, left_ms: int
) -> None:
    """A wait is at least the scheduled one, at most 2 h more than its jitter allows, and ends within the retention."""
    decision = decided(outcome, number, retry_after=retry_after, jitter=jitter, until_ms=NOW_MS + left_ms)
    if decision.state is not DeliveryState.PENDING:
        return
    base_ms = [0, 10 * SECOND, MINUTE][number] if outcome in OUTAGES and number < 3 else SCHEDULE_MS[number]
    longest_ms = max(base_ms, MINUTE) if outcome == 429 else base_ms
    jittered_ms = longest_ms * (2 if number == 1 else 1.25)
    assert base_ms <= wait_ms(decision) <= max(jittered_ms, min(jittered_ms + 2 * HOUR, 24 * HOUR))
    assert wait_ms(decision) < left_ms


@given(st.lists(outcomes, min_size=10, max_size=10))
def test_every_delivery_ends(history: list[Outcome]) -> None:
    """No sequence of answers keeps a delivery open after ten attempts."""
    decisions = [decided(outcome, number) for number, outcome in enumerate(history, start=1)]
    retries = list(itertools.takewhile(lambda decision: decision.state is DeliveryState.PENDING, decisions))
    assert len(retries) < len(decisions)
