"""What a simulated model does, read from its name."""

import re
from collections.abc import Callable
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


class Writing(StrEnum):
    """What the answer's text is: made from the input, counted from 0, the unix ms of each delta, or noise."""

    OUTLINE = "outline"
    NUMBERS = "numbers"
    CLOCK = "clock"
    BLOB = "blob"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How long a model works, how it ends, and what comes in its answer.

    `size` is the count of numbers, or the mebibytes of a blob.
    """

    duration_s: float
    ending: Status = Status.COMPLETED
    calls_tool: bool = False
    writing: Writing = Writing.OUTLINE
    size: int = 0
    silent: bool = False
    reasons: bool = False

    @property
    def queued_s(self) -> float:
        """How long a background response waits before the model takes it up."""
        return 0.0 if self.silent or self.writing is Writing.CLOCK else self.duration_s / 10

    @property
    def writes_from_s(self) -> float:
        """The age at which its stream tells the first of its output."""
        return self.duration_s if self.silent else self.queued_s


MOST_NUMBERS = 100_000
NAMED = {"sim-instant": Behaviour(0.0), "sim-tool": Behaviour(0.3, calls_tool=True)}
SECONDS = r"([0-9]{1,6}(?:\.[0-9]{1,6})?)s"
SIZED: tuple[tuple[str, Callable[[str], Behaviour]], ...] = (
    (f"sim-{SECONDS}", lambda n: Behaviour(float(n))),
    (f"sim-fail-{SECONDS}", lambda n: Behaviour(float(n), Status.FAILED)),
    (f"sim-incomplete-{SECONDS}", lambda n: Behaviour(float(n), Status.INCOMPLETE)),
    (f"sim-silent-{SECONDS}", lambda n: Behaviour(float(n), silent=True)),
    (f"sim-tool-{SECONDS}", lambda n: Behaviour(float(n), calls_tool=True)),
    (f"sim-reason-{SECONDS}", lambda n: Behaviour(float(n), reasons=True)),
    # Its text grows by 280 bytes a second: an hour is a megabyte.
    (r"sim-clock-([0-9]{1,4}(?:\.[0-9]{1,6})?)s", lambda n: Behaviour(float(n), writing=Writing.CLOCK)),
    (rf"sim-events-([1-9][0-9]{{0,4}}|{MOST_NUMBERS})", lambda n: _at_once(Writing.NUMBERS, n)),
    (r"sim-blob-([1-8])mb", lambda n: _at_once(Writing.BLOB, n)),
)


def behaviour_of(model: str) -> Behaviour | None:
    """Return what a name such as `sim-2s` or `sim-fail-0.5s` asks for; None for a name of another kind."""
    for pattern, made in SIZED:
        if (name := re.fullmatch(pattern, model)) is not None:
            return made(name[1])
    return NAMED.get(model)


def _at_once(writing: Writing, size: str) -> Behaviour:
    return Behaviour(0.0, writing=writing, size=int(size))
