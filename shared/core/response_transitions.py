"""What each step writes, decided without touching the world: a record as read in, a Write out.

Invariants kept here: a terminal record is never ended again (states.py refuses), only `ended` writes a terminal status,
and that status, its output, its delivery alarms and its purge alarm are one Write.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from shared.core import blobs, event_log, ids, states
from shared.core.alarms import LEASE_MS, Alarm, Kind
from shared.core.backoff import POLL_MIN_MS, Dice, poll_delay
from shared.core.changesets import Row, Write
from shared.core.event_log import Event
from shared.core.records import INLINE_BODY, Delivery, Record, failure_key
from shared.core.states import Status, advance, event_type, finish

DELIVER_SOON_MS = 15_000
CLAIM_MS = 60_000
DAY_MS = 86_400_000
UNSTORED_MS = 600_000
UNSTORED_OPEN_MS = DAY_MS


@dataclass(frozen=True, slots=True)
class Ending:
    """How a response ends: its status, its final object packed, and whether the upstream must be told to stop.

    `told` are events that bring the readers of its stream to its output before the terminal one. `legacy` is packed.
    `said` is what a line about the end may say of the object.
    """

    status: Status
    body: bytes
    stop: bool = False
    upstream_id: str | None = None
    told: tuple[Event, ...] = ()
    legacy: bytes = b""
    said: Mapping[str, str | int] = field(default_factory=dict, compare=False)


def opened(record: Record, request: bytes, now_ms: int, told: tuple[Event, ...] = ()) -> Write:
    """Accept a response: record, request, a `start` alarm that is the lease of whoever starts it, its first events."""
    start = Alarm(
        now_ms + LEASE_MS[Kind.START],
        Kind.START,
        record.id,
        born_ms=record.created_ms,
        deadline_ms=record.deadline_ms,
        trace=record.trace,
    )
    changed = replace(record, next_seq=len(told), reserved=len(told))
    rows = (*request_rows(request), *event_log.rows(0, told))
    return Write(changed, alarms_in=(start,), rows=rows, writes_body=True)


def request_rows(packed: bytes) -> tuple[Row, ...]:
    """Return the rows that keep what was asked for."""
    return _rows("input", packed)


def started(record: Record, status: Status, token: str, upstream_id: str | None, poll: Alarm, body: bytes) -> Write:
    """Note the upstream's token and set the first poll."""
    changed = replace(record, status=advance(record.status, status), token=token, upstream_id=upstream_id)
    changed, rows = _with_body(changed, body)
    return Write(changed, alarms_in=(poll,), rows=rows, writes_body=True, wakes=(poll,))


def poll(record: Record, token: str, now_ms: int, dice: Dice, least_ms: int = POLL_MIN_MS) -> Alarm:
    """Return the alarm of the first poll, at once where the upstream has told of its end; the record was just read."""
    return Alarm(
        now_ms + (0 if record.woken else poll_delay(now_ms - record.created_ms, dice, least_ms)),
        Kind.POLL,
        record.id,
        token=token,
        born_ms=record.created_ms,
        deadline_ms=record.deadline_ms,
        read_ms=now_ms,
        trace=record.trace,
    )


def noted(record: Record, status: Status) -> Write:
    """Note how far unfinished work is."""
    return Write(replace(record, status=advance(record.status, status)))


def ended(record: Record, ending: Ending, now_ms: int, retention_ms: int) -> Write:
    """End the response: status, output, delivery alarms, purge alarm, and a `stop` alarm where one is due."""
    deliveries = tuple(_soon(record, target, now_ms) for target in record.targets(event_type(ending.status)))
    purge_ms = now_ms + (retention_ms if record.store else UNSTORED_MS)
    purge = Alarm(purge_ms, Kind.PURGE, record.id, trace=record.trace)
    changed = replace(
        record,
        status=finish(record.status, ending.status),
        epoch=record.epoch + ending.stop,
        ended_ms=now_ms,
        upstream_id=ending.upstream_id or record.upstream_id,
        deliveries=tuple(Delivery(alarm.target, alarm=alarm.key) for alarm in deliveries),
        purge=purge.key,
    )
    changed, body_rows = _with_body(changed, ending.body)
    changed, log_rows = _with_end(changed, ending, record.mode)
    stops = (stop(record, record.token, now_ms),) if ending.stop and record.token else ()
    legacy_rows = _rows("legacy", ending.legacy) if ending.legacy else ()
    return Write(
        replace(changed, legacy_rows=len(legacy_rows)),
        alarms_in=(*deliveries, purge, *stops),
        rows=(*body_rows, *log_rows, *legacy_rows),
        writes_body=True,
        wakes=stops,
        delivers=deliveries,
        said=ending.said,
    )


def stop(record: Record, token: str, now_ms: int) -> Alarm:
    """Return the alarm that tells the upstream to stop, due at once and kept for a day."""
    return Alarm(
        now_ms,
        Kind.STOP,
        record.id,
        ids.tag(token),
        token=token,
        born_ms=now_ms,
        deadline_ms=now_ms + DAY_MS,
        trace=record.trace,
    )


def learned(record: Record, token: str, upstream_id: str | None, now_ms: int) -> Write:
    """Note a token that was learned after the response had ended, or beside the one it has, and stop that work."""
    changed = record if record.token else replace(record, token=token, upstream_id=upstream_id)
    stops = (stop(record, token, now_ms),)
    return Write(changed, alarms_in=stops, wakes=stops)


