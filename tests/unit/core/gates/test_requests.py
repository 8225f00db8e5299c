"""What fits into one transaction."""

import pytest

from shared.core.gates.plans import plan
from shared.core.gates.requests import MAX_ROWS, Kind, Request, fitting
from shared.core.gates.state import Gate, Place
from tests.support.gate_places import NOW_MS, line, place, state_of


def wanted(kind: Kind, *numbers: int) -> list[Request]:
    """Return requests of one kind."""
    return [Request(kind, place(number)) for number in numbers]


@pytest.mark.parametrize(
    ("kind", "has_line", "count"),
    [(Kind.TAKE, True, 98), (Kind.RELEASE, False, 98), (Kind.RELEASE, True, 32), (Kind.REFUSE, True, 49)],
)
def test_a_transaction_is_filled(kind: Kind, has_line: bool, count: int) -> None:
    """It takes as many requests as have room for their rows, and for the rows of those that get their permits."""
    assert fitting(wanted(kind, *range(200)), has_line=has_line) == list(range(count))


def test_each_response_has_one_request_in_a_transaction() -> None:
    """The second one waits. Requests about no response do not exclude each other."""
    requests = [*wanted(Kind.TAKE, 1, 2), *wanted(Kind.RELEASE, 1), *[Request(Kind.ACCEPT, Place("", ""))] * 2]
    assert fitting(requests, has_line=True) == [0, 1, 3, 4]


@pytest.mark.parametrize("kind", [Kind.TAKE, Kind.RELEASE, Kind.REFUSE, Kind.LEAVE])
@pytest.mark.parametrize("has_line", [True, False])
def test_a_full_transaction_has_at_most_98_rows(kind: Kind, has_line: bool) -> None:
    """That holds even if it is not known that somebody waits."""
    state = state_of(line("bob", *range(500, 516), running=200), line("cat", *range(600, 616)))
    requests = wanted(kind, *range(200))
    chosen = [requests[index] for index in fitting(requests, has_line=has_line)]
    assert 0 < len(plan(Gate("g", 150), state, chosen, NOW_MS).changes.places) <= MAX_ROWS
