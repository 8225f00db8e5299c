"""The transitions of a response. Pure: a record as read in, a change set out. Times are unix milliseconds.

A status that cannot follow that of the record raises IllegalTransition. These invariants are kept here:

* A terminal record is never ended again, because `finish` raises.
* Only `end` writes a terminal status.
* That status, the output, the delivery alarms and the purge alarm are one change set.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from shared.core import blobs, event_log, keys
from shared.core.alarms import LEASE_MS, Alarm, Kind
from shared.core.backoff import POLL_MIN_MS, Random, poll_delay
from shared.core.changesets import ChangeSet, Row
from shared.core.event_log import Event
from shared.core.records import INLINE_BODY, ExecutionMode, Record, Target, Usage, WaitInfo
from shared.core.states import Status, advance, event_type, finish, terminal_count
from shared.transitions.delivery_transitions import AT_ONCE, FirstAttempt, begin, first_alarm
from shared.transitions.upstream_transitions import stop_alarm

DAY_MS = 86_400_000
UNSTORED_MS = 600_000  # how long a response with `store: false` is kept after its end

Firsts = Mapping[Target, FirstAttempt]
"""When the first attempt of each delivery is made. What is missing is made at once."""

NO_DELAY: Firsts = {}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a response ends: its status, its packed final object, and whether to stop the work upstream.

    `synthesized` are events that give the readers of the stream the output before the terminal event. `session` is an
    agent's packed session. `attributes` are for telemetry about the end.
    """

    status: Status
    body: bytes
    stop: bool = False
    upstream_id: str | None = None
    synthesized: tuple[Event, ...] = ()
    session: bytes = b""
    refusal: int = 0  # the status of the upstream's refusal, or 0
    error: str = ""  # the code of the error that it fails with
    usage: Usage = field(default_factory=Usage)
    attributes: Mapping[str, str | int] = field(default_factory=dict, compare=False)


def accept(
    record: Record,
    request: bytes,
    now_ms: int,
    events: tuple[Event, ...] = (),
    lease_ms: int = LEASE_MS[Kind.START],
) -> ChangeSet:
    """Accept a response: its record, its packed request, its first events, and a `start` alarm.

    The alarm is the lease of the process that starts the response, for `lease_ms`. It fires if that process crashes.
    The first try is counted in it.
    """
    start = Alarm(
        now_ms + lease_ms,
        Kind.START,
        record.id,
        counted=1,
        born_ms=record.created_ms,
        deadline_ms=record.deadline_ms,
        trace=record.trace,
    )
    changed = replace(record, log=replace(record.log, next_seq=len(events), high_water_mark=len(events)))
    rows = (*request_rows(request), *event_log.event_rows(0, events))
    return ChangeSet(changed, alarms_in=(start,), rows=rows, writes_body=True)


def accept_ended(
    record: Record, request: bytes, ending: Ending, now_ms: int, retention_ms: int, firsts: Firsts = NO_DELAY
) -> ChangeSet:
    """Accept a response that has ended already, because its request could not be carried out.

    The event about its end gives the reason.
    """
    ended = end(record, ending, now_ms, retention_ms, firsts)
    return replace(ended, rows=(*ended.rows, *request_rows(request)))


def request_rows(packed: bytes) -> tuple[Row, ...]:
    """Return the rows that hold a packed request."""
    return _rows(keys.INPUT, packed)


def record_start(
    record: Record,
    status: Status,
    token: str,
    upstream_id: str | None,
    poll: Alarm,
    body: bytes,
    *,
    is_watched: bool = False,
) -> ChangeSet:
    """Record that the upstream has accepted the work, and set the first poll.

    `token` is the upstream's continuation token. `body` is the packed response object, or empty. With `is_watched`,
    `poll` is a lease, for which no wake-up is sent.
    """
    changed = replace(
        record,
        status=advance(record.status, status),
        upstream=replace(record.upstream, token=token, id=upstream_id),
        wait=WaitInfo(),
    )
    changed, rows = _with_body(changed, body)
    return ChangeSet(changed, alarms_in=(poll,), rows=rows, writes_body=True, wake_for=() if is_watched else (poll,))


def poll_alarm(record: Record, token: str, now_ms: int, random: Random, least_ms: int = POLL_MIN_MS) -> Alarm:
    """Return the alarm of the first poll, for a record that was read at `now_ms`.

    It is due at once if the upstream has announced the end, and otherwise after `poll_delay`, of which `least_ms` is
    the minimum.
    """
    usual_ms = poll_delay(now_ms - record.created_ms, random, least_ms, left_ms=record.deadline_ms - now_ms)
    wait_ms = 0 if record.upstream.end_announced else usual_ms
    return Alarm(
        now_ms + wait_ms,
        Kind.POLL,
        record.id,
        token=token,
        upstream=record.upstream.name,
        include=record.request.include,
        born_ms=record.created_ms,
        deadline_ms=record.deadline_ms,
        read_ms=now_ms,
        trace=record.trace,
    )


