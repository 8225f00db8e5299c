"""The transitions of a run. Pure: a record as read in, a change set out. Times are unix milliseconds.

A run has at most one holder, which the record's epoch identifies. The holder renews the lease, which is the `run`
alarm. An offer asks for a new holder: it sets the next epoch, not claimed yet, and sends a message on the `runs` queue.
A process with an older epoch has lost the run. A state that cannot follow that of the run raises IllegalTransition.

If a change set replaces the `run` alarm, the caller must also remove the old one. Only the caller knows its key,
because renewals have moved the alarm. The alarm of an offer is never renewed, so `claim_run` removes it.
"""

from dataclasses import dataclass, replace
from enum import Enum

from shared.core import blobs, keys
from shared.core.alarms import LEASE_MS, Alarm, Kind
from shared.core.changesets import ChangeSet, Row
from shared.core.records import ExecutionMode, LogInfo, Record, UpstreamInfo, WaitInfo
from shared.core.states import RunState, Status, advance, follow, later
from shared.transitions.upstream_transitions import stop_orphan

CLAIM_WITHIN_MS = 60_000
REPLAYED_LEASE_MS = 15_000
RESEND_MAX_MS = 900_000
RESERVED_BLOCK = 256  # sequence numbers


@dataclass(frozen=True, slots=True)
class LogPosition:
    """The end of an event log: its next number, the upstream's next number, the replay point, and its bytes of text."""

    next_seq: int
    upstream_next: int
    valid_from: int
    size: int = 0


class Ownership(Enum):
    """Who owns the work that an upstream has just accepted."""

    OURS = "ours"
    OTHERS = "others"  # the response has other work already
    LOST = "lost"  # this process no longer holds the run


def lease_ms(*, replays: bool) -> int:
    """Return the duration of a lease. It is shorter if the upstream replays its events, as a takeover costs nothing."""
    return REPLAYED_LEASE_MS if replays else LEASE_MS[Kind.RUN]


def accept_run(change: ChangeSet, now_ms: int, held_ms: int = 0, *, in_place: bool = False) -> ChangeSet:
    """Turn a change set that accepts a response into one that accepts a run.

    With `held_ms`, the writer holds the run with a lease of this duration, and its first try is counted. Otherwise the
    run is offered. A background caller is then answered with the id.

    `in_place`: the writer tells events before any further write. So the first start is counted, and the first block of
    sequence numbers is reserved.
    """
    held = held_ms > 0
    alarm = _alarm(change.record, now_ms + (held_ms or CLAIM_WITHIN_MS))
    run = replace(change.record.run, mode=ExecutionMode.RUN, claimed=held, alarm_key=alarm.key)
    record = replace(
        change.record,
        run=run,
        acknowledged=change.record.acknowledged or (change.record.request.background and not held),
        upstream=replace(change.record.upstream, counted=int(held), starts=int(in_place), presumed=in_place),
        log=_reserved(change.record.log) if in_place and change.record.log.next_seq else change.record.log,
    )
    return replace(change, record=record, alarms_in=(alarm,), offers_run=not held)


def begin_run(record: Record, now_ms: int, held_ms: int = 0, *, in_place: bool = False) -> ChangeSet:
    """Begin a run that was accepted and has its permit now, as `accept_run`. It replaces the `start` alarm."""
    return accept_run(ChangeSet(record), now_ms, held_ms, in_place=in_place)


def accept_waiting_run(change: ChangeSet) -> ChangeSet:
    """Turn a change set that accepts a response into one of a run that needs a permit first. It has a `start` alarm."""
    return replace(change, record=replace(change.record, run=replace(change.record.run, mode=ExecutionMode.RUN)))


def wait_in_line(record: Record, wait: WaitInfo, alarm: Alarm, *, takes_back: bool) -> ChangeSet:
    """Give up a run that waits for its turn from now on. `alarm` is its `start` alarm, in place of the `run` alarm.

    With `takes_back`, the try that was counted last was not made, or has begun nothing. So it does not count.
    """
    follow(record.run.state, RunState.OFFERED)
    changed = _unpresumed(replace(record, upstream=_counting(record, -1))) if takes_back else record
    run = replace(record.run, epoch=record.run.epoch + 1, claimed=False, alarm_key="")
    return ChangeSet(replace(changed, run=run, wait=wait, acknowledged=True), alarms_in=(alarm,))


