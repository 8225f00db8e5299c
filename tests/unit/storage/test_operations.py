"""The operations of a transaction: which rows a change set creates, changes and deletes, and under which conditions."""

from dataclasses import replace
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.data.tables import UpdateMode
from hypothesis import given
from hypothesis import strategies as st

from shared.core import keys
from shared.core.alarms import Alarm, Kind
from shared.core.changesets import ChangeSet, IndexRow, Row
from shared.core.entries import entry_of
from shared.core.records import INLINE_BODY, Record, RequestInfo
from shared.core.states import Status
from shared.storage import codec, operations

ID = "resp_a123456789abcdef0123456789abcdef"
WRITE_ID = "w1"
NEW = Record(ID, "ann", created_ms=1, deadline_ms=2, request=RequestInfo(store=True, model="m"))
READ = replace(NEW, etag="e1", write_id="w0", status=Status.IN_PROGRESS)
POLL = Alarm(1_800_000_000_000, Kind.POLL, ID, token="up_1", born_ms=5, etag="e2")
PURGE = Alarm(1_800_000_000_001, Kind.PURGE, ID)
UNCHANGED = {"match_condition": MatchConditions.IfNotModified}


def of_record(change: ChangeSet) -> Any:
    """Return the operation on the record of a change set."""
    sent, _ = operations.of_change_set(change, WRITE_ID)
    return sent[0]


def row(key: str, **properties: Any) -> dict[str, Any]:
    """Return an entity in the shard of the response."""
    return {"PartitionKey": "a", "RowKey": key, **properties}


def read(entity: dict[str, Any], etag: str) -> Record:
    """Return the record in an entity."""
    return codec.decode_record(entity["facts"], body=b"", write_id=entity["write_id"], etag=etag)


# The record


def test_a_record_without_an_etag_is_inserted() -> None:
    """A new record has not been read from storage. If its row exists already, the transaction fails."""
    verb, entity = of_record(ChangeSet(replace(NEW, write_id="w0")))
    assert (verb, entity["PartitionKey"], entity["RowKey"]) == ("create", "a", f"resp|{ID}")
    assert read(entity, "") == replace(NEW, write_id=WRITE_ID)


def test_a_record_that_was_read_is_updated_as_it_was_read() -> None:
    """The ETag makes the update fail if the record has changed. A merge keeps the columns that are not written."""
    verb, entity, condition = of_record(ChangeSet(READ))
    assert (verb, entity["RowKey"]) == ("update", f"resp|{ID}")
    assert condition == {"mode": UpdateMode.MERGE, "etag": "e1", **UNCHANGED}
    assert read(entity, "e1") == replace(READ, write_id=WRITE_ID)


def test_a_record_has_columns_for_people() -> None:
    """Status and caller can be seen in the table without decoding `facts`."""
    _, entity, _ = of_record(ChangeSet(READ))
    assert (entity["status"], entity["caller"]) == ("in_progress", "ann")
    assert type(entity["status"]) is str


@pytest.mark.parametrize("record", [NEW, READ])
def test_a_body_is_written_only_if_the_change_set_says_so(record: Record) -> None:
    """An update without a body keeps the one in storage. An empty body is written like any other."""
    known = replace(record, body=b"known")
    assert "body" not in of_record(ChangeSet(known))[1]
    assert of_record(ChangeSet(known, writes_body=True))[1]["body"] == b"known"
    assert of_record(ChangeSet(record, writes_body=True))[1]["body"] == b""


@pytest.mark.parametrize(("size", "stored"), [(INLINE_BODY, INLINE_BODY), (INLINE_BODY + 1, 0)])
def test_a_body_that_does_not_fit_leaves_the_column_empty(size: int, stored: int) -> None:
    """A larger body is in rows beside the record. The column is emptied, so that no earlier body stays in it."""
    assert of_record(ChangeSet(replace(READ, body=bytes(size)), writes_body=True))[1]["body"] == bytes(stored)


# The rows of a change set


