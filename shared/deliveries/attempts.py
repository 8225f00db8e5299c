"""Delivery attempts: send the terminal event to its targets, at least once and always with the same id.

An attempt is claimed before it is made. The transaction that ends a response claims the first attempts, and the sweep
that moves an alarm claims the later ones. So only one process makes an attempt, and one that crashes leaves an alarm.
The number of an attempt is the last one in the record, plus the times that its alarm has fired since. No number is
given twice. A crash uses one, and the log shows it as `unknown`.

A send begins only while its alarm is at least 16 s away, so it is over before another process can make the next one.
"""

from contextlib import suppress
from dataclasses import dataclass, replace

from shared.core.alarms import Alarm
from shared.core.records import Delivery, Record, Target
from shared.deliveries import notes, retry_policy, sending
from shared.deliveries.notes import Attempt
from shared.deliveries.retry_policy import AttemptMade
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import rearm
from shared.senders.admission import CircuitOpen
from shared.senders.bulkhead import NoCapacity
from shared.transitions.retention_transitions import kept_until

SEND_MS = 16_000  # a send takes 15 s at most
BREAKER_SPREAD_MS = 10_000  # jitter, so that attempts that wait for a circuit breaker do not all return at once
BUSY_MS, BUSY_SPREAD_MS = 10_000, 5_000


@dataclass(frozen=True, slots=True)
class Claim:
    """An attempt that this process has claimed: its alarm, which is its lease, and its number in the schedule."""

    alarm: Alarm
    number: int


def put_off(ports: Ports, target: Target, caller: str, host: str, *, first: bool) -> int | None:
    """Return the time until which a delivery is put off, in unix milliseconds, or None if it can be sent to now.

    It is put off if the circuit breaker of its host is open in this process, or if so many wait for the host that it
    would not begin soon. `first`: the delivery has had no attempt before.
    """
    outlook = ports.senders[target].outlook(host, caller, first=first)
    if outlook.open_until_ms:
        return outlook.open_until_ms + int(BREAKER_SPREAD_MS * ports.random())
    return _later(ports) if outlook.is_long else None


def put_off_alarm(ports: Ports, alarm: Alarm) -> int | None:
    """Return the time to which an alarm is moved without an attempt, or None if the attempt is made now.

    An attempt waits, too, while this process is still noting the one before.
    """
    if (alarm.id, alarm.target) in ports.noting:
        return _later(ports)
    return put_off(ports, Target(alarm.target), alarm.caller, alarm.host, first=alarm.first)


def _later(ports: Ports) -> int:
    return ports.clock.now_ms() + BUSY_MS + int(BUSY_SPREAD_MS * ports.random())


async def on_deliver_alarm(ports: Ports, alarm: Alarm) -> None:
    """Make the attempt of an alarm that a sweep has moved, and so claimed. An alarm of another schedule is removed.

    An attempt that could not begin in time is put off, and is not counted. Otherwise an overload would look like
    attempts that crash their process.
    """
    record = await ports.store.read(alarm.id)
    delivery = record.delivery(alarm.target) if record else None
    if record is None or delivery is None or not _belongs(delivery, alarm):
        await ports.store.remove(alarm)
        return
    attempting = attempt(ports, Claim(alarm, delivery.number + alarm.attempt), record)
    del record, delivery
    if not await attempting:
        await rearm(ports, alarm, _later(ports), attempt=alarm.attempt - 1)


def _belongs(delivery: Delivery, alarm: Alarm) -> bool:
    return delivery.is_open and delivery.schedule == alarm.schedule


async def attempt(ports: Ports, claim: Claim, record: Record) -> bool:
    """Make an attempt that this process has claimed, and note its outcome.

    Returns False if it could not begin in time. Then nothing was sent or written. Whoever waits for a slot holds no
    body, so callers should not hold the record either.
    """
    response_id, target = record.id, Target(claim.alarm.target)
    delivery = record.delivery(target)
    if delivery is None:
        return True
    sender, address, caller = ports.senders[target], record.request.address(target), record.caller
    first = delivery.attempts_before + claim.number == 1
    known = record if sender.outlook(claim.alarm.host, caller, first=first).is_free else None
    del record, delivery
    made, is_in_time = None, False
    with suppress(CircuitOpen, NoCapacity):
        async with sender.admit(address, caller, first=first, patience_s=_patience_s(ports, claim)) as admission:
            admission.number = claim.number
            if known := known or await ports.store.read(response_id):
                # a large object is read before the clock is looked at
                known = replace(known, body=await ports.store.body(known))
            is_in_time = known is None or _patience_s(ports, claim) > 0
            if known and is_in_time:
                made = await _send(ports, known, claim)
                admission.answer = made.answer if made else None
    if made:
        with ports.noting.mark((response_id, target)):
            await notes.note(ports, made)
    return is_in_time


def _patience_s(ports: Ports, claim: Claim) -> float:
    """Return the seconds for which the send may still begin, by the wall clock."""
    return (claim.alarm.due_ms - SEND_MS - ports.clock.now_ms()) / 1000


async def _send(ports: Ports, record: Record, claim: Claim) -> Attempt | None:
    """Send the event and decide what follows. Return None if the delivery is over, or in another schedule."""
    delivery, at_ms = record.delivery(claim.alarm.target), ports.clock.now_ms()
    if delivery is None or not _belongs(delivery, claim.alarm):
        return None
    answer = await sending.send_event(ports, record, delivery, claim.number)
    decision = retry_policy.decide(
        AttemptMade(claim.number, answer, delivery.address_refused),
        now_ms=ports.clock.now_ms(),
        until_ms=kept_until(record, ports.config.limits.retention_ms),
        random=ports.random,
    )
    made = Attempt(record, delivery.target, claim.alarm, claim.number, at_ms, answer, decision)
    notes.report(made, ports.clock.now_ms())
    return made
