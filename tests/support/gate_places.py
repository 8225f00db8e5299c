"""Responses at a gate, as tests name them."""

from shared.core.gates.state import GateState, Line, Place

NOW_MS = 1_800_000_000_000


def place(number: int, caller: str = "ann") -> Place:
    """Return a response of a caller. Its number gives its age: higher ones are younger."""
    created_ms = NOW_MS + number
    return Place(f"resp_{number:032x}", caller, created_ms, created_ms + 3_600_000, created_ms + 3_600_000)


def line(caller: str, *numbers: int, running: int = 0, served: int = 0) -> Line:
    """Return the line of a caller in which these responses wait."""
    places = tuple(place(number, caller) for number in numbers)
    return Line(caller, running=running, put=len(places), served=served, since=served, next=places)


def state_of(*lines: Line, **facts: object) -> GateState:
    """Return a gate with these lines. Its permits are those of the lines, unless `facts` say otherwise."""
    used = sum(one.running for one in lines)
    return GateState(**{"used": used, "lines": {one.caller: one for one in lines}, **facts})  # type: ignore[arg-type]
