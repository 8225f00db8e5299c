"""What a change set changes in the lists. Pure.

Every transaction about a response goes through `listed`, so the lists say what its record says. A row is removed or
changed only if the record says that it is there: a response of an older release has none until its next change.
"""

from dataclasses import replace

from shared.core import ids, keys
from shared.core.changesets import ChangeSet, IndexRow
from shared.core.entries import Listing, delivery_entry, entry_of
from shared.core.records import Delivery, Record


def listed(before: Record | None, change: ChangeSet) -> ChangeSet:
    """Return the change set with what it changes in the lists.

    `before` is the record that it was decided from, or None for a new response.
    """
    for delivery in change.record.deliveries:
        if delivery.is_in_trouble is not delivery.listed:
            change = _with_delivery(change, delivery)
    return _with_entry(before, change)


def _with_entry(before: Record | None, change: ChangeSet) -> ChangeSet:
    after = change.record
    entry, wanted = entry_of(after), Listing.ENDED if after.status.is_terminal else Listing.LIVE
    if after.listed == wanted:
        is_same = before is not None and entry_of(before) == entry
        changes = () if is_same else (IndexRow(_entry_key(after), entry),)
        return replace(change, index_changes=(*change.index_changes, *changes))
    if after.deleted and not after.listed:
        return change
    moved = replace(after, listed=wanted)
    return replace(
        change,
        record=moved,
        index_in=(*change.index_in, IndexRow(_entry_key(moved), entry)),
        index_out=(*change.index_out, *((_entry_key(after),) if after.listed else ())),
    )


def _with_delivery(change: ChangeSet, delivery: Delivery) -> ChangeSet:
    """Return the change set with the row of a delivery that is in trouble now, or no longer."""
    record, key = change.record, _delivery_key(change.record, delivery)
    changed = replace(change, record=record.with_delivery(replace(delivery, listed=delivery.is_in_trouble)))
    if delivery.listed:
        return replace(changed, index_out=(*change.index_out, key))
    row = IndexRow(key, delivery_entry(record, delivery, record.ended_ms))
    return replace(changed, index_in=(*change.index_in, row))


def index_keys(record: Record) -> tuple[str, ...]:
    """Return the row keys of everything that lists and recoveries read about a record."""
    failed = [one.failure_key for one in record.deliveries if one.failure_key]
    tried = [_delivery_key(record, one) for one in record.deliveries if one.listed]
    return (*failed, *tried, *((_entry_key(record),) if record.listed else ()))


def _entry_key(record: Record) -> str:
    return keys.entry_key(record.listed, ids.tag(record.caller), record.created_ms, record.id)


def _delivery_key(record: Record, delivery: Delivery) -> str:
    return keys.delivery_key(Listing.TRIED, ids.tag(record.caller), record.ended_ms, record.id, delivery.target)
