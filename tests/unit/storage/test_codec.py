"""The codec for rows: all values read back, and columns keep their names in storage."""

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract import requests
from shared.core.alarms import Alarm, Kind
from shared.core.entries import entry_of
from shared.core.erasures import Erasure, Phase, Wanted
from shared.core.errors import UnreadableRow
from shared.core.outcomes import AttemptEntry
from shared.core.records import (
    Delivery,
    ExecutionMode,
    LogInfo,
    Record,
    RequestInfo,
    RunInfo,
    Target,
    UpstreamInfo,
    Usage,
)
from shared.core.states import DeliveryState, Status
from shared.storage.codec import (
    decode_alarm,
    decode_attempt,
    decode_erasure,
    decode_record,
    encode_alarm,
    encode_attempt,
    encode_entry,
    encode_erasure,
    encode_record,
)

ID = "resp_0123456789abcdef0123456789abcdef"
FRESH = Record(ID, "ann", created_ms=1_800_000_000_000, deadline_ms=1_800_000_060_000)
LONGEST_STRING = 32 * 1024  # UTF-16 code units of a string property

texts = st.text(max_size=20)
names = st.text(min_size=1, max_size=20)
numbers = st.integers(0, 2**53)
flags = st.booleans()
unknown = st.dictionaries(st.sampled_from(["colour", "size"]), st.integers(0, 9) | st.lists(st.integers(0, 9)))
deliveries = st.builds(
    Delivery,
    st.sampled_from(Target),
    state=st.sampled_from(DeliveryState),
    schedule=numbers,
    attempt=numbers,
    attempts_before=numbers,
    alarm_key=texts,
    sending=flags,
    address_refused=flags,
    failure_key=texts,
    host=texts,
    listed=flags,
    unknown=unknown,
)
records = st.builds(
    Record,
    id=st.just(ID),
    caller=names,
    created_ms=st.integers(1, 2**53),
    deadline_ms=st.integers(1, 2**53),
    status=st.sampled_from(Status),
    acknowledged=flags,
    deleted=flags,
    ended_ms=numbers,
    error=texts,
    listed=texts,
    usage=st.builds(Usage, numbers, numbers, numbers, numbers),
    purge_key=texts,
    trace=texts,
    trace_parent=texts,
    body_rows=numbers,
    session_rows=numbers,
    deliveries=st.lists(deliveries, max_size=2).map(tuple),
    request=st.builds(
        RequestInfo,
        background=flags,
        store=flags,
        stream=flags,
        model=st.none() | texts,
        metadata=st.none() | st.dictionaries(names, texts, min_size=1),
        previous_id=st.none() | texts,
        callback_url=st.none() | texts,
        reply_to=st.none() | texts,
        callback_events=st.lists(names, max_size=2).map(tuple),
        correlation_id=st.none() | texts,
    ),
    upstream=st.builds(
        UpstreamInfo,
        token=st.none() | texts,
        id=st.none() | texts,
        starts=numbers,
        end_announced=flags,
        checkpoints=numbers,
        has_checkpoint=flags,
    ),
    run=st.builds(
        RunInfo,
        mode=st.sampled_from(ExecutionMode),
        epoch=st.integers(1, 2**53),
        claimed=flags,
        alarm_key=texts,
        expirations=numbers,
    ),
    log=st.builds(LogInfo, next_seq=numbers, high_water_mark=numbers, valid_from=numbers, upstream_next=numbers),
    unknown=unknown,
    body=st.binary(max_size=20),
    write_id=names,
    etag=names,
)


def read(facts: str) -> Record:
    """Return the record that is encoded in this text."""
    return decode_record(facts, body=b"", write_id="", etag="")


alarms = st.builds(
    Alarm,
    due_ms=st.integers(0, 9_999_999_999_999),
    kind=st.sampled_from(Kind),
    id=st.binary(min_size=16, max_size=16).map(lambda digits: f"resp_{digits.hex()}"),
    target=st.sampled_from(["", "c", "q", "0123456789abcdef"]),
    attempt=numbers,
    tries=numbers,
    token=texts,
    born_ms=numbers,
    deadline_ms=numbers,
    read_ms=numbers,
    missing_ms=numbers,
    epoch=numbers,
    trace=texts,
    unknown=unknown,
    etag=texts,
).filter(lambda alarm: alarm.kind is not Kind.DELIVER or alarm.target in set(Target))


@given(alarms)
def test_an_alarm_reads_back_from_its_row(alarm: Alarm) -> None:
    """The key, the encoded text and the ETag give the alarm."""
    assert decode_alarm(alarm.key, encode_alarm(alarm), alarm.etag) == alarm


