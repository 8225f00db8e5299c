"""The lines of a gate: the order in them, who is next, and which places the row of the gate names."""

from shared.core.gates import lines
from shared.core.gates.state import NEXT_IN_ALL, NEXT_OF_A_LINE, GateState, Line, Place
from tests.support.gate_places import line, place, state_of


def entered(state: GateState, *places: Place) -> GateState:
    """Return the state after responses have entered their lines, one after the other."""
    for one in places:
        state = lines.enter(state, one)
    return state


def served(state: GateState, count: int) -> list[str]:
    """Return the callers that get the next permits."""
    callers = []
    for _ in range(count):
        chosen = lines.next_line(state)
        assert chosen
        callers.append(chosen.caller)
        state = lines.begin(lines.leave(state, chosen.next[0]), chosen.caller)
    return callers


def test_within_a_caller_the_oldest_is_first() -> None:
    """A response has the place that its age gives it, whenever it enters the line."""
    state = entered(GateState(), place(2), place(3), place(1))
    assert [one.id for one in state.lines["ann"].next] == [place(number).id for number in (1, 2, 3)]


def test_who_has_the_fewest_permits_is_next() -> None:
    """Callers are served in turn, however many responses each has."""
    state = entered(GateState(), *(place(number) for number in range(5)), place(7, "bob"), place(8, "bob"))
    assert served(state, 4) == ["ann", "bob", "ann", "bob"]
    assert served(state_of(line("ann", 1, running=2), line("bob", 2, running=1)), 1) == ["bob"]


def test_of_equals_the_one_not_served_for_longest_is_next() -> None:
    """The number of the last grant decides between callers with as many permits."""
    assert served(state_of(line("ann", 1, served=5), line("bob", 2, served=4)), 2) == ["bob", "ann"]


def test_a_line_that_was_empty_is_behind_those_that_wait() -> None:
    """A caller whose responses come and go is not before a caller that waits. Of new ones, it is the last."""
    state = state_of(line("ann", 1, served=5), Line("bob", running=1, served=2), grants=6)
    state = lines.end(entered(state, place(2, "bob"), place(3, "cat")), "bob")
    assert served(state, 3) == ["ann", "cat", "bob"]


def test_nobody_is_next_where_nobody_waits() -> None:
    """A line in which nobody waits is never chosen."""
    assert lines.next_line(state_of(Line("ann", running=1))) is None


def test_a_line_names_its_first_places() -> None:
    """It names at most 16, the others are read from the table when those are used up."""
    state = entered(GateState(), *(place(number) for number in range(1, 21)))
    assert state.waiting == 20
    assert state.lines["ann"].next == tuple(place(number) for number in range(1, NEXT_OF_A_LINE + 1))
    younger = entered(state, place(30)).lines["ann"]
    assert (younger.waiting, younger.next) == (21, state.lines["ann"].next)
    older = entered(state, place(0)).lines["ann"]
    assert older.next == tuple(place(number) for number in range(NEXT_OF_A_LINE))


def test_a_place_is_not_named_if_another_may_be_before_it() -> None:
    """While some places are not named, a younger one is not either, even if there is room."""
    state = state_of(Line("ann", put=9, next=(place(1),)))
    assert entered(state, place(5)).lines["ann"].next == (place(1),)
    assert entered(state_of(Line("ann", put=9)), place(5)).lines["ann"].next == ()


def test_all_lines_together_name_a_bounded_number_of_places() -> None:
    """The longest lines lose their last names first, and no line that was just read loses all of them."""
    state = GateState()
    for caller in range(20):
        state = entered(state, *(place(number, f"c{caller:02d}") for number in range(NEXT_OF_A_LINE)))
    assert sum(len(one.next) for one in state.lines.values()) == NEXT_IN_ALL
    assert min(len(one.next) for one in state.lines.values()) == 15
    many = state_of(*(line(f"c{number:03d}", number) for number in range(NEXT_IN_ALL)), Line("ann", put=40))
    read = lines.with_places(many, "ann", [place(number) for number in range(NEXT_OF_A_LINE)])
    assert read.lines["ann"].next == (place(0),)
    assert sum(len(one.next) for one in read.lines.values()) == NEXT_IN_ALL


def test_who_leaves_is_no_longer_named() -> None:
    """A line without permits and places is removed. Nothing changes where nobody waits."""
    state = entered(GateState(), place(1), place(2))
    assert lines.leave(state, place(1)).lines["ann"].next == (place(2),)
    assert lines.leave(lines.leave(state, place(1)), place(2)).lines == {}
    empty = state_of(Line("ann", running=1))
    assert lines.leave(empty, place(1)) == empty
    assert lines.leave(empty, place(1, "bob")) == empty


def test_permits_are_counted() -> None:
    """A permit counts for its caller and for the gate, and never below zero."""
    state = lines.begin(GateState(), "ann")
    assert (state.used, state.grants, state.lines["ann"]) == (1, 1, Line("ann", running=1, served=1, since=1))
    assert lines.end(state, "ann").used == 0
    assert lines.end(lines.end(state, "ann"), "ann").lines == {}


def test_places_from_the_table_correct_a_line() -> None:
    """Fewer than 16 places are the whole line. With 16 there may be more, as counted."""
    state = state_of(Line("ann", put=50, taken=10))
    whole = lines.with_places(state, "ann", [place(1), place(2)]).lines["ann"]
    assert (whole.waiting, whole.next) == (2, (place(1), place(2)))
    part = lines.with_places(state, "ann", [place(number) for number in range(NEXT_OF_A_LINE)]).lines["ann"]
    assert (part.waiting, len(part.next)) == (40, NEXT_OF_A_LINE)
    assert lines.with_places(state, "ann", []).lines == {}
    assert lines.with_places(state, "bob", [place(1, "bob")]).lines["bob"].waiting == 1


def test_counts_are_mended_from_the_rows() -> None:
    """Counts become those of the rows. A line with a wrong count forgets its places, and a right one is unchanged."""
    right = line("ann", 1, running=2)
    state = state_of(right, line("bob", 2, 3), Line("eve", running=1), used=9)
    state = lines.mended(state, {"ann": 2, "cat": 1}, {"ann": 1, "bob": 1, "dan": 4})
    assert state.used == 3
    assert state.lines["ann"] == right
    assert (state.lines["bob"].waiting, state.lines["bob"].next) == (1, ())
    assert state.lines["cat"].running == 1
    assert state.lines["dan"].waiting == 4
    assert "eve" not in state.lines
    assert lines.mended(state, {"ann": 2, "cat": 1}, {"ann": 1, "bob": 1, "dan": 4}) == state
