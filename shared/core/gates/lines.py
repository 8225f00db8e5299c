"""The lines of a gate: who enters and leaves, who runs, and who is next.

The row of a gate names the first places of each line. They are a true beginning of the line: a place is added only if
no unnamed place can be before it. If the named places are used up, they are read from the table.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from shared.core.gates.state import NEXT_IN_ALL, NEXT_OF_A_LINE, GateState, Line, Place


def enter(state: GateState, place: Place) -> GateState:
    """Return the state after a response has entered its line, at the place that its age gives it.

    A line that was empty is now behind those that wait. Otherwise a caller that comes and goes would be before them.
    """
    line = state.lines.get(place.caller) or Line(place.caller)
    since = line.since if line.waiting else state.grants
    knows_all = len(line.next) == line.waiting
    named = line.next
    if knows_all or (named and place.order < named[-1].order):
        named = tuple(sorted((*named, place), key=lambda one: one.order))[:NEXT_OF_A_LINE]
    return _with(state, replace(line, put=line.put + 1, since=since, next=named))


def leave(state: GateState, place: Place) -> GateState:
    """Return the state after a response has left its line. Nothing changes if that line is empty."""
    line = state.lines.get(place.caller)
    if line is None or not line.waiting:
        return state
    named = tuple(one for one in line.next if one.id != place.id)
    # Unless the place was named, it was behind the named ones, so what is named stays the beginning of the line.
    return _with(state, replace(line, taken=line.taken + 1, next=named[: line.waiting - 1]))


def begin(state: GateState, caller: str) -> GateState:
    """Return the state after a caller has been given a permit."""
    number = state.grants + 1
    line = state.lines.get(caller) or Line(caller)
    return _with(
        replace(state, used=state.used + 1, grants=number),
        replace(line, running=line.running + 1, served=number, since=number),
    )


def end(state: GateState, caller: str) -> GateState:
    """Return the state after a permit of a caller has been given back."""
    line = state.lines.get(caller) or Line(caller)
    return _with(replace(state, used=max(0, state.used - 1)), replace(line, running=max(0, line.running - 1)))


def next_line(state: GateState) -> Line | None:
    """Return the line that is served next, or None if all are empty.

    It is the one whose caller has the fewest permits. Of several, it is the one that was not served for longest, since
    its line is not empty. So a caller without permits is served within as many grants as callers wait.
    """
    waiting = [line for line in state.lines.values() if line.waiting]
    return min(waiting, key=_turn, default=None)


def with_places(state: GateState, caller: str, places: Sequence[Place]) -> GateState:
    """Return the state with the first places of a line, as read from the table: at most NEXT_OF_A_LINE.

    Fewer places are the whole line. Then its count is corrected, too.
    """
    line = state.lines.get(caller) or Line(caller, since=state.grants)
    waiting = len(places) if len(places) < NEXT_OF_A_LINE else max(line.waiting, len(places))
    return _with(state, replace(line, put=line.taken + waiting, next=tuple(places)))


def mended(state: GateState, running: Mapping[str, int], waiting: Mapping[str, int]) -> GateState:
    """Return the state with its counts as the rows have them: permits and waiting responses, by caller.

    A line whose count was wrong forgets its places.
    """
    for caller in sorted({*state.lines, *running, *waiting}):
        line = state.lines.get(caller) or Line(caller, since=state.grants)
        here, there = running.get(caller, 0), waiting.get(caller, 0)
        named = line.next if line.waiting == there else ()
        state = _with(state, replace(line, running=here, put=line.taken + there, next=named))
    return replace(state, used=sum(running.values()))


def _turn(line: Line) -> tuple[int, int, int, tuple[int, str], str]:
    oldest = line.next[0].order if line.next else (0, "")
    return line.running, line.since, line.served, oldest, line.caller


def _with(state: GateState, line: Line) -> GateState:
    """Return the state with a changed line. A line with neither permits nor waiting responses is removed."""
    others = {caller: one for caller, one in state.lines.items() if caller != line.caller}
    if line.running or line.waiting:
        others[line.caller] = line
    return replace(state, lines=_bounded(others, line.caller))


def _bounded(lines: dict[str, Line], changed: str) -> dict[str, Line]:
    """Return the lines with at most NEXT_IN_ALL places. The longest ones lose their last places.

    Of equal lines, `changed` loses its place last. So places that were just read are not all lost again.
    """
    while _named(lines.values()) > NEXT_IN_ALL:
        longest = max(lines.values(), key=lambda line: (len(line.next), line.caller != changed))
        lines[longest.caller] = replace(longest, next=longest.next[:-1])
    return lines


def _named(lines: Iterable[Line]) -> int:
    return sum(len(line.next) for line in lines)
