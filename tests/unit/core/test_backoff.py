"""When something is done again: polls, retries, and the Retry-After header."""

import heapq
import statistics
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.stack.process import ROOT
from shared.core.backoff import (
    ASKED_MAX_S,
    POLL_MAX_MS,
    POLL_MIN_MS,
    PollPace,
    before_deadline,
    counted_delay,
    look_delay,
    parse_retry_after,
    poll_delay,
    retry_delay,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
MINUTE, HOUR = 60_000, 3_600_000

jitters = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("elapsed_ms", "expected_ms"),
    [(-5, 1_000), (0, 1_000), (10_000, 1_000), (10_010, 1_001), (60_000, 6_000), (10 * MINUTE, MINUTE), (HOUR, MINUTE)],
)
def test_a_poll_waits_a_tenth_of_the_elapsed_time(elapsed_ms: int, expected_ms: int) -> None:
    """A poll waits a tenth of the elapsed time, from 1 s to 60 s.

    A clock that was set back does not shorten the wait.
    """
    assert poll_delay(elapsed_ms, lambda: 0.0) == expected_ms


@pytest.mark.parametrize("page", ["agents.md", "api.md"])
def test_the_pages_tell_the_bounds_of_a_wait(page: str) -> None:
    """Of models and of agents they are the same."""
    said = f"after a tenth of the elapsed time, at least {POLL_MIN_MS // 1_000} s and at most {POLL_MAX_MS // 1_000} s"
    assert said in (ROOT / "docs" / page).read_text("utf-8")


@pytest.mark.parametrize(
    ("elapsed_ms", "expected_ms"), [(-5, 500), (0, 500), (5_010, 501), (30_000, 3_000), (50_000, 5_000), (HOUR, 5_000)]
)
def test_a_waiter_looks_more_rarely_with_the_age(elapsed_ms: int, expected_ms: int) -> None:
    """A caller who waits reads the record after a tenth of the age of the response, from 0.5 to 5 s."""
    assert look_delay(elapsed_ms) == expected_ms


@given(st.integers(-HOUR, 1000 * HOUR), jitters)
def test_the_jitter_of_a_poll_only_adds(elapsed_ms: int, roll: float) -> None:
    """Jitter adds at most a tenth. A poll never comes before the wake-up that was sent for it."""
    least = poll_delay(elapsed_ms, lambda: 0.0)
    assert least <= poll_delay(elapsed_ms, lambda: roll) <= least * 1.1


@pytest.mark.parametrize(
    ("elapsed_ms", "stretch", "expected_ms"),
    [
        (0, 1.5, 1_500),
        (60_000, 2.0, 12_000),
        (HOUR, 4.0, 4 * MINUTE),
        (HOUR, 5.0, 5 * MINUTE),
        (HOUR, 16.0, 5 * MINUTE),
    ],
)
def test_a_poll_waits_longer_where_polls_are_late(elapsed_ms: int, stretch: float, expected_ms: int) -> None:
    """The wait is multiplied by the shard's factor, and is never over 5 minutes, jitter included."""
    assert poll_delay(elapsed_ms, lambda: 0.0, stretch=stretch) == expected_ms
    assert poll_delay(elapsed_ms, lambda: 0.9, stretch=stretch) <= 5 * MINUTE


@pytest.mark.parametrize(("least_ms", "expected_ms"), [(MINUTE, MINUTE), (1_000, 2_000)])
def test_an_upstream_that_tells_of_its_ends_is_polled_once_a_minute_at_most(least_ms: int, expected_ms: int) -> None:
    """The minimum goes before the tenth of the age, and it is not multiplied."""
    assert poll_delay(0, lambda: 0.0, least_ms, stretch=2.0) == expected_ms


