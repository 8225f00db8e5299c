"""What a change set changes in the lists. Pure.

Every transaction about a response goes through `listed`, so its entry is what its record is. The entry is removed or
changed only if the record says that it is there: a response of an older release has none until its next change.
"""

from dataclasses import replace

from shared.core import ids, keys
from shared.core.changesets import ChangeSet, IndexRow
from shared.core.entries import Listing, entry_of
from shared.core.records import Record


def listed(before: Record | None, change: ChangeSet) -> ChangeSet:
    """Return the change set with what it changes in the lists.

    `before` is the record that it was decided from, or None for a new response.
    """
    after = change.record
    entry, wanted = entry_of(after), Listing.ENDED if after.status.is_terminal else Listing.LIVE
    if after.listed == wanted:
        is_same = before is not None and entry_of(before) == entry
        changes = () if is_same else (IndexRow(entry_key(after), entry),)
        return replace(change, index_changes=(*change.index_changes, *changes))
    if after.deleted and not after.listed:
        return change
    moved = replace(after, listed=wanted)
    return replace(
        change,
        record=moved,
        index_in=(*change.index_in, IndexRow(entry_key(moved), entry)),
        index_out=(*change.index_out, *((entry_key(after),) if after.listed else ())),
    )


def index_keys(record: Record) -> tuple[str, ...]:
    """Return the row keys of everything that lists and recoveries read about a record."""
    failures = tuple(one.failure_key for one in record.deliveries if one.failure_key)
    return (*failures, entry_key(record)) if record.listed else failures


def entry_key(record: Record) -> str:
    """Return the row key of the entry of a record that has one."""
    return keys.entry_key(record.listed, ids.tag(record.caller), record.created_ms, record.id)
