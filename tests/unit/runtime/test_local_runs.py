"""The runs and readers of a process: which broadcast readers join, and how often each of them acts."""

import pytest

from shared.core.alarms import Alarm, Kind
from shared.runtime.broadcast import Broadcast
from shared.runtime.config import Pace
from shared.runtime.live_feed import LiveFeed
from shared.runtime.local_runs import LocalRuns

PACE = Pace()


class SomeLease:
    """A lease that is only counted."""

    alarm = Alarm(0, Kind.RUN, "resp_1")
    duration_ms = 1
    is_moving = False

    def is_used(self, now_ms: int, part: float) -> bool:
        """Return that it is not."""
        return now_ms + part < 0

    def note_renewal(self, moved: Alarm | None) -> None:
        """Do nothing."""

    def doubt(self, following: Alarm) -> None:
        """Do nothing."""


def tailing(count: int) -> LocalRuns:
    """Return a process with this number of tails."""
    local = LocalRuns()
    for n in range(count):
        local.add(Broadcast(f"resp_{n:032x}", 0), is_tail=True)
    return local


def test_a_run_takes_the_place_of_a_tail() -> None:
    """A run that begins in this process closes the tail of its response, so that readers join the run."""
    local, tail, run, feed = LocalRuns(), Broadcast("resp_1", 0), Broadcast("resp_1", 0), LiveFeed()
    tail.attach(feed)
    local.add(tail, is_tail=True)
    local.add(run)
    assert (feed.is_open, local.broadcast_of("resp_1")) == (False, run)
    local.remove(tail)
    assert local.broadcast_of("resp_1") is run
    local.remove(run)
    assert (run.is_open, local.broadcast_of("resp_1")) == (False, None)


@pytest.mark.parametrize(("runs", "wait_s"), [(0, 0.1), (1, 0.1), (10, 0.1), (50, 0.5), (100, 1.0), (1_000, 1.0)])
def test_flushes_come_less_often_the_more_runs_log(runs: int, wait_s: float) -> None:
    """Events wait 100 ms, or 10 ms for each run that has logged in the last second, and at most 1 s."""
    local = LocalRuns()
    for n in range(runs):
        local.note_flush(f"resp_{n}", 5.0)
    assert local.flush_wait_s(PACE) == pytest.approx(wait_s)


def test_a_run_that_has_not_logged_for_a_second_does_not_count() -> None:
    """A run counts once, however often it logs, and no longer when its last flush is over a second ago."""
    local = LocalRuns()
    for n in range(50):
        local.note_flush(f"resp_{n}", 5.0)
    for _ in range(50):
        local.note_flush("resp_0", 5.5)
    assert local.flush_wait_s(PACE) == pytest.approx(0.5)
    local.note_flush("resp_0", 6.1)
    assert local.flush_wait_s(PACE) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("tails", "silent_s", "wait_s"),
    [
        (1, 0, 0.1),
        (50, 0.4, 0.5),
        (200, 0.4, 1.0),
        (1, 0.5, 0.5),
        (1, 4, 1.0),
        (1, 60, 2.0),
        (100, 0.5, 1.0),
        (200, 0.5, 2.0),
        (200, 60, 2.0),
        (400, 60, 4.0),
    ],
)
def test_tails_look_less_often_the_more_they_are(tails: int, silent_s: float, wait_s: float) -> None:
    """A tail that gets events looks every 100 ms or 10 ms for each tail, and a silent one every 0.5 s growing to 2 s.

    So 200 silent tails make 100 queries a second, and 400 no more.
    """
    assert tailing(tails).tail_wait_s(PACE, silent_s) == pytest.approx(wait_s)


def test_a_tail_that_is_over_does_not_count() -> None:
    """Only tails that are there share the looks, and a run in this process is none."""
    local = tailing(100)
    for n in range(50):
        local.add(Broadcast(f"resp_{n:032x}", 0))
    for n in range(50, 100):
        if broadcast := local.broadcast_of(f"resp_{n:032x}"):
            local.remove(broadcast)
    assert local.tail_wait_s(PACE, 0) == pytest.approx(0.1)


@pytest.mark.parametrize(("runs", "wait_s"), [(1, 1.0), (100, 1.0), (300, 3.0)])
def test_records_are_read_less_often_the_more_runs_are_held(runs: int, wait_s: float) -> None:
    """A holder reads its record every second, or every 10 ms for each run of its process."""
    local = LocalRuns()
    local.leases = {SomeLease(): None for _ in range(runs)}
    assert local.watch_wait_s(PACE) == pytest.approx(wait_s)
