"""What a response in a line waits for now. Its record says so as it was when the response entered the line.

Nothing is written while it waits, however often its gate changes. So the record is read together with the gate's row.
"""

from dataclasses import replace

from shared.core.gates.state import GateState, Line, Phase, Place
from shared.core.records import WaitInfo
from shared.core.states import WaitReason

_LEFT = -1  # it is not in its line any longer


def standing(state: GateState) -> tuple[str, int]:
    """Return why responses wait in the lines of a gate, and the time until which it is closed, or 0.

    The time is unix milliseconds.
    """
    if state.phase in (Phase.CLOSED, Phase.PROBING):
        return state.reason or WaitReason.TURN, state.until_ms
    return WaitReason.TURN, 0


def reason_of(told: str) -> WaitReason:
    """Return the reason that a gate has told. One that only a newer version knows is a turn."""
    return WaitReason(told) if told in set(WaitReason) else WaitReason.TURN


def at_present(wait: WaitInfo, place: Place, state: GateState | None, now_ms: int) -> WaitInfo:
    """Return what a response waits for at a time, in unix milliseconds.

    `wait` is what its record says, `place` the response, and `state` the row of its gate, or None if there is none.

    The gate decides on the reason, on the time of the next try, and on the place. Every refusal is written to the gate
    first, its own too, so the gate never knows less of the upstream.

    What its own failed try has met is more precise in two cases, and is kept. If the gate is closed for that reason,
    `detail`, `tries` and `since` stay. If the response has left the line, it is being tried, and the reason of its
    last try stays until one succeeds. One that has not failed then waits for nothing.

    Two have nothing of the gate: a response that is in no line, and one whose line the row does not have. Such a row
    was read before the response entered, or is lost. Then only a time that is past is left out.
    """
    if not (wait.gate and wait.reason):
        return wait
    line = state.lines.get(place.caller) if state else None
    if state is None or line is None or wait.number > line.put:
        return replace(wait, next_ms=_ahead(wait.next_ms, now_ms))
    at = _place_in(line, place, wait)
    if at == _LEFT:
        has_failed = wait.tries and wait.reason != WaitReason.TURN
        return replace(wait, place=0, next_ms=0) if has_failed else WaitInfo()
    told, until_ms = standing(state)
    reason, next_ms = reason_of(told), _ahead(until_ms, now_ms)
    if reason == wait.reason:
        return replace(wait, place=at, next_ms=next_ms)
    return replace(wait, reason=reason, detail="", tries=0, place=at, next_ms=next_ms)


def _ahead(at_ms: int, now_ms: int) -> int:
    return at_ms if at_ms > now_ms else 0


def _place_in(line: Line, place: Place, wait: WaitInfo) -> int:
    """Return the place of a response in its line, counted from 1, 0 if it is not known, or _LEFT.

    The row names the first places. Behind them it is an upper bound, from how many have left the line since.
    """
    named = [one.id for one in line.next]
    if place.id in named:
        return named.index(place.id) + 1
    if len(named) >= line.waiting or (named and place.order < line.next[-1].order):
        return _LEFT
    return max(len(named) + 1, min(wait.number - line.taken, line.waiting)) if wait.number else 0
