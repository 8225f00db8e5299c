"""The transitions of deletion and purge. Pure: a record as read in, a change set out. Times are unix milliseconds."""

from dataclasses import replace

from shared.core.alarms import Alarm, Kind
from shared.core.changesets import ChangeSet
from shared.core.records import Record

UNSTORED_OPEN_MS = 86_400_000  # how long the deliveries of a `store: false` response are tried after its end


def delete(record: Record, now_ms: int) -> ChangeSet | None:
    """Hide the response from callers and purge it now. Returns None if it is hidden already."""
    if record.deleted:
        return None
    purge = Alarm(now_ms, Kind.PURGE, record.id, trace=record.trace)
    changed = replace(record, deleted=True, purge_key=purge.key)
    return ChangeSet(changed, alarms_in=(purge,), alarms_out=(record.purge_key,), wake_for=(purge,))


def hide(record: Record) -> ChangeSet | None:
    """Hide a response whose purge is already under way. Returns None if it is hidden already."""
    return None if record.deleted else ChangeSet(replace(record, deleted=True))


def expire(record: Record) -> ChangeSet | None:
    """Hide a response that its purge removes in several transactions, before the first of them.

    Otherwise callers would see it without some of its rows. Returns None if it is hidden already.
    """
    return None if record.deleted else ChangeSet(replace(record, deleted=True, expired=True))


def postpone_purge(record: Record, later: Alarm) -> ChangeSet:
    """Postpone the purge to `later`.

    A delivery is open, a start may still be under way, or there are more rows than one action removes.
    """
    return ChangeSet(replace(record, purge_key=later.key), alarms_in=(later,), wake_for=(later,))


def kept_until(record: Record, retention_ms: int) -> int:
    """Return when the response is removed even if a delivery is open. No attempt is made after that time.

    `retention_ms` is how long a response with `store: true` is kept after its end.
    """
    return record.ended_ms + (retention_ms if record.request.store else UNSTORED_OPEN_MS)
