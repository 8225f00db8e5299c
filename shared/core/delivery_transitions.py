"""The transitions of a delivery. Pure: a record and one of its deliveries in, a change set out.

A transition to a state that cannot follow raises IllegalTransition. Times are unix milliseconds.
"""

from dataclasses import replace

from shared.core import ids, keys
from shared.core.alarms import Alarm, Kind
from shared.core.changesets import ChangeSet, Row
from shared.core.records import Delivery, Postponed, Record, Target
from shared.core.states import DeliveryState, follow

DELIVER_SOON_MS = 15_000
CLAIM_MS = 60_000
_RECOVERABLE = frozenset({DeliveryState.FAILED, DeliveryState.BLOCKED})


def first_attempt_alarm(record: Record, target: Target, now_ms: int) -> Alarm:
    """Return the alarm of an attempt that a queue message asks for at once.

    It fires after 15 s if that message is lost.
    """
    return Alarm(now_ms + DELIVER_SOON_MS, Kind.DELIVER, record.id, target, trace=record.trace)


def claim_alarm(alarm: Alarm, now_ms: int) -> Alarm:
    """Return the alarm of an attempt that is being made, which replaces `alarm`.

    It fires after 60 s. That happens only if the process crashes or takes too long.
    """
    return alarm.moved(now_ms + CLAIM_MS)


def claim_attempt(record: Record, delivery: Delivery, alarm: Alarm, claim: Alarm) -> ChangeSet:
    """Claim the next attempt: count it, and replace its alarm with the claim's."""
    claimed = replace(delivery, attempt=delivery.attempt + 1, alarm_key=claim.key, sending=True, postponed=Postponed.NO)
    return ChangeSet(record.with_delivery(claimed), alarms_in=(claim,)).removing(alarm)


def record_attempt(
    record: Record,
    delivery: Delivery,
    state: DeliveryState,
    row: Row,
    *,
    claim: Alarm | None,
    following: Alarm | None,
    now_ms: int,
) -> ChangeSet:
    """Record the outcome of an attempt: the delivery's state, the attempt's row, and the alarm of the next attempt.

    `claim` is the alarm of this attempt, if this process still holds it. `following` is the alarm of the next attempt,
    if another one follows.
    """
    next_alarms = (following,) if following else ()
    changed = replace(delivery, state=follow(delivery.state, state), sending=False, alarm_key=_key_of(following))
    changed, index = _indexed(record, changed, now_ms)
    return ChangeSet(
        record.with_delivery(changed), alarms_in=next_alarms, rows=(row,), index_in=index, wake_for=next_alarms
    ).removing(claim)


def fail_delivery(record: Record, delivery: Delivery, now_ms: int) -> ChangeSet:
    """Give up a delivery because of a fault of this service."""
    state = follow(delivery.state, DeliveryState.FAILED)
    failed = replace(delivery, state=state, alarm_key="", sending=False, postponed=Postponed.NO)
    failed, index = _indexed(record, failed, now_ms)
    return ChangeSet(record.with_delivery(failed), index_in=index)


def postpone_attempt(record: Record, delivery: Delivery, alarm: Alarm, later: Alarm, why: Postponed) -> ChangeSet:
    """Postpone an attempt to `later` without counting it.

    The receiver is not ready for it, or this process has no capacity.
    """
    changed = replace(delivery, alarm_key=later.key, postponed=why, sending=False)
    return ChangeSet(record.with_delivery(changed), alarms_in=(later,), wake_for=(later,)).removing(alarm)


def redeliver(record: Record, delivery: Delivery, now_ms: int) -> ChangeSet:
    """Start a new schedule for a delivery, with an attempt at once, whatever the outcome of the earlier schedule."""
    alarm = first_attempt_alarm(record, delivery.target, now_ms)
    if alarm.key == delivery.alarm_key:
        alarm = alarm.moved(alarm.due_ms)
    again = Delivery(
        delivery.target,
        follow(delivery.state, DeliveryState.PENDING),
        attempt=delivery.attempt,
        attempts_before=delivery.attempt,
        alarm_key=alarm.key,
        unknown=delivery.unknown,
    )
    return ChangeSet(
        record.with_delivery(again),
        alarms_in=(alarm,),
        alarms_out=(delivery.alarm_key,) if delivery.alarm_key else (),
        index_out=(delivery.failure_key,) if delivery.failure_key else (),
        deliver_now=(alarm,),
    )


def attempt_row(target: Target, number: int, facts: str) -> Row:
    """Return the row of the attempt with this number. `facts` is its entry, encoded by `storage.codec`."""
    return Row(keys.attempt_suffix(target, number), {"facts": facts})


def _indexed(record: Record, delivery: Delivery, now_ms: int) -> tuple[Delivery, tuple[str, ...]]:
    """Return the delivery, and the key of the index row that a recovery finds it by if it failed or is blocked.

    A receiver's 410 is final, so such a delivery gets no index row.
    """
    if delivery.state not in _RECOVERABLE:
        return delivery, ()
    key = keys.failure_key(ids.tag(record.caller), now_ms, record.id, delivery.target)
    return replace(delivery, failure_key=key), (key,)


def _key_of(alarm: Alarm | None) -> str:
    return alarm.key if alarm else ""
