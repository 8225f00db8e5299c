"""The table of states: every pair of it, and every pair outside of it."""

import itertools

import pytest

from shared.core.states import TRANSITIONS, IllegalTransition, Status, advance, finish, follow, later

TERMINAL = {Status.COMPLETED, Status.FAILED, Status.INCOMPLETE, Status.CANCELLED}
ALL_PAIRS = set(itertools.product(Status, Status))
LEGAL = {(before, after) for before, following in TRANSITIONS.items() for after in following}


def test_every_status_has_a_row() -> None:
    """No status is outside the table."""
    assert set(TRANSITIONS) == set(Status)


def test_the_terminal_rows_are_empty() -> None:
    """A status is terminal exactly if nothing follows it; there are four."""
    assert {status for status, following in TRANSITIONS.items() if not following} == TERMINAL
    assert {status for status in Status if status.is_terminal} == TERMINAL


def test_the_words_are_those_of_the_contract() -> None:
    """Statuses are written as clients know them."""
    assert set(Status) == {"queued", "in_progress", "completed", "failed", "incomplete", "cancelled"}


@pytest.mark.parametrize(("before", "after"), sorted(LEGAL))
def test_what_the_table_allows_follows(before: Status, after: Status) -> None:
    """An unfinished response may stay where it is, go on, or end in any way."""
    assert follow(before, after) is after


@pytest.mark.parametrize(("before", "after"), sorted(ALL_PAIRS - LEGAL))
def test_what_the_table_does_not_allow_raises(before: Status, after: Status) -> None:
    """Nothing leaves a terminal status, not even for itself, and work that has begun is not queued again."""
    with pytest.raises(IllegalTransition, match=f"{after} cannot follow {before}"):
        follow(before, after)


@pytest.mark.parametrize(("before", "after"), sorted(ALL_PAIRS))
def test_going_on_and_ending_are_two_things(before: Status, after: Status) -> None:
    """Of what the table allows, one function lets unfinished statuses through, the other terminal ones."""
    right, wrong = (finish, advance) if after.is_terminal else (advance, finish)
    with pytest.raises(IllegalTransition):
        wrong(before, after)
    if (before, after) in LEGAL:
        assert right(before, after) is after
    else:
        with pytest.raises(IllegalTransition):
            right(before, after)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (Status.QUEUED, Status.QUEUED, Status.QUEUED),
        (Status.QUEUED, Status.IN_PROGRESS, Status.IN_PROGRESS),
        (Status.IN_PROGRESS, Status.QUEUED, Status.IN_PROGRESS),
        (Status.IN_PROGRESS, Status.IN_PROGRESS, Status.IN_PROGRESS),
    ],
)
def test_an_upstream_that_says_queued_again_takes_nothing_back(before: Status, after: Status, expected: Status) -> None:
    """Of two unfinished statuses the further one counts."""
    assert later(before, after) is expected
    assert follow(before, expected) is expected