def offer_first(record: Record, now_ms: int) -> ChangeSet:
    """Offer a run that has waited for its turn, in place of its `start` alarm."""
    changed = replace(record, acknowledged=record.acknowledged or record.request.background, wait=WaitInfo())
    return replace(_with_alarm(changed, _alarm(changed, now_ms + CLAIM_WITHIN_MS)), offers_run=True)


def offer(record: Record, current: Alarm, now_ms: int, *, expired: bool = False, takes_back: bool = False) -> ChangeSet:
    """Offer the run to a new holder. If no process has claimed the last offer, repeat it.

    `current` is the run's alarm. The new alarm is due in 60 s, doubled for each repeat up to 15 minutes, but not after
    the deadline. `expired` means that the lease has run out. With `takes_back`, the try that was counted last was not
    made, so it does not count.
    """
    follow(record.run.state, RunState.OFFERED)
    claimed = record.run.claimed
    tries = 0 if claimed else current.tries + 1
    run = replace(
        record.run,
        epoch=record.run.epoch + claimed,
        claimed=False,
        expirations=record.run.expirations + (expired and claimed),
    )
    wait_ms = min(CLAIM_WITHIN_MS << min(tries, 10), RESEND_MAX_MS)
    upstream = replace(record, upstream=_counting(record, -takes_back))
    changed = replace(upstream if expired else _unpresumed(upstream), run=run)
    alarm = _alarm(changed, _until_deadline(record, now_ms + wait_ms, now_ms), tries)
    return replace(_with_alarm(changed, alarm), offers_run=True)


def release(record: Record, due_ms: int, now_ms: int, *, takes_back: bool = False) -> ChangeSet:
    """Give up the run. It is offered to a new holder at `due_ms`.

    With `takes_back`, the try that was counted last has begun nothing, so it does not count.
    """
    follow(record.run.state, RunState.OFFERED)
    changed = replace(
        _unpresumed(replace(record, upstream=_counting(record, -takes_back))),
        run=replace(record.run, epoch=record.run.epoch + 1, claimed=False),
    )
    alarm = _alarm(changed, _until_deadline(record, due_ms, now_ms))
    return replace(_with_alarm(changed, alarm), wake_for=(alarm,))


def claim_run(record: Record, now_ms: int, held_ms: int = LEASE_MS[Kind.RUN]) -> ChangeSet:
    """Claim the run of the record's epoch: the alarm of the offer is replaced with a lease of `held_ms`.

    If the work has never begun, the holder's first try is counted.
    """
    follow(record.run.state, RunState.HELD)
    upstream = _counting(record, not record.upstream.has_begun)
    changed = replace(record, run=replace(record.run, claimed=True), upstream=upstream)
    return replace(_with_alarm(changed, _alarm(changed, now_ms + held_ms)), alarms_out=(record.run.alarm_key,))


def count_try(record: Record) -> ChangeSet:
    """Count a try of the holder before it is made. If the process crashes in it, it counts."""
    return ChangeSet(replace(record, upstream=_counting(record, 1)))


def record_resumption(record: Record, epoch: int) -> tuple[ChangeSet | None, Ownership]:
    """Record that the holder of `epoch` resumes work under way, and return who owns the work.

    A resumption does not count as a start, and keeps the token that stops the work. Without a change, None is returned
    in place of the change set.
    """
    if record.status.is_terminal or record.run.epoch != epoch:
        return None, Ownership.LOST
    status = advance(record.status, later(record.status, Status.IN_PROGRESS))
    changed = replace(record, status=status, wait=WaitInfo())
    return (None if changed == record else ChangeSet(changed)), Ownership.OURS


def record_upstream_start(
    record: Record, epoch: int, token: str | None, status: Status, now_ms: int, *, is_background: bool, live: bool
) -> tuple[ChangeSet | None, Ownership]:
    """Record that the upstream has accepted the work, and return who owns it.

    The try has succeeded, so its count is taken back. A background upstream continues work that no response owns, so
    such work is stopped. For a live reader, the next 256 sequence numbers are reserved. Without a change, None is
    returned in place of the change set.
    """
    known = record.upstream.token if is_background else None
    is_lost = record.status.is_terminal or record.run.epoch != epoch
    if known and known != token:
        return _orphan(record, token, now_ms), Ownership.LOST if is_lost else Ownership.OTHERS
    if is_lost:
        return None if known or not is_background else _orphan(record, token, now_ms), Ownership.LOST
    is_counted = known or (record.upstream.presumed and epoch == 1)
    starts = record.upstream.starts + (not is_counted)
    changed = replace(
        record,
        status=advance(record.status, later(record.status, status)),
        upstream=replace(_counting(record, -1), token=token, id=token, starts=starts, presumed=False),
        wait=WaitInfo(),
        log=_reserved(record.log) if live else record.log,
    )
    return (None if known else ChangeSet(changed)), Ownership.OURS


