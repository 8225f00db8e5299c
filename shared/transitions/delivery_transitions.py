"""The transitions of a delivery. Pure: a record and one of its deliveries in, a change set out.

The change set that ends a response, or that begins a redelivery, also claims the first attempt of each delivery that
can be sent to now. Whoever commits it sends at once. Its alarm is the lease of that attempt. Later attempts are claimed
by the sweep that moves the alarm, and nothing is written for that.

A transition to a state that cannot follow raises IllegalTransition. Times are unix milliseconds.
"""

from dataclasses import dataclass, replace

from shared.core import ids, keys
from shared.core.alarms import LEASE_MS, Alarm, Kind, alarm_of
from shared.core.changesets import ChangeSet, IndexRow, Row
from shared.core.entries import Listing, delivery_entry
from shared.core.records import Delivery, Record, Target
from shared.core.states import DeliveryState, follow

_RECOVERABLE = frozenset({DeliveryState.FAILED, DeliveryState.BLOCKED})


@dataclass(frozen=True, slots=True)
class FirstAttempt:
    """When the first attempt of a schedule is made: at once by the process that commits it, or at `later_ms`."""

    host: str = ""  # where it goes, as in `Alarm.host`
    later_ms: int | None = None


AT_ONCE = FirstAttempt()


def begin(
    record: Record, target: Target, first: FirstAttempt, now_ms: int, previous: Delivery | None = None
) -> Delivery:
    """Return a delivery in its first schedule, or in the one after that of `previous`."""
    before = previous.attempt if previous else 0
    is_claimed = first.later_ms is None
    due_ms = now_ms + LEASE_MS[Kind.DELIVER] if first.later_ms is None else first.later_ms
    key = keys.alarm_key(due_ms, Kind.DELIVER, record.id, target)
    if previous and key == previous.alarm_key:
        key = keys.alarm_key(due_ms + 1, Kind.DELIVER, record.id, target)
    return Delivery(
        target,
        schedule=previous.schedule + 1 if previous else 1,
        attempt=before + is_claimed,
        attempts_before=before,
        alarm_key=key,
        sending=is_claimed,
        host=first.host,
        listed=previous.listed if previous else False,
        unknown=previous.unknown if previous else {},
    )


def first_alarm(record: Record, delivery: Delivery, host: str) -> Alarm:
    """Return the alarm of a delivery that has just begun. `host` is as in `Alarm.host`."""
    return replace(
        alarm_of(delivery.alarm_key),
        schedule=delivery.schedule,
        caller=record.caller,
        host=host,
        first=delivery.attempt == 0,
        trace=record.trace,
    )


def redeliver(record: Record, delivery: Delivery, first: FirstAttempt, now_ms: int) -> ChangeSet | None:
    """Begin a new schedule, whatever the outcome of the one before. The alarm of that one goes when it fires.

    Returns None if the first attempt of the delivery may be under way.
    """
    if delivery.sending and now_ms < alarm_of(delivery.alarm_key).due_ms:
        return None
    follow(delivery.state, DeliveryState.PENDING)
    again = begin(record, delivery.target, first, now_ms, delivery)
    alarm = first_alarm(record, again, first.host)
    return ChangeSet(
        record.with_delivery(again),
        alarms_in=(alarm,),
        index_out=(delivery.failure_key,) if delivery.failure_key else (),
        wake_for=() if again.sending else (alarm,),
    )


def note_attempt(
    record: Record,
    delivery: Delivery,
    state: DeliveryState,
    row: Row,
    *,
    owned: Alarm | None,
    following: Alarm | None,
    now_ms: int,
) -> ChangeSet:
    """Note the outcome of an attempt: the delivery's state, the attempt's row, and the alarm of the next attempt.

    `owned` is the alarm of this attempt, if this process still owns it. `following` is the alarm of the next attempt,
    if one follows.
    """
    next_alarms = (following,) if following else ()
    key = following.key if following else ""
    changed = replace(delivery, state=follow(delivery.state, state), sending=False, alarm_key=key)
    changed, index = _indexed(record, changed, now_ms)
    return ChangeSet(
        record.with_delivery(changed), alarms_in=next_alarms, rows=(row,), index_in=index, wake_for=next_alarms
    ).removing(owned)


def fail_delivery(record: Record, delivery: Delivery, now_ms: int) -> ChangeSet:
    """Give up a delivery because of a fault of this service."""
    failed = replace(delivery, state=follow(delivery.state, DeliveryState.FAILED), alarm_key="", sending=False)
    failed, index = _indexed(record, failed, now_ms)
    return ChangeSet(record.with_delivery(failed), index_in=index)


def attempt_row(target: Target, schedule: int, number: int, facts: str) -> Row:
    """Return the row of an attempt. `facts` is its entry, encoded by `storage.codec`."""
    return Row(keys.attempt_suffix(target, schedule, number), {"facts": facts})


def _indexed(record: Record, delivery: Delivery, now_ms: int) -> tuple[Delivery, tuple[IndexRow, ...]]:
    """Return the delivery, and the index row that a recovery finds it by if it failed or is blocked.

    A receiver's 410 is final, so such a delivery gets no index row.
    """
    if delivery.state not in _RECOVERABLE:
        return delivery, ()
    key = keys.delivery_key(Listing.FAILED, ids.tag(record.caller), now_ms, record.id, delivery.target)
    return replace(delivery, failure_key=key), (IndexRow(key, delivery_entry(record, delivery, now_ms)),)
