"""The state of a gate, as its row stores it: permits in use, the phase after a refusal, and a line for each caller.

    open -> closed -> probing -> stepping -> open

A refusal closes the gate in every phase. Points in time are unix milliseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shared.core.records import Record

NEXT_OF_A_LINE = 16  # places that the row of a gate names for one line
NEXT_IN_ALL = 300  # and for all lines together
NAMED_MS = 120_000  # after the last write of a process whose settings have a gate, others take it for gone


class Phase(StrEnum):
    """How many responses a gate lets through, beside its limit."""

    OPEN = "open"  # as many as the limit allows
    CLOSED = "closed"  # none until a time, because the upstream refused work
    PROBING = "probing"  # one, to find out whether the upstream accepts work again
    STEPPING = "stepping"  # a number in each second that doubles


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate as the settings name it. `limit` is the number of permits, or None if there is no limit.

    `is_gone` is true if the settings of this process do not have it. During a deployment those of other processes may.
    Once none of them has written for two minutes, such a gate lets everything through.
    """

    name: str
    limit: int | None
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """A response at a gate. `caller` is its caller's name.

    `start_due_ms` is the time of its `start` alarm while it waits, or 0. The row of its permit keeps it.
    """

    id: str
    caller: str
    created_ms: int = 0
    deadline_ms: int = 0
    start_due_ms: int = 0

    @property
    def order(self) -> tuple[int, str]:
        """The order in a line: older responses come first."""
        return self.created_ms, self.id


def place_of(record: Record, start_due_ms: int = 0) -> Place:
    """Return what a gate keeps of a response. `start_due_ms` is as in Place."""
    return Place(record.id, record.caller, record.created_ms, record.deadline_ms, start_due_ms)


@dataclass(frozen=True, slots=True)
class Hold:
    """A permit: the response that has it, since when, and the phase of the gate after the grant."""

    place: Place
    since_ms: int
    phase: Phase = Phase.OPEN


@dataclass(frozen=True, slots=True)
class Turn:
    """A response waits. `place` is its place in the line, an upper bound, or None if it is not known.

    `reason` is "turn", or why the gate is closed. `next_ms` is the time until which it is closed, or 0. `gate` is the
    name of the gate. `number` is that of its entry into the line, if it has entered just now, or 0.
    """

    place: int | None
    reason: str
    next_ms: int = 0
    gate: str = field(default="", compare=False)
    number: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Line:
    """The responses of one caller. `put` have entered the line, `taken` have left it, `running` have a permit.

    `served` is the number of the last grant to this caller, or 0. `since` is the number of the last grant of all when
    the line was last empty or served. `next` are the first places, as far as known.
    """

    caller: str
    running: int = 0
    put: int = 0
    taken: int = 0
    served: int = 0
    since: int = 0
    next: tuple[Place, ...] = ()

    @property
    def waiting(self) -> int:
        """How many responses wait."""
        return self.put - self.taken


@dataclass(frozen=True, slots=True)
class GateState:
    """The row of a gate.

    `until_ms` is the time at which the phase allows more. `reason` is why the gate was closed last. `probe` is the id
    of the response that was granted last in the probing phase, or empty where that is not known. `step` is the
    number of grants in this second of the stepping phase, and `left` is how many of them are left. `closings` counts
    the closings since the gate was open. `grants` numbers all grants. `checked_ms` is the time of the last check of the
    rows, and `named_ms` that of the last write of a process whose settings have the gate.
    """

    used: int = 0
    phase: Phase = Phase.OPEN
    until_ms: int = 0
    reason: str = ""
    probe: str = ""
    step: int = 0
    left: int = 0
    closings: int = 0
    grants: int = 0
    checked_ms: int = 0
    named_ms: int = 0
    lines: Mapping[str, Line] = field(default_factory=dict)  # by name of the caller

    @property
    def waiting(self) -> int:
        """How many responses wait in all lines."""
        return sum(line.waiting for line in self.lines.values())

    def is_of_others(self, gate: Gate, now_ms: int) -> bool:
        """Return whether only other processes have the gate in their settings. Then its limit is not known here."""
        return gate.is_gone and now_ms < self.named_ms + NAMED_MS