def test_the_row_of_a_new_alarm_has_only_the_version() -> None:
    """All other fields of a new alarm have their default."""
    assert encode_alarm(Alarm(1, Kind.PURGE, ID)) == '{"row_version":2}'


@given(records)
def test_a_record_reads_back_from_its_row(record: Record) -> None:
    """The encoded text, the body, the write id and the ETag give the record."""
    facts = encode_record(record)
    assert decode_record(facts, body=record.body, write_id=record.write_id, etag=record.etag) == record


def test_the_text_of_a_row_omits_defaults_and_other_columns() -> None:
    """Body, write id and ETag are separate columns. A field with its default value is not stored at all."""
    said = orjson.loads(encode_record(replace(FRESH, body=b"x", write_id="w", etag="e")))
    assert said.keys() == {"row_version", "id", "caller", "created_ms", "deadline_ms"}


def test_columns_keep_their_names_in_storage() -> None:
    """The names in the code are newer than those in the table."""
    record = replace(
        FRESH,
        acknowledged=True,
        purge_key="p",
        upstream=UpstreamInfo(end_announced=True, id="u", checkpoints=1, has_checkpoint=True),
        run=RunInfo(alarm_key="r", expirations=2),
        log=LogInfo(high_water_mark=3, valid_from=4),
        deliveries=(Delivery(Target.CALLBACK, attempts_before=5, alarm_key="a"),),
    )
    said = orjson.loads(encode_record(record))
    assert said["deliveries"] == [{"target": "c", "before": 5, "alarm": "a"}]
    names = ("promised", "purge", "woken", "upstream_id", "memos", "goes_on", "run", "lapses", "reserved", "restarted")
    assert [said[name] for name in names] == [True, "p", True, "u", 1, True, "r", 2, 3, 4]


@pytest.mark.parametrize("store", [True, False])
def test_an_absent_flag_is_false(store: bool) -> None:
    """A flag that is missing from the row is false, even if a new response has true by default."""
    record = replace(FRESH, request=RequestInfo(store=store))
    assert read(encode_record(record)).request.store is store


def test_an_erasure_reads_back_from_its_row() -> None:
    """With what it is wanted for, and how far it has come."""
    erasure = Erasure(ID, "ann", "ops", 5, Wanted(7, "u", "s"), 3, Phase.ENDED, "key", 1, 2, 9)
    assert decode_erasure(encode_erasure(erasure)) == erasure
    with pytest.raises(UnreadableRow):
        decode_erasure("{}")


# Attempts


def test_an_attempt_reads_back_with_every_member() -> None:
    """Callers read all members, also those that are null."""
    entry = AttemptEntry(attempt=2, at=1_800_000_000.5, status=None, error="dns", duration_ms=7, next_at=None)
    facts = encode_attempt(entry)
    names = {"row_version", "attempt", "at", "status", "error", "duration_ms", "next_at", "schedule"}
    assert orjson.loads(facts).keys() == names
    assert decode_attempt(facts) == entry


def test_an_attempt_of_another_version_is_read() -> None:
    """Unknown members are ignored, and whole seconds are accepted as a number."""
    facts = '{"attempt":1,"at":5,"status":200,"error":null,"duration_ms":7,"next_at":null,"colour":"red"}'
    assert decode_attempt(facts) == AttemptEntry(1, 5, 200, None, 7, None)
    with pytest.raises(UnreadableRow):
        decode_attempt('{"attempt":1}')


# Sizes


@pytest.mark.parametrize("character", ["x", '"', "\\", "\n", "é", "語", "😀"])
def test_the_largest_record_fits_a_property(character: str) -> None:
    """Sixteen metadata pairs and all other fields at their limits fit into one string property of the table."""
    metadata = {f"{n:02d}{character * 62}": character * 512 for n in range(16)}
    new = requests.parse_request(orjson.dumps({"metadata": metadata, "model": character * 256}))
    record = replace(
        FRESH,
        caller="c" * 64,
        purge_key="p" * 80,
        request=RequestInfo(
            model=new.model,
            metadata=new.metadata,
            previous_id=ID,
            callback_url="u" * 2048,
            reply_to="q" * 63,
            callback_events=("response.completed", "response.failed", "response.incomplete", "response.cancelled"),
            correlation_id="c" * 256,
        ),
        upstream=UpstreamInfo(token="t" * 512, id="t" * 512),
        deliveries=tuple(Delivery(one, alarm_key="a" * 80, failure_key="f" * 120, host="h" * 260) for one in Target),
    )
    assert len(encode_entry(entry_of(record)).encode("utf-16-le")) // 2 <= LONGEST_STRING
    assert len(encode_record(record).encode("utf-16-le")) // 2 <= LONGEST_STRING
