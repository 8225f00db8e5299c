"""The platform's decisions about a queue and its messages, independent of storage."""

from enum import Enum

_STEP_S = 0.1
_RETRIES = 5


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
    if empty_polls <= 1:
        return min(longest_s, _STEP_S)
    doublings = min(empty_polls - 2, 16)
    return min(longest_s, _STEP_S + jitter * 2.0**doublings * _STEP_S)


def retry_pauses_s(total_s: float) -> list[float]:
    """Return the pauses between the six tries of an operation of storage. Each doubles, and their sum is `total_s`.

    Azure.Core waits 0.8, 1.6, 3.2, 6.4 and 12.8 s.
    """
    return [total_s * 2**retry / (2**_RETRIES - 1) for retry in range(_RETRIES)]
