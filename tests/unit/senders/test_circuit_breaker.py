"""Circuit breakers: when a host is left alone, for how long, and when attempts to it are made again."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.senders.circuit_breaker import (
    FAILURES_IN_A_ROW,
    MAX_KNOWN,
    OPEN_MAX_MS,
    OPEN_MS,
    PROBE_MS,
    WINDOW_MIN,
    WINDOW_MS,
    WINDOW_SHARE,
    BreakerKey,
    CircuitBreakers,
)

ANN = BreakerKey("ann", "hooks.contoso.com")
START_MS = 1_800_000_000_000


def failed(breakers: CircuitBreakers, times: int, line: BreakerKey = ANN, now_ms: int = START_MS) -> int:
    """Record this number of failures. Return the time until which the last one opens the breaker, or 0."""
    return [breakers.record(line, now_ms, failed=True) for _ in range(times)][-1]


def opened() -> CircuitBreakers:
    """Return breakers of which Ann's has just opened."""
    breakers = CircuitBreakers()
    failed(breakers, 5)
    return breakers


def test_the_fifth_failure_in_a_row_opens() -> None:
    """After four failures the breaker is closed. The fifth opens it for 30 s."""
    breakers = CircuitBreakers()
    assert failed(breakers, 4) == 0
    assert breakers.admit(ANN, START_MS) == 0
    assert failed(breakers, 1) == START_MS + OPEN_MS
    assert breakers.admit(ANN, START_MS) == START_MS + OPEN_MS


def test_a_success_resets_the_failures_in_a_row() -> None:
    """Five failures that are not in a row do not open the breaker, while there are few outcomes."""
    breakers = CircuitBreakers()
    failed(breakers, 4)
    breakers.record(ANN, START_MS, failed=False)
    assert failed(breakers, 4) == 0


@pytest.mark.parametrize(("outcomes", "opens"), [("--+--+--+-", True), ("--+--+--++", False), ("--+--+--+", False)])
def test_seven_failures_of_ten_in_five_minutes_open(outcomes: str, opens: bool) -> None:
    """A host that mostly fails is left alone, even if no five of its failures are in a row."""
    breakers = CircuitBreakers()
    until_ms = [breakers.record(ANN, START_MS, failed=one == "-") for one in outcomes][-1]
    assert (until_ms > 0) is opens


def test_outcomes_older_than_five_minutes_do_not_count() -> None:
    """Nine old outcomes and a new one count as one outcome."""
    breakers = CircuitBreakers()
    for n in range(9):
        breakers.record(ANN, START_MS, failed=n % 3 > 0)
    assert breakers.record(ANN, START_MS + WINDOW_MS, failed=True) == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=80))
def test_the_counters_agree_with_a_count_of_the_outcomes_themselves(outcomes: list[tuple[bool, int]]) -> None:
    """A breaker opens exactly when the outcomes of the last five minutes, counted one by one, say so."""
    breakers, now_ms, made = CircuitBreakers(), START_MS, list[tuple[int, bool]]()
    for has_failed, later_s in outcomes:
        now_ms += 1_000 * later_s
        made.append((now_ms, has_failed))
        recent = [failed for at_ms, failed in made if at_ms > now_ms - WINDOW_MS]
        is_bad = len(recent) >= WINDOW_MIN and sum(recent) >= WINDOW_SHARE * len(recent)
        is_bad |= len(made) >= FAILURES_IN_A_ROW and all(failed for _, failed in made[-FAILURES_IN_A_ROW:])
        assert (breakers.record(ANN, now_ms, failed=has_failed) > 0) is is_bad
        if is_bad:
            return


def test_a_question_changes_nothing() -> None:
    """The time until which a breaker is open can be read at any time, and no probe is taken."""
    breakers = opened()
    assert breakers.until_ms(ANN, START_MS) == START_MS + OPEN_MS
    assert breakers.until_ms(ANN, START_MS + OPEN_MS) == 0
    assert breakers.admit(ANN, START_MS + OPEN_MS) == 0
    assert breakers.until_ms(ANN, START_MS + OPEN_MS) == START_MS + OPEN_MS + PROBE_MS


