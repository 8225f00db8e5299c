"""The watcher: the process that starts a response polls it while it is young, with its record in hand.

A poll needs no storage then, and the end takes out the lease in its own transaction. The lease fires if this process
dies. The watch is over after 25 s, or while a caller waits here for the response, with the response. If the upstream
fails twice in a row or asks for a longer wait, it is over at once. Then the alarm is set to the next poll, for a sweep.
"""

import asyncio
from dataclasses import dataclass, replace

from shared.core.alarms import Alarm
from shared.core.backoff import RETRY_AFTER_MAX_MS, retry_delay
from shared.core.errors import StoreError, StoreRefused, UpstreamError, UpstreamMissing
from shared.core.records import Record
from shared.lifecycle import completion, endings, polling
from shared.lifecycle.endings import Outcome
from shared.runtime import lease_renewal
from shared.runtime.leases import RENEWED_MS
from shared.runtime.ports import Ports
from shared.runtime.watches import Watch
from shared.telemetry import metrics, tracing
from shared.telemetry.logs import logger
from shared.transitions import response_transitions
from shared.upstreams import tries

_log = logger(__name__)

WAITED_POLL_MAX_MS = 10_000  # between two polls while a caller waits
LAST_POLL_S = 5.0  # how long a poll under way is waited for at the end of a watch
MAX_ERRORS = 2  # errors of the upstream in a row
_PAUSE_S = 0.2
_PAUSE_MAX_S = 2.0


def lease_of(ports: Ports, record: Record, token: str, now_ms: int, size: int) -> Alarm | None:
    """Return the lease for a response whose start is about to be recorded, or None if it is not to be watched.

    `size` is that of its packed object in bytes. It counts as watched until `Watches.leave` or the end of its watch.
    """
    may_watch = ports.config.limits.watch and not ports.upstreams.of(record).spec.announces_ends
    if not may_watch or not ports.watches.admit(record.id, size):
        return None
    return response_transitions.watch_lease(record, token, now_ms, RENEWED_MS)


def begin(ports: Ports, record: Record, lease: Alarm) -> None:
    """Watch a response whose start this process has just recorded, together with its lease."""
    watch = ports.watches.add(record, lease_renewal.hold(ports, lease), ports.clock.now_ms())
    ports.background.start(_watch_safely(ports, watch))


async def _watch_safely(ports: Ports, watch: Watch) -> None:
    watcher = _Watcher(ports, watch)
    try:
        with tracing.under(watch.record.trace):
            try:
                await watcher.run()
            except Exception:  # noqa: BLE001 - the edge between one watch and the alarm that continues it
                _log.exception("watch.failed", extra={"response": watch.record.id})
                await watcher.back_off()
    finally:
        ports.watches.remove(watch)
        ports.leases.drop(watch.lease)


@dataclass(frozen=True, slots=True)
class _Plan:
    """When the next poll is due, in unix milliseconds, after how long a wait, and what its alarm has to say."""

    due_ms: int
    wait_ms: int
    tries: int = 0
    unusable: int = 0
    missing_ms: int = 0
    gives_up: bool = False


_NOTHING = _Plan(0, 0)  # of which an alarm has nothing to say


