"""What the table is sent: writes and moves as the operations of a transaction, each with its row."""

from collections.abc import Iterable
from typing import Any

from azure.core import MatchConditions
from azure.data.tables import UpdateMode

from shared.core.alarms import Alarm
from shared.core.changesets import Row, Write
from shared.core.ids import shard_of
from shared.core.records import INLINE_BODY, Record, child_key, record_key


def of_write(write: Write, write_id: str) -> tuple[list[Any], list[str]]:
    """Return the operations of a write, the record first, and the row key of each."""
    record, shard = write.record, shard_of(write.record.id)
    operations: list[Any] = [_record(record, write_id, write.writes_body)]
    operations += [delete(shard, key) for key in (*write.alarms_out, *write.failures_out)]
    operations += [("create", _alarm(shard, alarm, write_id)) for alarm in write.alarms_in]
    operations += [("create", _child(shard, record.id, row)) for row in write.rows]
    operations += [("create", _entity(shard, key)) for key in write.failures_in]
    return operations, [one[1]["RowKey"] for one in operations]


def of_move(shard: str, old: Alarm, new: Alarm, write_id: str) -> Iterable[Any]:
    """Give the two operations that move an alarm: the old one out as it was read, the new one in."""
    yield delete(shard, old.key, old.etag)
    yield ("create", _alarm(shard, new, write_id))


def of_row(shard: str, key: str, properties: dict[str, str], alarm: Alarm) -> list[Any]:
    """Return the operations that insert a row, and the alarm that will remove it."""
    return [("create", _entity(shard, key) | properties), ("create", _alarm(shard, alarm, ""))]


def update(shard: str, key: str, properties: dict[str, str], etag: str) -> Any:
    """Return the change of a row as it was read."""
    return ("update", _entity(shard, key) | properties, {"mode": UpdateMode.MERGE, **_if_match(etag)})


def delete(shard: str, key: str, etag: str = "") -> Any:
    """Return the deletion of a row: as it was read, or as it is if no ETag is given."""
    entity = _entity(shard, key)
    return ("delete", entity, _if_match(etag)) if etag else ("delete", entity)


def _record(record: Record, write_id: str, writes_body: bool) -> Any:
    entity = _entity(shard_of(record.id), record_key(record.id))
    # status and caller stand apart for the eyes of whoever looks into the table
    entity |= {
        "status": str(record.status),
        "caller": record.caller,
        "facts": record.facts(),
        "write_id": write_id,
    }
    if writes_body:
        entity["body"] = record.body if len(record.body) <= INLINE_BODY else b""
    if not record.etag:
        return ("create", entity)
    return ("update", entity, {"mode": UpdateMode.MERGE, **_if_match(record.etag)})


def _alarm(shard: str, alarm: Alarm, write_id: str) -> dict[str, Any]:
    return _entity(shard, alarm.key) | {"facts": alarm.facts(), "write_id": write_id}


def _child(shard: str, response_id: str, row: Row) -> dict[str, Any]:
    return _entity(shard, child_key(response_id, row.suffix)) | row.properties


def _entity(shard: str, key: str) -> dict[str, Any]:
    return {"PartitionKey": shard, "RowKey": key}


def _if_match(etag: str) -> dict[str, Any]:
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}
