"""Admission of delivery attempts: a host in trouble is left alone, and a slow host does not hold up the others."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from shared.core.outcomes import Answer, SendError
from shared.senders.bulkhead import Bulkhead
from shared.senders.circuit_breaker import BreakerKey, CircuitBreakers
from shared.senders.failure_rows import FailureRows
from shared.telemetry.logs import logger

MAX_FIRSTS = 24  # first attempts at once
MAX_RETRIES = 12  # in a separate bulkhead, so that first attempts never wait behind retries

_log = logger(__name__)


class CircuitOpen(Exception):
    """The circuit breaker of the host is open until `until_ms`, in unix milliseconds."""

    def __init__(self, until_ms: int) -> None:
        super().__init__("the circuit breaker is open")
        self.until_ms = until_ms


class Admission:
    """The right to make one attempt. The sender sets `answer`, which the circuit breaker then counts.

    `number` is that of the attempt in the schedule of its delivery, from 1.
    """

    answer: Answer | None = None
    number: int = 1


@dataclass(frozen=True, slots=True)
class Outlook:
    """What an attempt would meet that came now.

    `open_until_ms` is the time until which the circuit breaker is open, in unix milliseconds, or 0. `is_long` is true
    if the line for a slot is so long that the attempt would probably not begin within 4 s. `is_free` is true if the
    attempt would not wait.
    """

    open_until_ms: int
    is_long: bool
    is_free: bool = False


class AdmissionControl:
    """Admits attempts to the hosts of callbacks."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self.breakers = CircuitBreakers()
        self._rows = FailureRows()
        self._firsts, self._retries = Bulkhead(MAX_FIRSTS), Bulkhead(MAX_RETRIES)

    @asynccontextmanager
    async def admit(self, key: BreakerKey, *, first: bool, patience_s: float) -> AsyncIterator[Admission]:
        """Hold the right to make one attempt, after waiting up to `patience_s` for a slot.

        `first` is true for the first attempt of a delivery. Raises CircuitOpen, or NoCapacity if no slot was free in
        time.
        """
        if until_ms := self.breakers.admit(key, self._now_ms()):
            raise CircuitOpen(until_ms)
        admission = Admission()
        try:
            async with self._bulkhead(first=first).slot(key.host, patience_s, caller=key.caller) as held:
                try:
                    yield admission
                finally:
                    held.has_answered = _shows_the_host(admission.answer)
        finally:
            self._learn(key, admission)

    def outlook(self, key: BreakerKey, *, first: bool) -> Outlook:
        """Return what an attempt would meet now. This changes nothing: no probe is taken, and nothing waits."""
        bulkhead = self._bulkhead(first=first)
        until_ms = self.breakers.until_ms(key, self._now_ms())
        return Outlook(until_ms, bulkhead.is_long(key.host, key.caller), bulkhead.is_free(key.host, key.caller))

    def _bulkhead(self, *, first: bool) -> Bulkhead:
        return self._firsts if first else self._retries

    def _learn(self, key: BreakerKey, admission: Admission) -> None:
        answer, who = admission.answer, {"caller": key.caller, "host": key.host}
        if answer and self._rows.record(key, failed=answer.failed, number=admission.number):
            _log.warning("callbacks.failing", extra=who)
        failed = answer.host_failed if answer else None
        if failed is None:
            self.breakers.release(key)
        elif until_ms := self.breakers.record(key, self._now_ms(), failed=failed):
            _log.warning("breaker.opened", extra={**who, "seconds": (until_ms - self._now_ms()) // 1000})


def _shows_the_host(answer: Answer | None) -> bool:
    return answer is not None and answer.error is not SendError.TIMEOUT
