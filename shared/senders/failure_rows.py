"""Failures in a row of a host, of which an operator is told once. Pure.

Every answer counts that is no 2xx, because the receiver does not have the event. A circuit breaker counts fewer. A
process sees only its own attempts. So the number of a failed attempt counts, too, which is stored with its delivery:
those before it have also failed, wherever they were made.
"""

from dataclasses import dataclass

from shared.senders.circuit_breaker import BreakerKey

TOLD_AFTER = 4  # failures in a row
MAX_KNOWN = 10_000


@dataclass(slots=True)
class _Row:
    failures: int = 0
    is_told: bool = False


class FailureRows:
    """The failures in a row that one process has seen, by caller and host."""

    def __init__(self) -> None:
        self._known: dict[BreakerKey, _Row] = {}

    def record(self, key: BreakerKey, *, failed: bool | None, number: int) -> bool:
        """Count the outcome of an attempt, which is None if it shows nothing. Return whether to tell of the row now.

        `number` is that of the attempt in the schedule of its delivery, from 1. A row is told of once, until the host
        takes an event.
        """
        if failed is None:
            return False
        if not failed:
            self._known.pop(key, None)
            return False
        row = self._known[key] = self._known.pop(key, _Row())
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]  # the one whose last failure is oldest
        row.failures += 1
        if row.is_told or (row.failures < TOLD_AFTER and number != TOLD_AFTER):
            return False
        row.is_told = True
        return True
