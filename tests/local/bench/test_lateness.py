"""How late polls are: the yardstick of the run with many responses in flight."""

import pytest

from local.bench.meters.lateness import due_after_s, gaps_s, late_s


@pytest.mark.parametrize(("age_s", "expected"), [(0, 1), (5, 1), (10, 1), (50, 5), (300, 30), (3000, 30)])
def test_a_poll_is_due_after_a_tenth_of_the_age(age_s: float, expected: float) -> None:
    """It is due after at least 1 s and at most 30 s."""
    assert due_after_s(age_s) == expected


def test_a_poll_is_late_by_what_it_came_after_its_due_time() -> None:
    """The due time counts from the poll before. An early poll is not late."""
    assert late_s([1.5, 2.0, 6.0], age_s=6.5, since_s=0) == [0.5, 0, 3]


def test_a_poll_that_never_came_is_late_already() -> None:
    """Otherwise a host that stops polling would have no late poll at all. One that is not due yet does not count."""
    assert late_s([], age_s=61, since_s=0) == [60]
    assert late_s([], age_s=0.5, since_s=0) == []


def test_only_polls_that_were_due_in_the_watched_time_count() -> None:
    """A poll that was due before is left out, also if it came in the watched time."""
    assert late_s([1.0, 4.0, 5.5], age_s=6, since_s=3) == [0.5]
    assert gaps_s([1.0, 4.0, 5.5], since_s=4) == [3.0, 1.5]
