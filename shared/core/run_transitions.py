"""Who drives a run, decided without touching the world: a record as read in, a Write out.

A run has one holder, named by the record's epoch, who renews the lease that the `run` alarm is. To grant is to ask for
a new holder: the next epoch, not yet claimed, and a message on the `runs` queue. Whoever holds an older epoch has lost.
Where a Write sets an alarm, to take out the one that it replaces is for the caller of this: he holds it.
"""

from dataclasses import dataclass, replace
from enum import Enum

from shared.core import blobs, response_transitions
from shared.core.alarms import LEASE_MS, Alarm, Kind
from shared.core.changesets import Row, Write
from shared.core.records import Record
from shared.core.states import Status, advance, later

CLAIM_WITHIN_MS = 60_000
RESEND_MAX_MS = 900_000
RESERVED_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Place:
    """Where a log has come to: the next number, the upstream's next number, the number of the last restart."""

    next: int
    upstream_next: int
    restarted: int


class Whose(Enum):
    """Whose the work is that an upstream has just taken up."""

    OURS = "ours"
    OTHERS = "others"  # the response has another piece of work already
    LOST = "lost"  # the run is not ours any more


def lease(record: Record, now_ms: int) -> Alarm:
    """Return the alarm that rings when the holder of the record's epoch has stopped renewing it."""
    return _alarm(record, now_ms + LEASE_MS[Kind.RUN])


def opened(write: Write, now_ms: int, *, held: bool) -> Write:
    """Make a Write that accepts a response accept a run: held by whoever writes it, or granted to `runs`."""
    alarm = lease(write.record, now_ms) if held else _alarm(write.record, now_ms + CLAIM_WITHIN_MS)
    record = replace(write.record, mode="run", claimed=held, promised=not held, run=alarm.key)
    return replace(write, record=record, alarms_in=(alarm,), grants=not held)


def granted(record: Record, held: Alarm, now_ms: int, *, lapsed: bool = False) -> Write:
    """Ask for a new holder. A grant that nobody has claimed is only asked for again, at a growing distance."""
    tries = 0 if record.claimed else held.tries + 1
    changed = replace(
        record,
        epoch=record.epoch + record.claimed,
        claimed=False,
        lapses=record.lapses + (lapsed and record.claimed),
    )
    distance_ms = min(CLAIM_WITHIN_MS << min(tries, 10), RESEND_MAX_MS)
    return _set(changed, _alarm(changed, _before_deadline(record, now_ms + distance_ms, now_ms), tries), grants=True)


def released(record: Record, due_ms: int, now_ms: int) -> Write:
    """Give the run up until a later time, when a new holder is asked for."""
    changed = replace(record, epoch=record.epoch + 1, claimed=False)
    alarm = _alarm(changed, _before_deadline(record, due_ms, now_ms))
    return replace(_set(changed, alarm), wakes=(alarm,))


def claimed(record: Record, now_ms: int) -> Write:
    """Become the holder of the record's epoch."""
    changed = replace(record, claimed=True)
    return replace(_set(changed, lease(changed, now_ms)), alarms_out=(record.run,))


def continued(record: Record, epoch: int) -> tuple[Write | None, Whose]:
    """Note that work goes on which was under way: it counts as no start, and the token by which it is stopped stays."""
    if record.status.is_terminal or record.epoch != epoch:
        return None, Whose.LOST
    status = advance(record.status, later(record.status, Status.IN_PROGRESS))
    return (None if status is record.status else Write(replace(record, status=status))), Whose.OURS


def begun(
    record: Record, epoch: int, token: str | None, status: Status, now_ms: int, *, replays: bool, live: bool
) -> tuple[Write | None, Whose]:
    """Note that the upstream has taken the work up, and say whose it is.

    Where the upstream works in the background, a token that is learned too late, or beside another, is stopped: nobody
    else would. With a live reader, the numbers it may be sent are reserved.
    """
    known = record.token if replays else None
    is_lost = record.status.is_terminal or record.epoch != epoch
    if known and known != token:
        return _orphaned(record, token, now_ms), Whose.LOST if is_lost else Whose.OTHERS
    if is_lost:
        return None if known or not replays else _orphaned(record, token, now_ms), Whose.LOST
    changed = replace(
        record,
        status=advance(record.status, later(record.status, status)),
        token=token,
        upstream_id=token,
        starts=record.starts + (not known),
        reserved=max(record.reserved, record.next_seq + RESERVED_BLOCK if live else 0),
    )
    return (None if known else Write(changed)), Whose.OURS


def _orphaned(record: Record, token: str | None, now_ms: int) -> Write | None:
    """Note a token that was learned too late, for whoever holds the run now; stop what nobody will ever read."""
    if token is None:
        return None
    if record.token or record.status.is_terminal:
        return response_transitions.learned(record, token, token, now_ms)
    return Write(replace(record, token=token, upstream_id=token))


def logged(record: Record, rows: tuple[Row, ...], place: Place, status: Status, *, live: bool) -> Write:
    """Append to the event log, up to a place; keep at least half a block reserved for a live reader."""
    upto = place.next
    reserved = upto + RESERVED_BLOCK if live and record.reserved < upto + RESERVED_BLOCK // 2 else upto
    changed = replace(
        record,
        next_seq=upto,
        upstream_next=place.upstream_next,
        restarted=place.restarted,
        reserved=max(record.reserved, reserved),
        status=advance(record.status, later(record.status, status)),
        lapses=0,
    )
    return Write(changed, rows=rows)


def noted(record: Record, before: int, packed: bytes, token: str | None) -> Write | None:
    """Keep a fact of the work, the one after so many others; the token is what the work is stopped by from now on."""
    if record.memos > before:
        return None  # by an earlier try that was carried out after all
    cut = blobs.to_rows(packed)
    rows = tuple(Row(f"memo|{before:06d}|{n:02d}", properties) for n, properties in enumerate(cut))
    goes_on = record.goes_on or token is not None
    changed = replace(record, memos=before + 1, token=token or record.token, goes_on=goes_on, lapses=0)
    return Write(changed, rows=rows)


def polled(record: Record, poll: Alarm) -> Write:
    """Turn a run whose stream cannot be had any more into work that is polled."""
    return Write(
        replace(record, mode="poll", epoch=record.epoch + 1, claimed=False, run=""),
        alarms_in=(poll,),
        wakes=(poll,),
    )


def _set(record: Record, alarm: Alarm, *, grants: bool = False) -> Write:
    return Write(replace(record, run=alarm.key), alarms_in=(alarm,), grants=grants)


def _alarm(record: Record, due_ms: int, tries: int = 0) -> Alarm:
    return Alarm(
        due_ms,
        Kind.RUN,
        record.id,
        tries=tries,
        epoch=record.epoch,
        born_ms=record.created_ms,
        deadline_ms=record.deadline_ms,
        trace=record.trace,
    )


def _before_deadline(record: Record, due_ms: int, now_ms: int) -> int:
    """Return the time, at most the deadline: it is not slept through."""
    return min(due_ms, max(record.deadline_ms, now_ms + 1_000))