class _Watcher:
    """One watch."""

    def __init__(self, ports: Ports, watch: Watch) -> None:
        self._ports = ports
        self._watch = watch
        self._plan = self._after(0 if watch.record.upstream.end_announced else self._usual_ms())

    async def run(self) -> None:
        """Poll until the watch is over, and hand it over unless the response has ended or the lease is lost."""
        watch, lease = self._watch, self._watch.lease
        while not self._plan.gives_up:
            await self._pause()
            now_ms = self._ports.clock.now_ms()
            if watch.is_over or lease.is_over:
                return
            if now_ms >= watch.record.deadline_ms:
                await self._end(endings.deadline_exceeded(now_ms))
                return
            if lease.is_past(now_ms):
                return
            if now_ms >= self._stop_ms():
                break
            await self._poll()
        await self._hand_over()

    async def back_off(self) -> None:
        """Hand over after an unexpected failure, which counts as an attempt."""
        attempt = polling.CHECKED_ATTEMPT
        due_ms = self._ports.clock.now_ms() + retry_delay(attempt, self._ports.random)
        await lease_renewal.hand_over(self._ports, self._watch.lease, due_ms, attempt=attempt)

    async def _hand_over(self) -> None:
        plan = self._plan
        await lease_renewal.hand_over(
            self._ports,
            self._watch.lease,
            plan.due_ms,
            tries=plan.tries,
            unusable=plan.unusable,
            missing_ms=plan.missing_ms,
        )

    # Waiting

    def _stop_ms(self) -> int:
        """Return when the watch is over although the response may go on, in unix milliseconds."""
        deadline_ms = self._watch.record.deadline_ms
        return deadline_ms if self._is_waited_for else min(self._watch.until_ms, deadline_ms)

    @property
    def _is_waited_for(self) -> bool:
        return self._ports.watches.is_waited_for(self._watch.record.id)

    async def _pause(self) -> None:
        """Wait for the next poll, for the end of the watch or of its lease, or for anything that changes these."""
        clock, watch, lease = self._ports.clock, self._watch, self._watch.lease
        due_s = clock.elapsed_s() + self._plan.wait_ms / 1000
        while not (watch.is_over or lease.is_over):
            left_s = (min(self._stop_ms(), lease.alarm.due_ms) - clock.now_ms()) / 1000
            if (left_s := min(due_s - clock.elapsed_s(), left_s)) <= 0:
                return
            await lease.stir(left_s)

    # Polling

    async def _poll(self) -> None:
        """Ask the upstream, and end the response or plan the next poll."""
        now_ms = self._ports.clock.now_ms()
        metrics.poll_lag.record(max(0, now_ms - self._plan.due_ms) / 1000)
        left_s = (self._stop_ms() - now_ms) / 1000
        try:
            async with asyncio.timeout(left_s + LAST_POLL_S):
                outcome = await self._ask()
        except TimeoutError:  # the poll goes on for others, and the watch is over
            self._plan = self._after(self._usual_ms())
            return
        if outcome and not self._watch.is_over:
            await self._end(outcome)

    async def _ask(self) -> Outcome | None:
        """Ask the upstream. Return how the response ends, or plan the next poll and return None."""
        record, clock = self._watch.record, self._ports.clock
        route = self._ports.upstreams.of(record)
        try:
            async with self._ports.poll_slots.slot():
                progress = await polling.ask_upstream(
                    self._ports,
                    route,
                    record.id,
                    record.upstream.token or "",
                    record.request.include,
                    accepts_past=True,
                )
        except UpstreamMissing:
            return self._on_missing()
        except polling.FINAL as error:
            return endings.unusable(error, clock.now_ms())
        except UpstreamError as error:
            self._on_error(error)
            return None
        if progress.token is None:
            return endings.by_progress(progress, clock.now_ms())
        asked_ms = min(int((progress.retry_after_s or 0) * 1000), RETRY_AFTER_MAX_MS)
        self._plan = self._after(max(self._usual_ms(), asked_ms), gives_up=self._is_too_long(asked_ms))
        return None

    def _on_missing(self) -> Outcome | None:
        """Tolerate a 404 as long as every poll does."""
        now_ms = self._ports.clock.now_ms()
        missing_ms = self._plan.missing_ms or now_ms
        if now_ms - missing_ms >= polling.MISSING_GRACE_MS:
            return endings.lost(polling.MISSING, now_ms)
        counted = replace(self._plan, missing_ms=missing_ms)
        self._plan = self._after(self._usual_ms(), counted)
        return None

    def _on_error(self, error: UpstreamError) -> None:
        errors, asked_ms = self._plan.tries + 1, int((error.retry_after_s or 0) * 1000)
        seen = {**tries.seen(error), "tries": errors}
        _log.warning("poll.deferred", extra={"response": self._watch.record.id, **seen})
        wait_ms = retry_delay(errors - 1, self._ports.random, retry_after_s=error.retry_after_s)
        unusable = self._plan.unusable + isinstance(error, polling.UNUSABLE)
        gives_up = errors >= MAX_ERRORS or self._is_too_long(asked_ms)
        self._plan = self._after(wait_ms, replace(self._plan, tries=errors, unusable=unusable), gives_up=gives_up)

    def _is_too_long(self, asked_ms: int) -> bool:
        """Return whether the upstream asks for a wait beyond the end of the watch."""
        now_ms = self._ports.clock.now_ms()
        waited_ms = now_ms + WAITED_POLL_MAX_MS if self._is_waited_for else 0
        return now_ms + asked_ms > max(self._watch.until_ms, waited_ms)

    def _usual_ms(self) -> int:
        delay_ms = polling.next_wait(self._ports, self._watch.lease.alarm, self._ports.clock.now_ms())
        return min(delay_ms, WAITED_POLL_MAX_MS) if self._is_waited_for else delay_ms

    def _after(self, wait_ms: int, counted: _Plan = _NOTHING, *, gives_up: bool = False) -> _Plan:
        """Return the plan of a poll after a wait, with what its alarm has to say as in `counted`."""
        return replace(counted, due_ms=self._ports.clock.now_ms() + wait_ms, wait_ms=wait_ms, gives_up=gives_up)

    # Ending

    async def _end(self, outcome: Outcome) -> None:
        """End the response. If storage is away, try until the time of the lease is past, and leave it to the alarm."""
        ports, watch, pause_s = self._ports, self._watch, _PAUSE_S
        while not watch.is_over:
            try:
                await completion.end(ports, None, watch.record.id, outcome)
            except StoreError as error:
                _log.warning("watch.unfinished", extra={"response": watch.record.id, "error": type(error).__name__})
                if isinstance(error, StoreRefused):
                    await self.back_off()  # the attempts of the alarm come to an end
                    return
                if watch.lease.is_over or watch.lease.is_past(ports.clock.now_ms()):
                    return
                await ports.clock.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_MAX_S)
            else:
                return