def claimed(record: Record, delivery: Delivery, alarm: Alarm, claim: Alarm) -> Write:
    """Take a delivery for one attempt: count it, and put its alarm where only a death lets it ring."""
    mine = replace(delivery, attempt=delivery.attempt + 1, alarm=claim.key, sending=True, waits="")
    return Write(record.with_delivery(mine), alarms_in=(claim,), alarms_out=(alarm.key,))


def concluded(
    record: Record, delivery: Delivery, row: Row, alarms_out: tuple[str, ...], following: Alarm | None, now_ms: int
) -> Write:
    """Note an attempt: the delivery as it now is, the attempt's row, and the alarm of the next one, if there is one."""
    following_alarms = (following,) if following else ()
    delivery, failures = _indexed(record, replace(delivery, sending=False), now_ms)
    return Write(
        record.with_delivery(delivery),
        alarms_in=following_alarms,
        alarms_out=alarms_out,
        rows=(row,),
        failures_in=failures,
        wakes=following_alarms,
    )


def undeliverable(record: Record, delivery: Delivery, now_ms: int) -> Write:
    """Give a delivery up for a fault of our own."""
    failed = replace(delivery, state="failed", alarm="", sending=False, waits="")
    failed, failures = _indexed(record, failed, now_ms)
    return Write(record.with_delivery(failed), failures_in=failures)


def _indexed(record: Record, delivery: Delivery, now_ms: int) -> tuple[Delivery, tuple[str, ...]]:
    """Give a delivery that has failed the row by which a recovery finds it; the receiver's own 410 is not one."""
    if delivery.state not in ("failed", "blocked"):
        return delivery, ()
    key = failure_key(ids.tag(record.caller), now_ms, record.id, delivery.target)
    return replace(delivery, failed=key), (key,)


def held_back(record: Record, delivery: Delivery, alarm: Alarm, later: Alarm, why: str) -> Write:
    """Put an attempt off without counting it: its receiver, or this process, is not ready for it."""
    changed = record.with_delivery(replace(delivery, alarm=later.key, waits=why, sending=False))
    return Write(changed, alarms_in=(later,), alarms_out=(alarm.key,), wakes=(later,))


def redelivered(record: Record, delivery: Delivery, now_ms: int) -> Write:
    """Begin a new schedule for a delivery, at once: its one alarm moves, or comes back where it had ended."""
    alarm = _soon(record, delivery.target, now_ms)
    if alarm.key == delivery.alarm:
        alarm = alarm.moved(alarm.due_ms)
    again = Delivery(delivery.target, attempt=delivery.attempt, before=delivery.attempt, alarm=alarm.key)
    return Write(
        record.with_delivery(again),
        alarms_in=(alarm,),
        alarms_out=(delivery.alarm,) if delivery.alarm else (),
        failures_out=(delivery.failed,) if delivery.failed else (),
        delivers=(alarm,),
    )


def _soon(record: Record, target: str, now_ms: int) -> Alarm:
    """Return the alarm of an attempt that a message asks for at once: the message's safety net."""
    return Alarm(now_ms + DELIVER_SOON_MS, Kind.DELIVER, record.id, target, trace=record.trace)


def put_off(record: Record, later: Alarm) -> Write:
    """Put a purge off: a delivery is open, or there is more to remove than one ring may."""
    return Write(replace(record, purge=later.key), alarms_in=(later,), wakes=(later,))


def hidden(record: Record) -> Write:
    """Hide the response whose purge is already under way."""
    return Write(replace(record, deleted=True))


def kept_until(record: Record, retention_ms: int) -> int:
    """Return the time at which the response goes, open delivery or not; no attempt is made after it."""
    return record.ended_ms + (retention_ms if record.store else UNSTORED_OPEN_MS)


def deleted(record: Record, now_ms: int) -> Write:
    """Hide the response and bring its purge forward to now."""
    purge = Alarm(now_ms, Kind.PURGE, record.id, trace=record.trace)
    changed = replace(record, deleted=True, purge=purge.key)
    return Write(changed, alarms_in=(purge,), alarms_out=(record.purge,), wakes=(purge,))


def _with_end(record: Record, ending: Ending, mode: str) -> tuple[Record, tuple[Row, ...]]:
    """Give a stream its end: right after its last event by the holder of the run, else above any number ever sent."""
    if not record.stream:
        return record, ()
    by_holder = mode == "run" and not ending.stop and not ending.told
    first = record.next_seq if by_holder else max(record.next_seq, record.reserved)
    last = first + len(ending.told)
    changed = replace(
        record,
        next_seq=last + states.terminal_count(ending.status),
        restarted=first if ending.told else record.restarted,
    )
    return changed, (*event_log.rows(first, ending.told), event_log.end_row(last))


def _with_body(record: Record, body: bytes) -> tuple[Record, tuple[Row, ...]]:
    """Give the record its packed object; one that is final and does not fit into its row has rows of its own."""
    if len(body) <= INLINE_BODY or not record.status.is_terminal:
        return replace(record, body=body, body_rows=0), ()
    rows = _rows("body", body)
    return replace(record, body=body, body_rows=len(rows)), rows


def _rows(name: str, packed: bytes) -> tuple[Row, ...]:
    return tuple(Row(f"{name}|{n:02d}", properties) for n, properties in enumerate(blobs.to_rows(packed)))
