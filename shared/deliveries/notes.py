"""Notes: what an attempt changes in the table, after it was made.

After a 2xx, a process that is still alive repeats only this step.
"""

from dataclasses import dataclass, replace
from functools import partial

from shared.core.alarms import Alarm
from shared.core.changesets import ChangeSet
from shared.core.errors import Conflict, StoreError, StoreRefused
from shared.core.outcomes import Answer, AttemptEntry, SendError
from shared.core.records import Record, Target
from shared.core.states import DeliveryState
from shared.deliveries.retry_policy import Decision
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import update
from shared.storage import codec
from shared.telemetry import metrics
from shared.telemetry.logs import logger
from shared.transitions import delivery_transitions

_log = logger(__name__)

NOTING_S = 300.0
_PAUSE_MAX_S = 5.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that was made: the record before it, its alarm, its number, its start, its answer, and what follows.

    `at_ms` is unix milliseconds. `number` counts from 1 in the schedule, which is that of the alarm.
    """

    record: Record
    target: Target
    alarm: Alarm
    number: int
    at_ms: int
    answer: Answer
    decision: Decision

    @property
    def following(self) -> Alarm | None:
        """The alarm of the next attempt, or None."""
        at_ms = self.decision.at_ms
        return None if at_ms is None else self.alarm.at(at_ms, attempt=0, first=False)

    @property
    def entry(self) -> AttemptEntry:
        """The attempt as it is stored."""
        return AttemptEntry(
            attempt=self.number,
            at=self.at_ms / 1000,
            status=self.answer.status,
            error=self.answer.error,
            duration_ms=self.answer.duration_ms,
            next_at=self.following.due_ms / 1000 if self.following else None,
            schedule=self.alarm.schedule,
        )


def report(attempt: Attempt, now_ms: int) -> None:
    """Report the outcome of an attempt before it is noted, because the receiver has already seen the event."""
    record, target = attempt.record, attempt.target
    answer, state, at_ms = attempt.answer, attempt.decision.state, attempt.decision.at_ms
    _log.info(
        "delivery.attempted",
        extra={
            "response": record.id,
            "caller": record.caller,
            "target": target.label,
            "host": attempt.alarm.host,
            "schedule": attempt.alarm.schedule,
            "attempt": attempt.number,
            "status": answer.status,
            "error": answer.error,
            "duration_ms": answer.duration_ms,
            "state": state,
            "next_at": None if at_ms is None else at_ms / 1000,
        },
    )
    labels = {"target": target.label}
    metrics.attempts.add(1, labels | {"class": answer.error or f"{(answer.status or 0) // 100}xx"})
    if state is not DeliveryState.PENDING:
        metrics.deliveries.add(1, labels | {"state": state})
    if state is DeliveryState.DELIVERED and attempt.alarm.schedule == 1:
        # the two times may come from two clocks
        metrics.delivery_time.record(max(0, now_ms - record.ended_ms) / 1000, labels)


async def note(ports: Ports, attempt: Attempt) -> None:
    """Note the outcome of an attempt, trying for up to 5 minutes, because the receiver already has the event.

    The attempts of one response are noted one after the other, each with the record that the one before has written.
    """
    async with ports.notes.turn(attempt.record.id) as turn:
        turn.left = await _note(ports, attempt, turn.left or attempt.record)


async def _note(ports: Ports, attempt: Attempt, known: Record | None) -> Record | None:
    """Return the record as written, or None if it is not known."""
    clock, pause_s = ports.clock, 0.2
    owned: Alarm | None = attempt.alarm
    until_s = clock.elapsed_s() + NOTING_S
    while clock.elapsed_s() < until_s:
        transition = partial(_transition, attempt=attempt, owned=owned, now_ms=clock.now_ms())
        try:
            return await update(ports, known, attempt.record.id, transition)
        except Conflict as conflict:
            if conflict.gone == attempt.alarm.key:
                owned = None  # a sweep has taken the alarm, because this took too long
        except StoreRefused:
            break
        except StoreError:
            await clock.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)
        known = None
    _log.error("delivery.unrecorded", extra={"response": attempt.record.id, "status": attempt.answer.status})
    return None


def _transition(record: Record, attempt: Attempt, owned: Alarm | None, now_ms: int) -> ChangeSet | None:
    """Return what an attempt changes, or None if the delivery is over or another attempt decides.

    A success always counts, whichever schedule it belongs to. Any other outcome counts only in the current schedule,
    while no later attempt is noted and this process still owns the alarm of the attempt, `owned`.
    """
    state, delivery, schedule = attempt.decision.state, record.delivery(attempt.target), attempt.alarm.schedule
    if delivery is None or not delivery.is_open:
        return None
    is_current = delivery.schedule == schedule
    is_latest = is_current and delivery.number <= attempt.number
    if state is not DeliveryState.DELIVERED and (owned is None or not is_latest):
        return None
    changed = replace(
        delivery,
        attempt=delivery.attempts_before + attempt.number if is_latest else delivery.attempt,
        address_refused=attempt.answer.error is SendError.ADDRESS_REFUSED,
    )
    facts = codec.encode_attempt(attempt.entry)
    return delivery_transitions.note_attempt(
        record,
        changed,
        state,
        delivery_transitions.attempt_row(delivery.target, schedule, attempt.number, facts),
        owned=owned,
        following=attempt.following,
        now_ms=now_ms,
    )
