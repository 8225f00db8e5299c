"""What a response in a line waits for now, from its record and the row of its gate."""

from dataclasses import replace

import pytest

from shared.core.gates.state import GateState, Line, Phase, Place
from shared.core.gates.waits import at_present, reason_of, standing
from shared.core.records import WaitInfo
from shared.core.states import WaitReason

NOW_MS = 1_000_000
TURN = WaitInfo("turn", since_ms=5, place=9, gate="gpt", number=9)
REFUSED = WaitInfo("upstream_down", "status 503", 3, 5, NOW_MS - 1, 9, "gpt", 9)


def place(number: int) -> Place:
    """Return a response. Higher numbers are younger."""
    return Place(f"r{number:03}", "ann", number)


def row(phase: Phase = Phase.OPEN, *, named: range = range(7, 12), taken: int = 6, put: int = 11) -> GateState:
    """Return a gate with a line that names some of its places."""
    line = Line("ann", put=put, taken=taken, next=tuple(map(place, named)))
    is_closed = phase is not Phase.OPEN
    return GateState(
        phase=phase, until_ms=(NOW_MS + 60_000) * is_closed, reason="upstream_down" * is_closed, lines={"ann": line}
    )


@pytest.mark.parametrize("phase", [Phase.CLOSED, Phase.PROBING])
def test_a_gate_that_closes_gives_its_line_its_reason(phase: Phase) -> None:
    """Whoever entered before has the reason, the time of the next try and a place, and no tries of its own."""
    assert at_present(TURN, place(9), row(phase), NOW_MS) == WaitInfo(
        "upstream_down", "", 0, 5, NOW_MS + 60_000, 3, "gpt", 9
    )


@pytest.mark.parametrize("phase", [Phase.OPEN, Phase.STEPPING])
def test_a_gate_that_opens_leaves_a_turn(phase: Phase) -> None:
    """What was met while it was closed is over, and so is the time of the next try."""
    assert at_present(REFUSED, place(9), row(phase), NOW_MS) == WaitInfo("turn", "", 0, 5, 0, 3, "gpt", 9)


def test_what_its_own_try_has_met_stays_while_it_is_the_reason() -> None:
    """With the time of the gate, because the other one is past. Another reason of the gate is newer."""
    closed = row(Phase.CLOSED)
    assert at_present(REFUSED, place(7), closed, NOW_MS) == replace(REFUSED, next_ms=NOW_MS + 60_000, place=1)
    other = at_present(REFUSED, place(7), replace(closed, reason="rate_limit"), NOW_MS)
    assert (other.reason, other.detail, other.tries) == ("rate_limit", "", 0)


def test_what_is_being_tried_keeps_only_what_its_last_try_has_met() -> None:
    """It has left the line: it is before all that wait, or all that wait are named."""
    tried = replace(REFUSED, next_ms=0, place=0)
    for state in (row(Phase.PROBING), row(named=range(0), taken=11)):
        assert at_present(REFUSED, place(1), state, NOW_MS) == tried
        assert at_present(TURN, place(1), state, NOW_MS) == WaitInfo()
    assert at_present(TURN, place(12), row(), NOW_MS) == WaitInfo()


def test_a_place_behind_the_named_ones_is_an_upper_bound() -> None:
    """It moves with those that leave the line. It is not known if the number of the entry is not."""
    behind = replace(TURN, number=40)
    assert at_present(behind, place(40), row(named=range(7, 23), put=50), NOW_MS).place == 34
    assert at_present(behind, place(40), row(named=range(21, 37), taken=20, put=50), NOW_MS).place == 20
    assert at_present(behind, place(40), row(named=range(26, 42), taken=38, put=60), NOW_MS).place == 15
    assert at_present(behind, place(60), row(named=range(38, 54), taken=37, put=60), NOW_MS).place == 17
    assert at_present(replace(behind, number=0), place(40), row(named=range(7, 23), put=50), NOW_MS).place == 0


def test_a_row_that_does_not_know_the_response_changes_nothing() -> None:
    """It is not there, has no line of the caller, or was read before the response entered. A past time is left out."""
    for state in (None, GateState(), row(Phase.CLOSED, put=8)):
        assert at_present(REFUSED, place(9), state, NOW_MS) == replace(REFUSED, next_ms=0)
        assert at_present(replace(REFUSED, next_ms=NOW_MS + 1), place(9), state, NOW_MS).next_ms == NOW_MS + 1


def test_a_response_in_no_line_has_nothing_of_the_gate() -> None:
    """Its alarm tries it again, at the time that its record has."""
    alone = replace(REFUSED, gate="", number=0)
    assert at_present(alone, place(9), row(Phase.CLOSED), NOW_MS) == alone


def test_a_closed_gate_that_is_due_has_no_time_of_a_next_try() -> None:
    """A time that is past says nothing."""
    late = replace(row(Phase.CLOSED), until_ms=NOW_MS)
    assert at_present(TURN, place(9), late, NOW_MS).next_ms == 0
    assert standing(late) == ("upstream_down", NOW_MS)


def test_a_reason_that_only_a_newer_version_knows_is_a_turn() -> None:
    """A gate may be closed for it."""
    assert (reason_of("new"), reason_of("rate_limit")) == (WaitReason.TURN, WaitReason.RATE_LIMIT)
    assert standing(replace(row(Phase.CLOSED), reason="")) == ("turn", NOW_MS + 60_000)
