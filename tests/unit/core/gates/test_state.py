"""The state of a gate: what it counts."""

from shared.core.gates.state import GateState, Line
from tests.support.gate_places import line, place, state_of


def test_who_waits_is_counted_over_all_lines() -> None:
    """A line counts who entered it and who left it. The difference waits."""
    assert GateState().waiting == 0
    assert Line("ann", put=7, taken=5).waiting == 2
    assert state_of(line("ann", 1, 2), line("bob", 3)).waiting == 3


def test_older_responses_come_first() -> None:
    """The order in a line is that of the times of creation, then that of the ids."""
    assert sorted([place(2), place(1)], key=lambda one: one.order) == [place(1), place(2)]
