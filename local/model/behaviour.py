"""What a simulated model does, parsed from its name."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The status of a response. The last four are terminal."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    INCOMPLETE = "incomplete"
    CANCELLED = "cancelled"


TICKS_PER_S = 20
UNFINISHED = frozenset({Status.QUEUED, Status.IN_PROGRESS})


class Writing(StrEnum):
    """The text of the answer: an outline of the input, numbers from 0, the unix ms of each delta, or noise."""

    OUTLINE = "outline"
    NUMBERS = "numbers"
    CLOCK = "clock"
    BLOB = "blob"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How long a model works, how it ends, and what its answer contains.

    `size` is the count of numbers, or the size of a blob in mebibytes. `ticks_per_s` is how often a clock writes.
    """

    duration_s: float
    ending: Status = Status.COMPLETED
    calls_tool: bool = False
    writing: Writing = Writing.OUTLINE
    size: int = 0
    silent: bool = False
    reasons: bool = False
    ticks_per_s: int = TICKS_PER_S

    @property
    def queued_s(self) -> float:
        """How long a background response is queued, in seconds."""
        return 0.0 if self.silent or self.writing is Writing.CLOCK else self.duration_s / 10

    @property
    def writes_from_s(self) -> float:
        """The age in seconds at which its stream emits the first output."""
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
    # The text grows by 280 bytes a second, which is a megabyte in an hour.
    (r"sim-clock-([0-9]{1,4}(?:\.[0-9]{1,6})?)s", lambda n: Behaviour(float(n), writing=Writing.CLOCK)),
    (
        r"sim-slow-clock-([0-9]{1,4}(?:\.[0-9]{1,6})?)s",
        lambda n: Behaviour(float(n), writing=Writing.CLOCK, ticks_per_s=TICKS_PER_S // 2),
    ),
    (rf"sim-events-([1-9][0-9]{{0,4}}|{MOST_NUMBERS})", lambda n: _at_once(Writing.NUMBERS, n)),
    (r"sim-blob-([1-8])mb", lambda n: _at_once(Writing.BLOB, n)),
)


def behaviour_of(model: str) -> Behaviour | None:
    """Return what a model with a name such as `sim-2s` or `sim-fail-0.5s` does, or None for any other name."""
    for pattern, made in SIZED:
        if (name := re.fullmatch(pattern, model)) is not None:
            return made(name[1])
    return NAMED.get(model)


def _at_once(writing: Writing, size: str) -> Behaviour:
    return Behaviour(0.0, writing=writing, size=int(size))