def _reserved(log: LogInfo) -> LogInfo:
    """Return a log whose next block of sequence numbers is reserved."""
    return replace(log, high_water_mark=max(log.high_water_mark, log.next_seq + RESERVED_BLOCK))


def _orphan(record: Record, token: str | None, now_ms: int) -> ChangeSet | None:
    """Keep a token that was learned too late, for the present holder of the run.

    If no process will read the work, stop it.
    """
    if token is None:
        return None
    if record.upstream.token or record.status.is_terminal:
        return stop_orphan(record, token, token, now_ms)
    return ChangeSet(replace(record, upstream=replace(record.upstream, token=token, id=token)))


def append_events(
    record: Record, rows: tuple[Row, ...], position: LogPosition, status: Status, *, live: bool
) -> ChangeSet:
    """Append rows to the event log, whose end is then `position`.

    For a live reader, at least half a block of sequence numbers stays reserved.
    """
    next_seq, mark = position.next_seq, record.log.high_water_mark
    reserved = next_seq + RESERVED_BLOCK if live and mark < next_seq + RESERVED_BLOCK // 2 else next_seq
    log = replace(
        record.log,
        next_seq=next_seq,
        upstream_next=position.upstream_next,
        valid_from=position.valid_from,
        size=position.size,
        high_water_mark=max(mark, reserved),
    )
    status = advance(record.status, later(record.status, status))
    run = replace(record.run, expirations=0)
    return ChangeSet(replace(record, log=log, status=status, run=run, wait=WaitInfo()), rows=rows)


def save_checkpoint(record: Record, saved: int, packed: bytes, token: str | None) -> ChangeSet | None:
    """Save a packed checkpoint that follows `saved` earlier ones. Returns None if it is saved already.

    From then on the token, if one is given, stops the work.
    """
    if record.upstream.checkpoints > saved:
        return None  # an earlier try of this write succeeded, although its answer was lost
    rows = tuple(Row(keys.checkpoint_suffix(saved, n), part) for n, part in enumerate(blobs.split(packed)))
    upstream = replace(
        record.upstream,
        checkpoints=saved + 1,
        token=token or record.upstream.token,
        has_checkpoint=record.upstream.has_checkpoint or token is not None,
    )
    return ChangeSet(replace(record, upstream=upstream, run=replace(record.run, expirations=0)), rows=rows)


def switch_to_polling(record: Record, poll: Alarm) -> ChangeSet:
    """Turn a run whose stream cannot be resumed into work that is polled, first by the alarm `poll`."""
    follow(record.run.state, RunState.POLLED)
    run = replace(record.run, mode=ExecutionMode.POLL, epoch=record.run.epoch + 1, claimed=False, alarm_key="")
    return ChangeSet(replace(record, run=run, wait=WaitInfo()), alarms_in=(poll,), wake_for=(poll,))


def _unpresumed(record: Record) -> Record:
    """Return the record without a start that was counted and not made. Only its holder knows that."""
    upstream = record.upstream
    return replace(record, upstream=replace(upstream, starts=upstream.starts - upstream.presumed, presumed=False))


def _counting(record: Record, change: int) -> UpstreamInfo:
    return replace(record.upstream, counted=max(0, record.upstream.counted + change))


def _with_alarm(record: Record, alarm: Alarm) -> ChangeSet:
    return ChangeSet(replace(record, run=replace(record.run, alarm_key=alarm.key)), alarms_in=(alarm,))


def _alarm(record: Record, due_ms: int, tries: int = 0) -> Alarm:
    return Alarm(
        due_ms,
        Kind.RUN,
        record.id,
        tries=tries,
        epoch=record.run.epoch,
        born_ms=record.created_ms,
        deadline_ms=record.deadline_ms,
        trace=record.trace,
    )


def _until_deadline(record: Record, due_ms: int, now_ms: int) -> int:
    """Return `due_ms`, but no later than the deadline. If that has passed, return at most a second from now."""
    return min(due_ms, max(record.deadline_ms, now_ms + 1_000))
