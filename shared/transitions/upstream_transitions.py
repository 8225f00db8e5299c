"""The transitions of a response's upstream. Pure.

The response moves to another one, waits for it, learns that it has announced the end, or has its work stopped. Times
are unix milliseconds.
"""

from dataclasses import replace

from shared.core import ids
from shared.core.alarms import Alarm, Kind
from shared.core.changesets import ChangeSet
from shared.core.records import Record, WaitInfo

DAY_MS = 86_400_000


def reroute(record: Record, name: str, model: str, alarm: Alarm | None = None) -> ChangeSet | None:
    """Give a response that has not begun another upstream. Returns None if it has begun, may have, or has ended.

    `model` is the new upstream's own name of the model, or empty. `alarm` replaces the one that the caller holds.
    """
    upstream = record.upstream
    if record.status.is_terminal or upstream.bound or upstream.has_begun:
        return None
    return ChangeSet(at_upstream(record, name, model), alarms_in=(alarm,) if alarm else ())


def at_upstream(record: Record, name: str, model: str) -> Record:
    """Return the record of a response at another upstream. `model` is as in `reroute`."""
    return replace(record, upstream=replace(record.upstream, name=name, model=model))


def waiting(record: Record, wait: WaitInfo, *, may_have_begun: bool = False) -> Record:
    """Return the record of a response that waits after a failed try. One that has ended waits for nothing.

    `may_have_begun`: the try may have begun work, so the response is tried at no other upstream.
    """
    upstream = record.upstream
    if may_have_begun and not (upstream.bound or upstream.has_begun):
        upstream = replace(upstream, bound=True)
    return replace(record, wait=record.wait if record.status.is_terminal else wait, upstream=upstream)


def put_off(record: Record, wait: WaitInfo, alarm: Alarm, *, may_have_begun: bool = False) -> ChangeSet:
    """Set the alarm of the next try, and record what the response waits for, as `waiting`."""
    changed = waiting(record, wait, may_have_begun=may_have_begun)
    return ChangeSet(changed, alarms_in=(alarm,), wake_for=(alarm,))


def wait_for_turn(record: Record, wait: WaitInfo, alarm: Alarm) -> ChangeSet:
    """Let a response wait for its turn, which starts it. `alarm` is its `start` alarm at its deadline.

    Its caller knows the id from then on, so its rows must stay.
    """
    return ChangeSet(replace(record, wait=wait, acknowledged=True), alarms_in=(alarm,))


def wait_for(record: Record, wait: WaitInfo, *, may_have_begun: bool = False) -> ChangeSet | None:
    """Record what the response waits for, as `waiting`. Returns None if that is recorded already."""
    changed = waiting(record, wait, may_have_begun=may_have_begun)
    return None if changed == record else ChangeSet(changed)


def announce_end(record: Record) -> ChangeSet | None:
    """Record that the upstream announced the end before its token was known.

    Returns None if that changes nothing.
    """
    if record.upstream.token or record.upstream.end_announced or record.status.is_terminal:
        return None
    return ChangeSet(replace(record, upstream=replace(record.upstream, end_announced=True)))


def stop_alarm(record: Record, token: str, now_ms: int) -> Alarm:
    """Return the alarm that tells the upstream to stop. It is due at once, and retried for a day."""
    return Alarm(
        now_ms,
        Kind.STOP,
        record.id,
        ids.tag(token),
        token=token,
        upstream=record.upstream.name,
        born_ms=now_ms,
        deadline_ms=now_ms + DAY_MS,
        trace=record.trace,
    )


def stop_orphan(record: Record, token: str, upstream_id: str | None, now_ms: int) -> ChangeSet:
    """Stop work that belongs to no response.

    The response ended before the token of the work was known, or it has other work.
    """
    upstream = record.upstream if record.upstream.token else replace(record.upstream, token=token, id=upstream_id)
    stops = (stop_alarm(record, token, now_ms),)
    return ChangeSet(replace(record, upstream=upstream), alarms_in=stops, wake_for=stops)
