"""The table of states: every pair in it, and every pair outside of it."""

import itertools

import pytest

from shared.core.states import TRANSITIONS, IllegalTransition, Status, advance, finish, follow, later

TERMINAL = {Status.COMPLETED, Status.FAILED, Status.INCOMPLETE, Status.CANCELLED}
ALL_PAIRS = set(itertools.product(Status, Status))
LEGAL = {(before, after) for before, following in TRANSITIONS.items() for after in following}


def test_every_status_has_a_row() -> None:
    """The table has a row for every status."""
    assert set(TRANSITIONS) == set(Status)


def test_the_terminal_rows_are_empty() -> None:
    """A status is terminal exactly if no other status follows it. There are four."""
    assert {status for status, following in TRANSITIONS.items() if not following} == TERMINAL
    assert {status for status in Status if status.is_terminal} == TERMINAL


def test_statuses_have_the_names_of_the_contract() -> None:
    """Statuses are written as clients read them."""
    assert set(Status) == {"queued", "in_progress", "completed", "failed", "incomplete", "cancelled"}


@pytest.mark.parametrize(("before", "after"), sorted(LEGAL))
def test_an_allowed_transition_is_made(before: Status, after: Status) -> None:
    """An unfinished response may keep its status, progress, or end with any terminal status."""
    assert follow(before, after) is after


@pytest.mark.parametrize(("before", "after"), sorted(ALL_PAIRS - LEGAL))
def test_any_other_transition_raises(before: Status, after: Status) -> None:
    """A terminal status never changes and is never written again. Work in progress is not queued again."""
    with pytest.raises(IllegalTransition, match=f"{after} cannot follow {before}"):
        follow(before, after)


@pytest.mark.parametrize(("before", "after"), sorted(ALL_PAIRS))
def test_progress_and_ends_are_separate_functions(before: Status, after: Status) -> None:
    """Of the allowed transitions, `advance` makes those to unfinished statuses.

    `finish` makes those to terminal ones.
    """
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
def test_an_upstream_that_reports_queued_again_changes_nothing(before: Status, after: Status, expected: Status) -> None:
    """Of two unfinished statuses, the later one counts."""
    assert later(before, after) is expected
    assert follow(before, expected) is expected
