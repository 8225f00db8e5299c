"""How late polls are, from the times at which the model was asked. Pure.

The yardstick is one fixed schedule for every build: a poll is due a tenth of the response's age after the one before,
and that is at least 1 s and at most 30 s. A build that stretches its intervals on purpose is late by this yardstick.
"""

from collections.abc import Sequence
from itertools import pairwise

LEAST_S = 1.0
MOST_S = 30.0


def due_after_s(age_s: float) -> float:
    """Return how long after a poll at this age the next one is due, in seconds."""
    return min(max(age_s / 10, LEAST_S), MOST_S)


def late_s(polled_s: Sequence[float], age_s: float, since_s: float) -> list[float]:
    """Return how late each poll of one response was, in seconds, of those that were due at an age of `since_s` or more.

    `polled_s` has the ages of its polls in order, and `age_s` is its age now. A poll that is overdue now counts with
    what it is late already, and one that is not due yet does not count.
    """
    ages = [0.0, *polled_s]
    made = [(before + due_after_s(before), at) for before, at in pairwise(ages)]
    overdue = [(due, age_s) for due in (ages[-1] + due_after_s(ages[-1]),) if due < age_s]
    return [max(0.0, at - due) for due, at in (*made, *overdue) if due >= since_s]


def gaps_s(polled_s: Sequence[float], since_s: float) -> list[float]:
    """Return the intervals in seconds between polls of one response that ended at an age of `since_s` or more."""
    return [at - before for before, at in pairwise([0.0, *polled_s]) if at >= since_s]
