"""The operations of a transaction, made from change sets and from moves of alarms."""

from collections.abc import Iterable, Mapping
from typing import Any

from azure.core import MatchConditions
from azure.data.tables import UpdateMode

from shared.core import keys
from shared.core.alarms import Alarm
from shared.core.changesets import ChangeSet, IndexRow, Row
from shared.core.ids import shard_of
from shared.core.records import INLINE_BODY, Record
from shared.storage import codec


def of_change_set(change: ChangeSet, write_id: str) -> tuple[list[Any], list[str]]:
    """Return the operations of a change set, the record's first, and the row key of each."""
    record, shard = change.record, shard_of(change.record.id)
    operations: list[Any] = [_record(record, write_id, change.writes_body)]
    operations += [delete(shard, key) for key in (*change.alarms_out, *change.index_out)]
    operations += [("create", _alarm(shard, alarm, write_id)) for alarm in change.alarms_in]
    operations += [("create", _child(shard, record.id, row)) for row in change.rows]
    operations += [("create", _index(shard, row)) for row in change.index_in]
    operations += [("update", _index(shard, row), {"mode": UpdateMode.MERGE}) for row in change.index_changes]
    return operations, [one[1]["RowKey"] for one in operations]


def of_move(shard: str, old: Alarm, new: Alarm, write_id: str) -> Iterable[Any]:
    """Yield the two operations that move an alarm: delete the old row, and insert the new one.

    If the old alarm has an ETag, the move fails if its row has changed.
    """
    yield delete(shard, old.key, old.etag)
    yield ("create", _alarm(shard, new, write_id))


def of_row(shard: str, key: str, properties: Mapping[str, str], alarm: Alarm | None = None) -> list[Any]:
    """Return the operations that insert a row, and the alarm that will remove it if there is one."""
    row = ("create", {**_entity(shard, key), **properties})
    return [row, ("create", _alarm(shard, alarm, ""))] if alarm else [row]


def create(shard: str, key: str, properties: Mapping[str, str]) -> Any:
    """Return the operation that inserts a row. It fails if the row exists."""
    return ("create", {**_entity(shard, key), **properties})


def update(shard: str, key: str, properties: Mapping[str, str], etag: str) -> Any:
    """Return the operation that changes properties of a row. It fails if the row no longer has this ETag."""
    return ("update", {**_entity(shard, key), **properties}, {"mode": UpdateMode.MERGE, **_if_match(etag)})


def delete(shard: str, key: str, etag: str = "") -> Any:
    """Return the operation that deletes a row. With an ETag, it fails if the row no longer has it."""
    entity = _entity(shard, key)
    return ("delete", entity, _if_match(etag)) if etag else ("delete", entity)


def _record(record: Record, write_id: str, writes_body: bool) -> Any:
    entity = _entity(shard_of(record.id), keys.record_key(record.id))
    # status and caller have separate columns for people who look into the table
    entity |= {
        "status": str(record.status),
        "caller": record.caller,
        "facts": codec.encode_record(record),
        "write_id": write_id,
    }
    if writes_body:
        entity["body"] = record.body if len(record.body) <= INLINE_BODY else b""
    if not record.etag:
        return ("create", entity)
    return ("update", entity, {"mode": UpdateMode.MERGE, **_if_match(record.etag)})


def _alarm(shard: str, alarm: Alarm, write_id: str) -> dict[str, Any]:
    return _entity(shard, alarm.key) | {"facts": codec.encode_alarm(alarm), "write_id": write_id}


def _child(shard: str, response_id: str, row: Row) -> dict[str, Any]:
    return {**_entity(shard, keys.child_key(response_id, row.suffix)), **row.properties}


def _index(shard: str, row: IndexRow) -> dict[str, Any]:
    return _entity(shard, row.key) | ({"facts": codec.encode_entry(row.entry)} if row.entry else {})


def _entity(shard: str, key: str) -> dict[str, Any]:
    return {"PartitionKey": shard, "RowKey": key}


def _if_match(etag: str) -> dict[str, Any]:
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}