def test_one_attempt_probes_and_the_others_wait_for_it() -> None:
    """After the pause one attempt is admitted as a probe. If it succeeds, all attempts are admitted."""
    breakers = opened()
    now_ms = START_MS + OPEN_MS
    assert breakers.admit(ANN, now_ms) == 0
    assert breakers.admit(ANN, now_ms) == now_ms + PROBE_MS
    breakers.record(ANN, now_ms, failed=False)
    assert [breakers.admit(ANN, now_ms) for _ in range(3)] == [0, 0, 0]


def test_the_pauses_double_to_a_quarter_of_an_hour() -> None:
    """The pauses are 30 s, then 1, 2, 4, 8 and 15 minutes. The last one repeats for as long as every probe fails."""
    breakers, now_ms, pauses = opened(), START_MS + OPEN_MS, [OPEN_MS]
    for _ in range(7):
        assert breakers.admit(ANN, now_ms) == 0
        until_ms = failed(breakers, 1, now_ms=now_ms)
        pauses.append(until_ms - now_ms)
        now_ms = until_ms
    assert pauses == [min(OPEN_MS * 2**n, OPEN_MAX_MS) for n in range(8)]


def test_a_success_resets_the_pause() -> None:
    """After a success, five failures open the breaker again, for 30 s."""
    breakers = opened()
    now_ms = START_MS + OPEN_MS
    breakers.admit(ANN, now_ms)
    breakers.record(ANN, now_ms, failed=False)
    assert failed(breakers, 4, now_ms=now_ms) == 0
    assert failed(breakers, 1, now_ms=now_ms) == now_ms + OPEN_MS


def test_failures_of_attempts_sent_earlier_change_nothing() -> None:
    """Failures of attempts that were sent before the breaker opened do not lengthen its pause.

    A success of one closes it.
    """
    breakers = opened()
    assert failed(breakers, 3, now_ms=START_MS + 1_000) == 0
    assert breakers.admit(ANN, START_MS + 1_000) == START_MS + OPEN_MS
    breakers.record(ANN, START_MS + 2_000, failed=False)
    assert breakers.admit(ANN, START_MS + 2_000) == 0


def test_a_probe_that_was_not_sent_is_replaced() -> None:
    """The next attempt becomes the probe at once.

    If a probe has no recorded outcome, the next one is made after 30 s.
    """
    breakers = opened()
    now_ms = START_MS + OPEN_MS
    breakers.admit(ANN, now_ms)
    breakers.release(ANN)
    assert breakers.admit(ANN, now_ms) == 0
    assert breakers.admit(ANN, now_ms + PROBE_MS) == 0


@pytest.mark.parametrize("other", [BreakerKey("bob", ANN.host), BreakerKey(ANN.caller, "other.contoso.com")])
def test_callers_and_hosts_have_separate_breakers(other: BreakerKey) -> None:
    """An open breaker does not affect another caller or another host."""
    assert opened().admit(other, START_MS) == 0


def test_memory_is_bounded() -> None:
    """The breaker that was used longest ago is forgotten, so its attempts are admitted again."""
    breakers = opened()
    for n in range(MAX_KNOWN):
        breakers.record(BreakerKey("ann", f"{n}.contoso.com"), START_MS, failed=True)
    assert breakers.admit(ANN, START_MS) == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 600_000)), max_size=60))
def test_no_wait_is_longer_than_the_longest_pause(outcomes: list[tuple[bool, int]]) -> None:
    """With any outcomes, the time to ask again is later than now and at most 15 minutes away."""
    breakers, now_ms = CircuitBreakers(), START_MS
    for has_failed, later_ms in outcomes:
        now_ms += later_ms
        wait_ms = breakers.admit(ANN, now_ms)
        assert wait_ms == 0 or now_ms < wait_ms <= now_ms + OPEN_MAX_MS
        breakers.record(ANN, now_ms, failed=has_failed)


def test_waiting_for_the_returned_time_always_leads_to_an_attempt() -> None:
    """An attempt that asks again at the returned times is admitted in the end, even if every probe fails."""
    breakers, now_ms, admitted = opened(), START_MS, list[int]()
    for _ in range(20):
        wait_ms = breakers.admit(ANN, now_ms)
        if wait_ms:
            now_ms = wait_ms
        else:
            admitted.append(now_ms)
            breakers.record(ANN, now_ms, failed=True)
    assert all(OPEN_MS <= later - earlier <= OPEN_MAX_MS for earlier, later in pairwise(admitted))
    assert len(admitted) == 10