@pytest.mark.parametrize(
    ("left_ms", "expected_ms"), [(59_999, 59_999), (7, 7), (60_001, MINUTE), (0, MINUTE), (-5, MINUTE), (None, MINUTE)]
)
def test_no_poll_waits_beyond_the_deadline(left_ms: int | None, expected_ms: int) -> None:
    """A wait ends at the deadline, also the minimum of an upstream that tells of its ends.

    Behind the deadline the usual wait holds, so that a response that cannot be ended is not polled without a pause.
    """
    assert poll_delay(HOUR, lambda: 0.0, left_ms=left_ms) == expected_ms
    assert poll_delay(0, lambda: 0.0, MINUTE, left_ms=left_ms) == expected_ms


@pytest.mark.parametrize(
    ("due_ms", "next_ms"), [(HOUR, HOUR), (HOUR + 1, HOUR // 2), (9 * HOUR, HOUR // 2), (7, 7), (-5, -5)]
)
def test_a_try_that_would_come_after_the_deadline_comes_at_half_the_time(due_ms: int, next_ms: int) -> None:
    """One that is due at the deadline, or before, is left as it is."""
    assert before_deadline(due_ms, 0, HOUR) == next_ms


@pytest.mark.parametrize(("deadline_ms", "next_ms"), [(1_999, 1_000), (900, 1_000), (-HOUR, 1_000)])
def test_a_try_close_to_the_deadline_waits_a_second(deadline_ms: int, next_ms: int) -> None:
    """So does one behind it. A shorter wait stays."""
    assert before_deadline(HOUR, 0, deadline_ms) == next_ms
    assert before_deadline(950, 0, 900) == 950


# The factor of a shard


@pytest.mark.parametrize(
    ("late_ms", "factor"), [(2_001, 1 + 0.001 / 40), (3_000, 1.025), (6_000, 1.1), (60_000, 1.1), (10**9, 1.1)]
)
def test_a_late_sweep_stretches_the_waits_of_its_shard(late_ms: int, factor: float) -> None:
    """Each second beyond 2 s adds a fortieth, and a sweep adds a tenth at most. Other shards are left as they are."""
    pace = PollPace()
    pace.note("a", late_ms)
    assert pace.stretch("a") == pytest.approx(factor)
    assert pace.stretch("b") == 1.0


@pytest.mark.parametrize("late_ms", [-5_000, 0, 2_000])
def test_a_sweep_that_is_on_time_shortens_the_waits(late_ms: int) -> None:
    """Up to 2 s late is on time. Then the factor shrinks by a fiftieth, to 1 at the least."""
    pace = PollPace()
    for _ in range(2):
        pace.note("a", 60_000)
    pace.note("a", late_ms)
    assert pace.stretch("a") == pytest.approx(1.1 * 1.1 * 0.98)
    for _ in range(20):
        pace.note("a", late_ms)
    assert pace.stretch("a") == 1.0


@given(st.lists(st.integers(-10_000, 10**7), max_size=200))
def test_the_factor_is_from_1_to_16(lateness: list[int]) -> None:
    """No sequence of sweeps takes the factor out of its bounds."""
    pace = PollPace()
    for late_ms in lateness:
        pace.note("a", late_ms)
        assert 1.0 <= pace.stretch("a") <= 16.0


def lateness_ms(pace: PollPace, *, is_noted: bool) -> int:
    """Return the usual lateness of a shard with 1,500 old responses, whose process makes ten polls a second.

    Polls come in the order of their due times, and a sweep begins every second.
    """
    due_ms, now_ms, late_ms = [n * 20 for n in range(1_500)], 0, []
    for _ in range(30_000):
        now_ms = max(now_ms + 100, due_ms[0])
        first_ms = heapq.heappop(due_ms)
        if now_ms // 1000 != (now_ms - 100) // 1000:
            late_ms.append(now_ms - first_ms)
            if is_noted:
                pace.note("a", now_ms - first_ms)
        heapq.heappush(due_ms, now_ms + poll_delay(HOUR, lambda: 0.0, stretch=pace.stretch("a")))
    return statistics.median_low(late_ms[len(late_ms) // 2 :])


def test_the_factor_removes_the_lateness_of_an_overloaded_shard() -> None:
    """Polls that wait in line are 90 s late for ever. With the factor they are usually on time."""
    assert lateness_ms(PollPace(), is_noted=False) == 90_000
    assert lateness_ms(PollPace(), is_noted=True) <= 2_000


@pytest.mark.parametrize(("tries", "most_ms"), [(0, 1_000), (1, 2_000), (2, 4_000), (5, 32_000), (6, MINUTE)])
def test_errors_in_a_row_double_the_wait(tries: int, most_ms: int) -> None:
    """The wait is 1, 2, 4 … 60 s. Jitter takes away up to half of it, but it is never below a second."""
    assert retry_delay(tries, lambda: 0.0) == max(most_ms // 2, 1_000)
    assert retry_delay(tries, lambda: 1.0) == most_ms


@given(st.integers(0, 10**6), jitters, st.none() | st.floats(0, 10**9))
def test_a_retry_waits_a_second_to_an_hour(tries: int, roll: float, asked_s: float | None) -> None:
    """The wait stays within bounds for any number of errors and any Retry-After."""
    wait_ms = retry_delay(tries, lambda: roll, retry_after_s=asked_s)
    assert 1_000 <= wait_ms <= (MINUTE if asked_s is None else HOUR)


@pytest.mark.parametrize(("asked_s", "expected_ms"), [(0.0, 1_000), (0.5, 1_500), (7.5, 8_500), (7_200.0, HOUR)])
def test_the_upstreams_retry_after_is_a_minimum(asked_s: float, expected_ms: int) -> None:
    """Retry-After is honoured up to an hour and never shortens a wait.

    One second is added, because a sweep may be early.
    """
    assert retry_delay(0, lambda: 0.0, retry_after_s=asked_s) == expected_ms


@given(jitters)
def test_a_try_that_may_have_begun_work_waits_longer(roll: float) -> None:
    """The next one follows after 10 s, any later one after 2 min. Jitter adds at most a tenth."""
    for counted, least_ms in ((1, 10_000), (2, 2 * MINUTE), (9, 2 * MINUTE)):
        assert least_ms <= counted_delay(counted, lambda: roll) <= least_ms * 1.1
    assert counted_delay(1, lambda: 0.0, retry_after_s=30.0) == 31_000


@pytest.mark.parametrize(
    ("header", "expected_s"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        ("7", 7.0),
        ("0.25", 0.25),
        ("Sun, 22 Nov 2026 12:01:30 GMT", 90.0),
        ("Sunday, 22-Nov-26 12:01:30 GMT", 90.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("Sun, 22 Nov 2026 12:01:30 -0000", 90.0),
        ("1e308", ASKED_MAX_S),
        ("Fri, 31 Dec 9999 23:59:59 GMT", ASKED_MAX_S),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("Sun, 22 Nov 99999999999999 12:00:00 GMT", None),
        ("Sun, 22 Nov 2026 12:00:00 +9999", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, expected_s: float | None) -> None:
    """Both forms of RFC 9110 are read. A time in the past means now. Any other value is ignored."""
    assert parse_retry_after(header, NOW_MS) == expected_s


@given(st.integers(0, 10**7))
def test_a_date_means_the_seconds_until_then(wait_s: int) -> None:
    """A date in the form that HTTP servers send gives the seconds from now until then."""
    moment = datetime.fromtimestamp(NOW.timestamp() + wait_s, UTC)
    assert parse_retry_after(format_datetime(moment, usegmt=True), NOW_MS) == wait_s


numbers = st.one_of(st.integers().map(str), st.floats().map(str))
dates = st.from_regex(r"\A\w{3}, \d{1,20} (Jan|Nov) -?\d{1,20} \d{1,20}:\d\d:\d\d( [+-]?\w{1,20})?\Z")


@given(st.text(max_size=40) | numbers | dates)
def test_any_header_gives_a_usable_wait(header: str) -> None:
    """No header raises. A wait that was read is finite and not negative."""
    asked_s = parse_retry_after(header, NOW_MS)
    assert asked_s is None or 0 <= asked_s <= ASKED_MAX_S
    assert retry_delay(0, lambda: 0.0, retry_after_s=asked_s) >= 1_000
