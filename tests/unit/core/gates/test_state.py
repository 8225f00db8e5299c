"""The state of a gate: what it counts."""

from shared.core.gates.state import NAMED_MS, Gate, GateState, Line, Place, place_of
from shared.core.records import Record
from tests.support.gate_places import line, place, state_of


def test_who_waits_is_counted_over_all_lines() -> None:
    """A line counts who entered it and who left it. The difference waits."""
    assert GateState().waiting == 0
    assert Line("ann", put=7, taken=5).waiting == 2
    assert state_of(line("ann", 1, 2), line("bob", 3)).waiting == 3


def test_older_responses_come_first() -> None:
    """The order in a line is that of the times of creation, then that of the ids."""
    assert sorted([place(2), place(1)], key=lambda one: one.order) == [place(1), place(2)]


def test_a_place_keeps_what_a_line_needs_of_a_response() -> None:
    """Its caller, its age and its deadline. Without a `start` alarm, as for a permit taken at once, that is 0."""
    record = Record("resp_1", "ann", created_ms=1, deadline_ms=9)
    assert place_of(record, 9) == Place("resp_1", "ann", 1, 9, 9)
    assert place_of(record).start_due_ms == 0


def test_a_gate_is_of_others_for_two_minutes_after_they_have_written_it() -> None:
    """A process whose settings have the gate knows it by itself."""
    state = GateState(named_ms=1_000)
    gone = Gate("g", None, is_gone=True)
    assert state.is_of_others(gone, 1_000 + NAMED_MS - 1)
    assert not state.is_of_others(gone, 1_000 + NAMED_MS)
    assert not state.is_of_others(Gate("g", 1), 1_000)
