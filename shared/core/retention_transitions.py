"""What deleting and purging write. Pure: a record as read in, a change set out."""

from dataclasses import replace

from shared.core.alarms import Alarm, Kind
from shared.core.changesets import ChangeSet
from shared.core.records import Record

UNSTORED_OPEN_MS = 86_400_000  # how long a delivery of a response with `store: false` is tried after its end


def delete(record: Record, now_ms: int) -> ChangeSet | None:
    """Hide the response from callers and purge it now; None if it is hidden already."""
    if record.deleted:
        return None
    purge = Alarm(now_ms, Kind.PURGE, record.id, trace=record.trace)
    changed = replace(record, deleted=True, purge_key=purge.key)
    return ChangeSet(changed, alarms_in=(purge,), alarms_out=(record.purge_key,), wake_for=(purge,))


def hide(record: Record) -> ChangeSet | None:
    """Hide a response whose purge is already under way; None if it is hidden already."""
    return None if record.deleted else ChangeSet(replace(record, deleted=True))


def postpone_purge(record: Record, later: Alarm) -> ChangeSet:
    """Postpone the purge: a delivery is open, or one ring may not remove so many rows."""
    return ChangeSet(replace(record, purge_key=later.key), alarms_in=(later,), wake_for=(later,))


def kept_until(record: Record, retention_ms: int) -> int:
    """Return when the response is removed, in unix ms, even if a delivery is open. No attempt is made after it."""
    return record.ended_ms + (retention_ms if record.request.store else UNSTORED_OPEN_MS)
