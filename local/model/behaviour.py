"""What a simulated model does, read from its name."""

import re
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Where a response stands; the last four are terminal."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    INCOMPLETE = "incomplete"
    CANCELLED = "cancelled"


UNFINISHED = frozenset({Status.QUEUED, Status.IN_PROGRESS})


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How long a model works, how it ends, and whether it asks for a tool first."""

    duration_s: float
    ending: Status = Status.COMPLETED
    calls_tool: bool = False

    @property
    def queued_s(self) -> float:
        """How long a background response waits before the model takes it up."""
        return self.duration_s / 10


NAMED = {"sim-instant": Behaviour(0.0), "sim-tool": Behaviour(0.3, calls_tool=True)}
TIMED = re.compile(r"sim-(?:(fail|incomplete)-)?([0-9]{1,6}(?:\.[0-9]{1,6})?)s")
ENDINGS = {None: Status.COMPLETED, "fail": Status.FAILED, "incomplete": Status.INCOMPLETE}


def behaviour_of(model: str) -> Behaviour | None:
    """Return what a name such as `sim-2s` or `sim-fail-0.5s` asks for; None for a name of another kind."""
    timed = TIMED.fullmatch(model)
    if timed is None:
        return NAMED.get(model)
    ending, duration_s = timed.groups()
    return Behaviour(float(duration_s), ENDINGS[ending])