def watch_lease(record: Record, token: str, now_ms: int, lease_ms: int) -> Alarm:
    """Return the `poll` alarm of a response that this process polls itself, due in `lease_ms` or at the deadline.

    It says that its record was never read, so whoever acts on it reads the record first.
    """
    due_ms = min(now_ms + lease_ms, record.deadline_ms)
    poll = poll_alarm(record, token, now_ms, lambda: 0.0)
    return replace(poll, due_ms=due_ms, read_ms=0)


def record_progress(record: Record, status: Status) -> ChangeSet:
    """Record a new unfinished status."""
    return ChangeSet(replace(record, status=advance(record.status, status)))


def acknowledge(record: Record) -> ChangeSet | None:
    """Record that a caller knows the id before the start is confirmed.

    Returns None if that is recorded already.
    """
    return None if record.acknowledged else ChangeSet(replace(record, acknowledged=True))


def end(record: Record, ending: Ending, now_ms: int, retention_ms: int, firsts: Firsts = NO_DELAY) -> ChangeSet:
    """End the response: its status, its output, its deliveries, its purge alarm, and a `stop` alarm if needed.

    `retention_ms` is how long a response with `store: true` is kept after its end. If the work must stop, the epoch
    advances, so that the holder of the run loses it. `firsts` says when each delivery begins. One that begins at once
    is claimed, and whoever commits this sends it.
    """
    targets = record.request.targets(event_type(ending.status))
    plans = {target: firsts.get(target, AT_ONCE) for target in targets}
    deliveries = {target: begin(record, target, first, now_ms) for target, first in plans.items()}
    alarms = {target: first_alarm(record, one, plans[target].host) for target, one in deliveries.items()}
    later = tuple(alarms[target] for target, one in deliveries.items() if not one.sending)
    purge_ms = now_ms + (retention_ms if record.request.store else UNSTORED_MS)
    purge = Alarm(purge_ms, Kind.PURGE, record.id, trace=record.trace)
    session_rows = _rows(keys.SESSION, ending.session) if ending.session else ()
    changed = replace(
        record,
        status=finish(record.status, ending.status),
        run=replace(record.run, epoch=record.run.epoch + ending.stop),
        ended_ms=now_ms,
        upstream=replace(
            record.upstream, id=ending.upstream_id or record.upstream.id, refusal=_refusal(record, ending)
        ),
        deliveries=tuple(deliveries.values()),
        purge_key=purge.key,
        wait=WaitInfo(),
        error=ending.error,
        usage=ending.usage,
        session_rows=len(session_rows),
    )
    changed, body_rows = _with_body(changed, ending.body)
    changed, log_rows = _with_end_of_stream(changed, ending)
    token = record.upstream.token
    stops = (stop_alarm(record, token, now_ms),) if ending.stop and token else ()
    return ChangeSet(
        changed,
        alarms_in=(*alarms.values(), purge, *stops),
        rows=(*body_rows, *log_rows, *session_rows),
        writes_body=True,
        wake_for=(*stops, *later),
        attributes=ending.attributes,
    )


def _refusal(record: Record, ending: Ending) -> int:
    """Return the status of the refusal, for the POST that still waits, or 0 if a caller may know the response."""
    is_known = record.acknowledged or record.request.background or record.upstream.has_begun
    return 0 if is_known else ending.refusal


def _with_end_of_stream(record: Record, ending: Ending) -> tuple[Record, tuple[Row, ...]]:
    """Return the record and the rows that end its stream.

    The holder of the run ends the stream right after its last event. Another process ends it above every number that a
    reader may have seen.
    """
    if not record.request.stream:
        return record, ()
    log = record.log
    by_holder = record.run.mode is ExecutionMode.RUN and not ending.stop and not ending.synthesized
    first = log.next_seq if by_holder else max(log.next_seq, log.high_water_mark)
    last = first + len(ending.synthesized)
    changed = replace(
        log,
        next_seq=last + terminal_count(ending.status),
        valid_from=first if ending.synthesized else log.valid_from,
    )
    rows = (*event_log.event_rows(first, ending.synthesized), event_log.end_row(last))
    return replace(record, log=changed), rows


def _with_body(record: Record, body: bytes) -> tuple[Record, tuple[Row, ...]]:
    """Return the record with its packed object, and the rows of the object if it has any.

    A final object that does not fit into the record's row gets separate rows.
    """
    if len(body) <= INLINE_BODY or not record.status.is_terminal:
        return replace(record, body=body, body_rows=0), ()
    rows = _rows(keys.BODY, body)
    return replace(record, body=body, body_rows=len(rows)), rows


def _rows(name: str, packed: bytes) -> tuple[Row, ...]:
    return tuple(Row(keys.part_suffix(name, n), properties) for n, properties in enumerate(blobs.split(packed)))
