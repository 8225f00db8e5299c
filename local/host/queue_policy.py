"""The platform's decisions about a queue and its messages, independent of storage."""

from enum import Enum

VISIBILITY_S = 600
"""How long a received message stays invisible to others, in seconds. Renewed while its function runs."""

_STEP_S = 0.1
_RENEWAL_FLOOR_S = 60


class Verdict(Enum):
    """What happens to a message after its function has run."""

    DELETE = "done"
    POISON = "copied to the poison queue, then deleted"
    RELEASE = "visible again after the visibility timeout"
    LEAVE = "invisible until its lease is over, so that a queue without a poison queue does not spin"


def verdict(*, succeeded: bool, dequeue_count: int, max_dequeue_count: int, has_poison_queue: bool) -> Verdict:
    """Return what happens to a message after its function has run."""
    if succeeded:
        return Verdict.DELETE
    if not has_poison_queue:
        return Verdict.LEAVE
    return Verdict.POISON if dequeue_count >= max_dequeue_count else Verdict.RELEASE


def pause_s(empty_polls: int, jitter: float, longest_s: float) -> float:
    """Return the seconds to wait after the n-th empty poll in a row. `jitter` is between 0.8 and 1.2."""
    doublings = min(empty_polls - 1, 16)
    return min(longest_s, _STEP_S + jitter * 2.0**doublings * _STEP_S)


def renewal_after_failure_s(interval_s: float) -> float:
    """Return the seconds to wait after storage refused a renewal. The interval halves each time, down to a minute."""
    return max(interval_s / 2, min(interval_s, _RENEWAL_FLOOR_S))
