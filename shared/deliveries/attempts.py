"""Delivery attempts: send the terminal event to its targets, at least once and always with the same id.

Every attempt has the same steps: admission (circuit breaker and bulkhead), claim, sign, send, record. The claim counts
the attempt in the record, so only one process can make it. The claim also moves the alarm to a time that it reaches
only if the process crashes. An attempt that is not admitted is postponed and not counted. After a 2xx, a process that
is still alive repeats only the recording.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from shared.core import delivery_transitions, retention_transitions
from shared.core.alarms import Alarm, alarm_of
from shared.core.backoff import retry_delay
from shared.core.changesets import ChangeSet
from shared.core.errors import Conflict, StoreError
from shared.core.outcomes import Answer, AttemptEntry, SendError
from shared.core.records import Delivery, Postponed, Record
from shared.core.states import DeliveryState
from shared.deliveries import retry_policy, sending
from shared.deliveries.retry_policy import AttemptMade, Decision
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import apply, update
from shared.senders.admission import CircuitOpen
from shared.senders.bulkhead import NoCapacity
from shared.storage import codec
from shared.telemetry import metrics, tracing
from shared.telemetry.logs import logger

_log = logger(__name__)

PATIENCE_S = 10.0
RECORDING_S = 300.0
SPREAD_MS = 10_000  # jitter, so that attempts that wait for a circuit breaker do not all return at once
_PAUSE_MAX_S = 5.0
_POSTPONED_TRIES = 4  # a postponed attempt waits as after four errors in a row, 8 to 16 s


async def on_deliver_alarm(ports: Ports, alarm: Alarm) -> None:
    """Make the attempt of an alarm that a sweep has moved, or postpone it."""
    record = await ports.store.read(alarm.id)
    delivery = record.delivery(alarm.target) if record else None
    if record is None or delivery is None or not delivery.is_open:
        await ports.store.remove(alarm)
        return
    if postponement := await _attempt(ports, record, delivery, alarm):
        await _postpone(ports, record, delivery, alarm, postponement)


async def deliver_now(ports: Ports, alarm_key: str) -> None:
    """Make the attempt that a queue message asks for, if its alarm is still the delivery's only alarm.

    `alarm_key` is the row key of that alarm. An attempt that must wait is left to the alarm, because a message that
    waits would hold up others.
    """
    alarm = alarm_of(alarm_key)
    record = await ports.store.read(alarm.id)
    delivery = record.delivery(alarm.target) if record else None
    if record and delivery and delivery.is_open and delivery.alarm_key == alarm_key:
        with tracing.under(record.trace):
            await _attempt(ports, record, delivery, replace(alarm, trace=record.trace))


def begin_first_attempts(ports: Ports, record: Record) -> None:
    """Begin the first attempts of a response that has just ended, without waiting for their queue messages.

    If an attempt fails, or the process is killed, the messages and the alarms remain.
    """
    for delivery in record.deliveries:
        ports.background.start(_begin_first_attempt(ports, delivery.alarm_key))


async def _begin_first_attempt(ports: Ports, alarm_key: str) -> None:
    with suppress(StoreError):
        await deliver_now(ports, alarm_key)


@dataclass(frozen=True, slots=True)
class _Postponement:
    """Why an attempt cannot be made now, and when it is tried again, in unix milliseconds."""

    why: Postponed
    at_ms: int


async def _attempt(ports: Ports, record: Record, delivery: Delivery, alarm: Alarm) -> _Postponement | None:
    """Make an attempt, unless another process has claimed it.

    Returns a postponement if it is not admitted, or if this process is still recording the previous attempt.
    """
    key = (record.id, delivery.target)
    if key in ports.recording:
        return _soon(ports, Postponed.NO)
    address, sender = record.request.address(delivery.target), ports.senders[delivery.target]
    attempt = None
    try:
        async with sender.admit(
            address, record.caller, first=delivery.attempt == 0, patience_s=PATIENCE_S
        ) as admission:
            claimed = await _claim(ports, record, delivery, alarm)
            if claimed:
                attempt = await _send(ports, claimed)
                admission.answer = attempt.answer
    except CircuitOpen as breaker:
        return _Postponement(Postponed.BREAKER, breaker.until_ms + int(SPREAD_MS * ports.random()))
    except NoCapacity:
        return _soon(ports, Postponed.CAPACITY)
    if attempt:
        with ports.recording.mark(key):
            await _record(ports, attempt)
    return None


def _soon(ports: Ports, why: Postponed) -> _Postponement:
    return _Postponement(why, ports.clock.now_ms() + retry_delay(_POSTPONED_TRIES, ports.random))


async def _postpone(
    ports: Ports, record: Record, delivery: Delivery, alarm: Alarm, postponement: _Postponement
) -> None:
    """Move the alarm to a later time and record why, unless another attempt has been claimed meanwhile."""
    later = alarm.at(postponement.at_ms, attempt=0)

    def transition(current: Record) -> ChangeSet | None:
        now = current.delivery(delivery.target)
        if now is None or not now.is_open or now.attempt != delivery.attempt:
            return None
        return delivery_transitions.postpone_attempt(current, now, alarm, later, postponement.why)

    with suppress(Conflict):
        await update(ports, record, record.id, transition)


@dataclass(frozen=True, slots=True)
class _Claim:
    """An attempt that this process has claimed: the record and the delivery as of the claim, and its alarm."""

    record: Record
    delivery: Delivery
    alarm: Alarm


async def _claim(ports: Ports, record: Record, delivery: Delivery, alarm: Alarm) -> _Claim | None:
    """Claim the next attempt. Return None if another process has claimed it."""
    claim = delivery_transitions.claim_alarm(alarm, ports.clock.now_ms())

    def transition(current: Record) -> tuple[ChangeSet | None, bool]:
        now = current.delivery(delivery.target)
        if now is None or not now.is_open or now.attempt != delivery.attempt:
            return None, False
        return delivery_transitions.claim_attempt(current, now, alarm, claim), True

    try:
        claimed, is_ours = await apply(ports, record, record.id, transition)
    except Conflict:
        return None
    ours = claimed.delivery(delivery.target) if claimed and is_ours else None
    return _Claim(claimed, ours, claim) if claimed and ours else None


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An attempt that was made: its claim, its number, its start in unix milliseconds, its answer, and what follows."""

    claim: _Claim
    number: int
    at_ms: int
    answer: Answer
    decision: Decision

    @property
    def following(self) -> Alarm | None:
        """The alarm of the next attempt, or None."""
        at_ms = self.decision.at_ms
        return None if at_ms is None else self.claim.alarm.at(at_ms, attempt=0)

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
        )


