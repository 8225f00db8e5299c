"""When an invocation starts a heartbeat: whatever the clocks do, never two at once, and never a minute without one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.scheduler.heartbeat_age import MAX_AGE_S, RETRY_S, HeartbeatAge, Moment

START_MS = 1_800_000_000_000


def at(elapsed_s: float, jump_s: float = 0.0) -> Moment:
    """Return the moment so many seconds after the start. `jump_s` is how far the wall clock was set forward."""
    return Moment(START_MS + int((elapsed_s + jump_s) * 1000), 100.0 + elapsed_s)


def after(elapsed_s: float, *, reached: bool) -> HeartbeatAge:
    """Return what a process knows whose only heartbeat began at `elapsed_s` and has ended."""
    age = HeartbeatAge()
    age.begin(at(elapsed_s))
    age.end(reached=reached)
    return age


def test_the_first_invocation_of_a_process_starts_a_heartbeat() -> None:
    """A process that has had none cannot know how long ago the last one of another process was."""
    assert HeartbeatAge().is_due(at(0))


@pytest.mark.parametrize(("elapsed_s", "is_due"), [(0, False), (59, False), (60, False), (60.1, True), (3_600, True)])
def test_a_heartbeat_is_due_when_the_last_one_is_over_a_minute_old(elapsed_s: float, is_due: bool) -> None:
    """The age counts from the begin of the last heartbeat, because that is when it read storage."""
    assert after(0, reached=True).is_due(at(elapsed_s)) is is_due


@pytest.mark.parametrize("elapsed_s", [0, 61, 10_000])
def test_a_heartbeat_that_runs_is_not_joined_by_another(elapsed_s: float) -> None:
    """However long it takes, no invocation starts a second one beside it."""
    age = HeartbeatAge()
    age.begin(at(0))
    assert not age.is_due(at(elapsed_s))


@pytest.mark.parametrize(("elapsed_s", "is_due"), [(0, False), (5, False), (5.1, True), (60, True)])
def test_a_heartbeat_that_did_not_reach_storage_is_repeated_after_a_while(elapsed_s: float, is_due: bool) -> None:
    """A later invocation tries again, but not every one of hundreds a second."""
    assert after(0, reached=False).is_due(at(elapsed_s)) is is_due


def test_a_failure_does_not_make_the_last_success_older() -> None:
    """If the timer's heartbeat fails just after one that reached storage, invocations do not repeat it at once."""
    age = after(0, reached=True)
    age.begin(at(30))
    age.end(reached=False)
    assert not age.is_due(at(59))
    assert age.is_due(at(61))


@pytest.mark.parametrize("jump_s", [-86_400, -62, 61, 86_400])
def test_a_wall_clock_that_jumps_delays_no_heartbeat(jump_s: float) -> None:
    """A clock that was set by over a minute makes the next heartbeat due at once, in whichever direction it was set."""
    assert after(0, reached=True).is_due(at(1, jump_s))


@pytest.mark.parametrize("jump_s", [-60, -30, 0])
def test_a_wall_clock_that_is_set_back_a_little_hides_no_minute(jump_s: float) -> None:
    """The monotonic clock counts the minute that the wall clock does not show."""
    assert after(0, reached=True).is_due(at(61, jump_s))


def test_a_machine_that_slept_is_noticed() -> None:
    """A monotonic clock may stand still while the machine sleeps. The wall clock shows the time that has passed."""
    assert after(0, reached=True).is_due(Moment(START_MS + 61_000, 100.0))


@given(st.lists(st.tuples(st.floats(0, 200), st.floats(-1e6, 1e6), st.booleans())))
def test_no_minute_passes_without_a_heartbeat(invocations: list[tuple[float, float, bool]]) -> None:
    """After any series of invocations and clock settings, the last success is at most a minute old, or one is tried.

    Between two tries are at least 5 s by one of the clocks.
    """
    age, elapsed_s = HeartbeatAge(), 0.0
    tried: Moment | None = None
    reached: Moment | None = None
    for wait_s, jump_s, succeeds in invocations:
        elapsed_s += wait_s
        now = at(elapsed_s, jump_s)
        if age.is_due(now):
            assert tried is None or tried.age_s(now) > RETRY_S
            age.begin(now)
            age.end(reached=succeeds)
            tried, reached = now, now if succeeds else reached
        elif not (tried and tried.age_s(now) <= RETRY_S):
            assert reached
            assert now.elapsed_s - reached.elapsed_s <= MAX_AGE_S
