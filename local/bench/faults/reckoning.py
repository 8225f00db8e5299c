"""Reckons what readers of streams lost or had twice. Pure.

The yardstick is the stream itself: its events are numbered from 0 without a gap, and its last event has the whole text.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from local.bench.meters.figures import percentile


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its number, its type, its piece of the text, and the whole text if it ends the stream."""

    number: int
    kind: str
    delta: str = ""
    whole: str = ""


@dataclass(slots=True)
class Read:
    """What one reader had of one response, in order, and how long each resume took to its first event, in ms."""

    response_id: str
    events: list[Event]
    waits_ms: list[float] = field(default_factory=list)


def lost_of(read: Read, last: int) -> int:
    """Return how many of the numbers from 0 to `last` the reader never had."""
    return len(set(range(last + 1)) - {one.number for one in read.events})


def doubled_of(read: Read) -> int:
    """Return how many events the reader had more than once, or after a later one."""
    again = sum(times - 1 for times in Counter(one.number for one in read.events).values())
    numbers = [one.number for one in read.events]
    backwards = sum(later < earlier for earlier, later in pairwise(numbers))
    return max(again, backwards)


def has_text(read: Read) -> bool:
    """Return whether the pieces that the reader had make the whole text, which is not empty."""
    return bool(read.events) and "".join(one.delta for one in read.events) == read.events[-1].whole != ""


def resume_values(live: Sequence[Read], logged: Sequence[Read]) -> dict[str, float | None]:
    """Return the values of the page, of the same streams read live and from their log."""
    every = [*live, *logged]
    lasts = dict[str, int]()
    for one in every:
        lasts[one.response_id] = max([lasts.get(one.response_id, 0), *(event.number for event in one.events)])
    return {
        "streams": len(live),
        "events": sum(last + 1 for last in lasts.values()),
        "resumes": sum(len(one.waits_ms) for one in every),
        "lost": sum(lost_of(one, lasts[one.response_id]) for one in every),
        "doubled": sum(map(doubled_of, every)),
        "wrong_text": sum(not has_text(one) for one in every),
        "logged_p50_ms": percentile([wait for one in logged for wait in one.waits_ms], 50),
        "logged_p99_ms": percentile([wait for one in logged for wait in one.waits_ms], 99),
    }