async def _send(ports: Ports, claim: _Claim) -> _Attempt:
    """Send the event and decide what follows."""
    delivery, at_ms = claim.delivery, ports.clock.now_ms()
    answer = await sending.send_event(ports, claim.record, delivery)
    decision = retry_policy.decide(
        AttemptMade(delivery.attempt - delivery.attempts_before, answer, delivery.address_refused),
        now_ms=ports.clock.now_ms(),
        until_ms=retention_transitions.kept_until(claim.record, ports.config.limits.retention_ms),
        random=ports.random,
    )
    attempt = _Attempt(claim, delivery.attempt, at_ms, answer, decision)
    _emit(attempt, ports.clock.now_ms())
    return attempt


def _emit(attempt: _Attempt, now_ms: int) -> None:
    """Emit the outcome of an attempt before it is recorded, because the receiver has already seen the event."""
    record, delivery = attempt.claim.record, attempt.claim.delivery
    answer, state, at_ms = attempt.answer, attempt.decision.state, attempt.decision.at_ms
    _log.info(
        "delivery.attempted",
        extra={
            "response": record.id,
            "caller": record.caller,
            "target": delivery.target.label,
            "attempt": attempt.number,
            "status": answer.status,
            "error": answer.error,
            "duration_ms": answer.duration_ms,
            "state": state,
            "next_at": None if at_ms is None else at_ms / 1000,
        },
    )
    target = {"target": delivery.target.label}
    metrics.attempts.add(1, target | {"class": answer.error or f"{(answer.status or 0) // 100}xx"})
    if state is not DeliveryState.PENDING:
        metrics.deliveries.add(1, target | {"state": state})
    if state is DeliveryState.DELIVERED and not delivery.attempts_before:
        # the two times may come from two clocks
        metrics.delivery_time.record(max(0, now_ms - record.ended_ms) / 1000, target)


async def _record(ports: Ports, attempt: _Attempt) -> None:
    """Record the outcome of an attempt, trying for up to 5 minutes, because the receiver already has the event."""
    clock, record, pause_s = ports.clock, attempt.claim.record, 0.2
    owned: Alarm | None = attempt.claim.alarm
    known: Record | None = record
    until_s = clock.elapsed_s() + RECORDING_S
    while clock.elapsed_s() < until_s:
        transition = partial(_outcome_transition, attempt=attempt, owned=owned, now_ms=clock.now_ms())
        try:
            await update(ports, known, record.id, transition)
        except Conflict as conflict:
            if conflict.gone == attempt.claim.alarm.key:
                owned = None  # a sweep has taken the alarm, because this attempt took too long
        except StoreError:
            await clock.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)
        else:
            return
        known = None
    _log.error("delivery.unrecorded", extra={"response": record.id, "status": attempt.answer.status})


def _outcome_transition(record: Record, attempt: _Attempt, owned: Alarm | None, now_ms: int) -> ChangeSet | None:
    """Return what an attempt changes, or None if the delivery is over or another attempt decides.

    A success always counts. Any other outcome counts only if no later attempt is claimed and this process still owns
    the alarm of the attempt, `owned`.
    """
    claim, state = attempt.claim, attempt.decision.state
    delivery = record.delivery(claim.delivery.target)
    if delivery is None or not delivery.is_open:
        return None
    if state is not DeliveryState.DELIVERED and (delivery.attempt != attempt.number or owned is None):
        return None
    changed = replace(delivery, address_refused=attempt.answer.error is SendError.ADDRESS_REFUSED)
    row = delivery_transitions.attempt_row(delivery.target, attempt.number, codec.encode_attempt(attempt.entry))
    return delivery_transitions.record_attempt(
        record,
        changed,
        state,
        row,
        claim=owned,
        following=attempt.following,
        now_ms=now_ms,
    )