def test_a_change_set_is_the_record_and_its_rows() -> None:
    """Old alarms and index rows are deleted without a condition, because the record is the fence.

    New alarms, rows and index rows are created. Index rows that are there are changed.
    """
    change = ChangeSet(
        READ,
        alarms_in=(POLL, PURGE),
        alarms_out=("alarm|1", "alarm|2"),
        rows=(Row("body|00", {"p0": b"x"}), Row("event|0000000001|00", {"ends": True, "rows": 1})),
        index_in=(IndexRow("failed|1"), IndexRow("live|1", entry_of(READ))),
        index_changes=(IndexRow("live|2", entry_of(READ)),),
        index_out=("failed|2",),
    )
    (record, *sent), row_keys = operations.of_change_set(change, WRITE_ID)
    expected = [
        ("delete", row("alarm|1")),
        ("delete", row("alarm|2")),
        ("delete", row("failed|2")),
        ("create", row(POLL.key, facts=codec.encode_alarm(POLL), write_id=WRITE_ID)),
        ("create", row(PURGE.key, facts=codec.encode_alarm(PURGE), write_id=WRITE_ID)),
        ("create", row(f"resp|{ID}|body|00", p0=b"x")),
        ("create", row(f"resp|{ID}|event|0000000001|00", ends=True, rows=1)),
        ("create", row("failed|1")),
        ("create", row("live|1", facts=codec.encode_entry(entry_of(READ)))),
        ("update", row("live|2", facts=codec.encode_entry(entry_of(READ))), {"mode": UpdateMode.MERGE}),
    ]
    assert sorted(sent, key=repr) == sorted(expected, key=repr)
    assert row_keys == [one[1]["RowKey"] for one in (record, *sent)]


def test_messages_and_attributes_are_not_written() -> None:
    """Wake-ups, deliveries, offers and attributes are for after the commit."""
    bare = ChangeSet(READ)
    change = replace(bare, wake_for=(POLL,), offers_run=True, attributes={"error": "x"})
    assert operations.of_change_set(change, WRITE_ID) == operations.of_change_set(bare, WRITE_ID)


def test_an_alarm_in_a_row_reads_back() -> None:
    """The alarm has the same fields as before, without the ETag of an older row."""
    sent, row_keys = operations.of_change_set(ChangeSet(NEW, alarms_in=(POLL,)), WRITE_ID)
    assert codec.decode_alarm(row_keys[1], sent[1][1]["facts"], "e9") == replace(POLL, etag="e9")


changes = st.builds(
    ChangeSet,
    record=st.sampled_from([NEW, READ]),
    alarms_in=st.sampled_from([(), (POLL,), (POLL, PURGE)]),
    alarms_out=st.lists(st.integers(0, 9).map("alarm|{}".format), unique=True).map(tuple),
    rows=st.lists(st.integers(0, 9).map(lambda n: Row(f"body|{n:02d}", {"p0": b""})), max_size=3).map(tuple),
    index_in=st.lists(st.integers(0, 9).map("failed|{}".format).map(IndexRow), unique=True).map(tuple),
    index_changes=st.lists(st.integers(0, 9).map("live|{}".format).map(IndexRow), unique=True).map(tuple),
    index_out=st.lists(st.integers(10, 19).map("failed|{}".format), unique=True).map(tuple),
    writes_body=st.booleans(),
)


@given(changes)
def test_a_change_set_is_one_transaction_that_begins_with_the_record(change: ChangeSet) -> None:
    """A transaction has one partition. The row keys are in its order, because a failure names only a position."""
    sent, row_keys = operations.of_change_set(change, WRITE_ID)
    assert {one[1]["PartitionKey"] for one in sent} == {"a"}
    assert [one[1]["RowKey"] for one in sent] == row_keys
    assert row_keys[0] == keys.record_key(ID)
    assert len(sent) == 1 + sum(
        map(
            len,
            (
                *(change.alarms_in, change.alarms_out, change.rows),
                *(change.index_in, change.index_changes, change.index_out),
            ),
        )
    )


# Other transactions


def test_a_move_replaces_an_alarm_as_it_was_read() -> None:
    """If another process has changed the old alarm, the move fails, and the alarm is not moved twice."""
    later = POLL.moved(POLL.due_ms + 1_000, attempt=1)
    assert list(operations.of_move("a", POLL, later, WRITE_ID)) == [
        ("delete", row(POLL.key), {"etag": "e2", **UNCHANGED}),
        ("create", row(later.key, facts=codec.encode_alarm(later), write_id=WRITE_ID)),
    ]


def test_a_row_without_a_record_is_inserted_with_the_alarm_that_removes_it() -> None:
    """Both are in one transaction, so no such row stays for ever. Neither is recognised by a write id."""
    assert operations.of_row("a", "upstream|1", {"response": ID}, PURGE) == [
        ("create", row("upstream|1", response=ID)),
        ("create", row(PURGE.key, facts=codec.encode_alarm(PURGE), write_id="")),
    ]


def test_a_row_is_changed_as_it_was_read() -> None:
    """The properties are merged into the row if it still has the ETag."""
    assert operations.update("a", "upstream|1", {"response": ID}, "e3") == (
        "update",
        row("upstream|1", response=ID),
        {"mode": UpdateMode.MERGE, "etag": "e3", **UNCHANGED},
    )


def test_a_row_is_deleted_as_it_was_read_or_without_a_condition() -> None:
    """Without an ETag, the row is deleted with any content."""
    assert operations.delete("a", "k", "e4") == ("delete", row("k"), {"etag": "e4", **UNCHANGED})
    assert operations.delete("a", "k") == ("delete", row("k"))
