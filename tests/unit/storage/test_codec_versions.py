"""The codec for rows: it reads rows of other versions, and names the wrong column of a damaged row."""

import json
from dataclasses import replace
from typing import Any

import orjson
import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.errors import UnreadableRow
from shared.core.records import Delivery, Record, Target
from shared.storage.codec import ROW_VERSION, decode_alarm, decode_record, encode_alarm, encode_record

ID = "resp_0123456789abcdef0123456789abcdef"
FRESH = Record(ID, "ann", created_ms=1_800_000_000_000, deadline_ms=1_800_000_060_000)


def read(facts: str) -> Record:
    """Return the record that is encoded in this text."""
    return decode_record(facts, body=b"", write_id="", etag="")


# Other versions


def newer(record: Record) -> str:
    """Return a record as a newer version may encode it, with additional members at every depth."""
    said: dict[str, Any] = orjson.loads(encode_record(record))
    said |= {"row_version": ROW_VERSION + 1, "colour": "red", "parts": {"a": [1, {"b": None}]}}
    for delivery in said.get("deliveries", []):
        delivery |= {"colour": "blue", "parts": {"c": 2}}
    return json.dumps(said)


def test_a_row_of_a_newer_version_is_read() -> None:
    """Unknown members are ignored, in a record and in its deliveries."""
    record = replace(FRESH, deliveries=(Delivery(Target.CALLBACK, attempt=3), Delivery(Target.REPLY_QUEUE)))
    there = read(newer(record))
    assert [(one.target, one.attempt) for one in there.deliveries] == [(Target.CALLBACK, 3), (Target.REPLY_QUEUE, 0)]
    assert replace(there, unknown={}, deliveries=record.deliveries) == record


def test_unknown_members_of_a_newer_version_are_kept() -> None:
    """An older version that changes a record keeps the members that it does not know."""
    record = replace(FRESH, deliveries=(Delivery(Target.CALLBACK),))
    there = read(newer(record))
    changed = replace(there, deleted=True).with_delivery(replace(there.deliveries[0], attempt=1))
    said = orjson.loads(encode_record(changed))
    expected = orjson.loads(newer(replace(record, deleted=True)))
    expected["deliveries"][0]["attempt"] = 1
    assert said == expected


def test_the_key_of_an_alarm_takes_precedence() -> None:
    """Time, kind and id are those of the key, even if the row of another version has members with these names."""
    key = Alarm(1, Kind.POLL, ID).key
    there = decode_alarm(key, '{"attempt":2,"due_ms":9,"id":"x"}', "e")
    assert replace(there, unknown={}) == Alarm(1, Kind.POLL, ID, attempt=2, etag="e")


def test_an_alarm_of_a_newer_version_keeps_its_members_when_it_moves() -> None:
    """A sweep of an older version moves an alarm before it acts on it, and keeps unknown members."""
    alarm = Alarm(1, Kind.POLL, ID, token="t")
    there = decode_alarm(alarm.key, '{"row_version":3,"token":"t","colour":{"a":1}}', "e")
    assert (there.token, there.etag) == ("t", "e")
    moved = there.moved(5, attempt=1)
    assert orjson.loads(encode_alarm(moved)) == {"row_version": 3, "token": "t", "attempt": 1, "colour": {"a": 1}}


def test_a_row_has_the_version_of_its_format() -> None:
    """A newer version number is kept, because its writer may rely on it. An older or a damaged one becomes ours."""
    assert orjson.loads(encode_record(FRESH))["row_version"] == ROW_VERSION
    for there, written in ((1, ROW_VERSION), (ROW_VERSION + 5, ROW_VERSION + 5), ("x", ROW_VERSION)):
        facts = json.dumps(orjson.loads(encode_record(FRESH)) | {"row_version": there})
        assert orjson.loads(encode_record(read(facts)))["row_version"] == written


# Damaged rows


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ("", "not a JSON object"),
        ("{", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("null", "not a JSON object"),
        ("{}", "is missing"),
        ('{"id":"x"}', "is missing"),
        ('{"status":"lost"}', "status"),
        ('{"created_ms":"1"}', "created_ms"),
        ('{"created_ms":true}', "created_ms"),
        ('{"deleted":1}', "deleted"),
        ('{"metadata":{"a":1}}', "metadata"),
        ('{"callback_events":[1]}', "callback_events"),
        ('{"callback_events":"x"}', "callback_events"),
        ('{"mode":"walk"}', "mode"),
        ('{"deliveries":7}', "deliveries"),
        ('{"deliveries":[7]}', "deliveries"),
        ('{"deliveries":[{}]}', "target is missing"),
        ('{"deliveries":[{"target":"c","state":"odd"}]}', "state"),
    ],
)
def test_a_damaged_record_raises_an_error_that_names_the_column(facts: str, reason: str) -> None:
    """A damaged record is never read in part. The error shows no value."""
    with pytest.raises(UnreadableRow, match=reason) as error:
        read(facts)
    assert "lost" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "facts"),
    [
        ("alarm|1|poll|x", "{}"),
        (f"alarm|1800000000000|dream|{ID}", "{}"),
        (Alarm(1, Kind.POLL, ID).key, ""),
        (Alarm(1, Kind.POLL, ID).key, "{"),
        (Alarm(1, Kind.POLL, ID).key, "[]"),
        (Alarm(1, Kind.POLL, ID).key, "null"),
        (Alarm(1, Kind.POLL, ID).key, "7"),
        (Alarm(1, Kind.POLL, ID).key, '{"born_ms":null}'),
        (Alarm(1, Kind.POLL, ID).key, '{"attempt":"1"}'),
        (Alarm(1, Kind.POLL, ID).key, '{"token":1}'),
    ],
)
def test_a_damaged_alarm_raises_an_error(key: str, facts: str) -> None:
    """A sweep reports the error and continues with the other alarms."""
    with pytest.raises(UnreadableRow):
        decode_alarm(key, facts, "")
