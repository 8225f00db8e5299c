"""Failures in a row of a host: when an operator is told, and how often."""

from shared.senders.circuit_breaker import BreakerKey
from shared.senders.failure_rows import MAX_KNOWN, TOLD_AFTER, FailureRows

ANN = BreakerKey("ann", "hooks.contoso.com")
BOB = BreakerKey("bob", "hooks.contoso.com")


def told(rows: FailureRows, *outcomes: bool | None, key: BreakerKey = ANN, number: int = 1) -> list[bool]:
    """Record outcomes of attempts with this number: whether each failed. Return whether each was told."""
    return [rows.record(key, failed=failed, number=number) for failed in outcomes]


def test_the_fourth_failure_in_a_row_is_told_once() -> None:
    """Later ones are not, until the host has taken an event."""
    rows = FailureRows()
    assert told(rows, *[True] * 9) == [False] * 3 + [True] + [False] * 5
    assert told(rows, False, *[True] * 4) == [False] * 4 + [True]


def test_the_fourth_attempt_of_a_delivery_is_told_by_a_process_that_saw_no_other() -> None:
    """Each of the four was made by another process. The fifth is told nowhere again."""
    found = [told(FailureRows(), True, number=number) for number in range(1, TOLD_AFTER + 2)]
    assert found == [[False]] * 3 + [[True]] + [[False]]


def test_a_row_that_is_told_is_not_told_again_for_a_delivery() -> None:
    """A hundred deliveries to one dead host are one line, whichever of the two counts comes first."""
    rows = FailureRows()
    assert told(rows, True, number=TOLD_AFTER) == [True]
    assert told(rows, *[True] * 9, number=TOLD_AFTER) == [False] * 9
    assert told(rows, *[True] * 9) == [False] * 9


def test_what_shows_nothing_neither_counts_nor_ends_a_row() -> None:
    """A host that wants no more events of one address may fail for others."""
    rows = FailureRows()
    assert told(rows, True, True, True, None, True) == [False] * 4 + [True]
    assert told(FailureRows(), None, number=TOLD_AFTER) == [False]


def test_each_caller_has_rows_of_its_own() -> None:
    """The success of one does not end the row of another."""
    rows = FailureRows()
    assert told(rows, True, True, True) == [False] * 3
    assert told(rows, True, False, key=BOB) == [False] * 2
    assert told(rows, True) == [True]


def test_rows_are_bounded() -> None:
    """The row whose last failure is oldest is forgotten."""
    rows = FailureRows()
    told(rows, True, True, True)
    for number in range(MAX_KNOWN):
        told(rows, True, key=BreakerKey("bob", f"{number}.contoso.com"))
    assert told(rows, True) == [False]
