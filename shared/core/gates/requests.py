"""What responses want of a gate, and how many of these wishes fit into one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from shared.core.gates.state import Place

MAX_ROWS = 98  # of a transaction, beside the row of the gate


class Kind(IntEnum):
    """What is wanted. One transaction serves the kinds in this order."""

    LEAVE = 0  # the response ends: its place goes out of the line, or its permit is given back
    RELEASE = 1  # its permit is given back
    REFUSE = 2  # the upstream has refused it: its permit is given back, and the gate closes
    ACCEPT = 3  # the upstream has accepted a response, or answers again
    FAIL = 4  # a create has failed, and its response keeps its permit: if it was the probe, another one may follow
    TAKE = 5  # a permit is wanted, or else a place in the line if the response stays
    GRANT = 6  # what is free goes to the lines
    CHECK = 7  # one process is to compare the counts with the rows


@dataclass(frozen=True, slots=True)
class Request:
    """One wish. `place` names the response. It is empty for the kinds that are about no response.

    `stays`: if it is refused, or gets no permit, the response waits in the line. The others belong to a refusal: the
    wait in seconds that the upstream asked for, or None, and the reason.
    """

    kind: Kind
    place: Place
    retry_after_s: float | None = None
    reason: str = ""
    stays: bool = True


# The rows that a wish may change, with those of the response that gets its permit.
_ROWS = {
    Kind.LEAVE: 4,
    Kind.RELEASE: 3,
    Kind.REFUSE: 2,
    Kind.ACCEPT: 4,
    Kind.FAIL: 2,
    Kind.TAKE: 1,
    Kind.GRANT: 2,
    Kind.CHECK: 0,
}
_ROWS_WITHOUT_LINE = {**_ROWS, Kind.LEAVE: 2, Kind.RELEASE: 1, Kind.ACCEPT: 0, Kind.FAIL: 0, Kind.GRANT: 0}


def fitting(requests: Sequence[Request], *, has_line: bool) -> list[int]:
    """Return the indexes of the requests that fit into the next transaction, in their order.

    Of two requests about one response, the second one waits for another transaction, because each row may change only
    once. `has_line` says whether responses wait, so that permits are handed on.
    """
    rows = _ROWS if has_line else _ROWS_WITHOUT_LINE
    chosen: list[int] = []
    seen: set[str] = set()
    left = MAX_ROWS
    for index, request in enumerate(requests):
        if left < rows[request.kind]:
            break
        if request.place.id in seen:
            continue
        if request.place.id:
            seen.add(request.place.id)
        left -= rows[request.kind]
        chosen.append(index)
    return chosen
