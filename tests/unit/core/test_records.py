"""The record as a row: its facts say everything but the body, and fit a property of the table."""

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract import requests
from shared.core.records import (
    CALLBACK,
    REPLY_QUEUE,
    Delivery,
    Record,
    child_key,
    failure_key,
    read,
    read_failure_key,
    record_key,
)
from shared.core.states import Status

ID = "resp_0123456789abcdef0123456789abcdef"
FRESH = Record(ID, "ann", created_ms=1_800_000_000_000, deadline_ms=1_800_000_060_000)
LONGEST_STRING = 32 * 1024  # UTF-16 code units of a string property

texts = st.text(min_size=1, max_size=20)
numbers = st.integers(0, 2**53)
deliveries = st.builds(
    Delivery,
    st.sampled_from([CALLBACK, REPLY_QUEUE]),
    state=st.sampled_from(["pending", "delivered", "failed", "gone", "blocked"]),
    attempt=numbers,
    alarm=st.text(max_size=20),
    refused=st.booleans(),
)
records = st.builds(
    Record,
    id=st.just(ID),
    caller=texts,
    created_ms=st.integers(1, 2**53),
    deadline_ms=st.integers(1, 2**53),
    status=st.sampled_from(Status),
    mode=st.sampled_from(["poll", "run"]),
    epoch=st.integers(1, 2**53),
    background=st.booleans(),
    store=st.booleans(),
    stream=st.booleans(),
    model=st.none() | texts,
    metadata=st.none() | st.dictionaries(texts, st.text(max_size=20), min_size=1),
    previous=st.none() | texts,
    token=st.none() | texts,
    upstream_id=st.none() | texts,
    callback_url=st.none() | texts,
    reply_to=st.none() | texts,
    promised=st.booleans(),
    deleted=st.booleans(),
    ended_ms=numbers,
    purge=st.text(max_size=20),
    next_seq=numbers,
    reserved=numbers,
    body_rows=numbers,
    deliveries=st.lists(deliveries, max_size=2).map(tuple),
    body=st.binary(max_size=20),
    write_id=texts,
    etag=texts,
)


def read_back(record: Record) -> Record:
    """Return what a reader of the record's row gets."""
    return read(record.facts(), body=record.body, write_id=record.write_id, etag=record.etag)


@given(records)
def test_a_record_reads_back_from_its_row(record: Record) -> None:
    """Facts, body, write_id and ETag together are the record."""
    assert read_back(record) == record


@pytest.mark.parametrize("store", [True, False])
def test_a_flag_that_is_true_for_a_new_record_can_be_false_in_a_row(store: bool) -> None:
    """What is empty is left out of the facts, and an absent flag reads as false whatever a new record has."""
    assert read_back(replace(FRESH, store=store)).store is store


def test_facts_leave_out_the_body_and_what_storage_says() -> None:
    """Body, write_id and ETag have places of their own in the row; empty facts have none."""
    facts = orjson.loads(replace(FRESH, body=b"x", write_id="w", etag="e").facts())
    assert not facts.keys() & {"body", "write_id", "etag", "model", "deliveries"}


@pytest.mark.parametrize(
    "facts",
    ["", "{", "[]", "null", "{}", '{"id":"x"}', FRESH.facts().replace("queued", "lost")]
    + [FRESH.facts()[:-1] + f',"deliveries":{wrong}}}' for wrong in ("7", "[7]", '[{"colour":"red"}]')],
)
def test_a_row_that_is_no_record_is_an_error(facts: str) -> None:
    """A damaged row is an error of its own, never half a record."""
    with pytest.raises((ValueError, TypeError)):
        read(facts, body=b"", write_id="w", etag="e")


def test_facts_of_another_version_are_passed_over() -> None:
    """During a deployment two versions read the same rows."""
    facts = FRESH.facts()[:-1] + ',"colour":"red"}'
    assert read(facts, body=b"", write_id="", etag="") == FRESH


@pytest.mark.parametrize(
    ("callback_url", "reply_to", "targets"),
    [(None, None, ()), ("u", None, ("c",)), (None, "q", ("q",)), ("u", "q", ("c", "q"))],
)
def test_targets_are_those_that_were_asked_for(
    callback_url: str | None, reply_to: str | None, targets: tuple[str, ...]
) -> None:
    """A callback, a reply queue, both or neither."""
    assert replace(FRESH, callback_url=callback_url, reply_to=reply_to).targets("response.completed") == targets


@pytest.mark.parametrize(("event", "targets"), [("response.failed", ("c", "q")), ("response.completed", ("q",))])
def test_a_callback_may_want_some_events_only(event: str, targets: tuple[str, ...]) -> None:
    """The reply queue is told of every end: somebody there waits for it."""
    choosy = replace(FRESH, callback_url="u", reply_to="q", callback_events=("response.failed",))
    assert read(choosy.facts(), body=b"", write_id="", etag="").targets(event) == targets


def test_the_row_of_a_failed_delivery_names_it() -> None:
    """Its key leads from a caller and a time to the response and the target; the bare key starts the range."""
    key = failure_key("a" * 16, 1_800_000_000_000, ID, "c")
    assert read_failure_key(key) == (ID, "c")
    assert failure_key("a" * 16, 1_800_000_000_000) <= key < failure_key("a" * 16, 1_800_000_000_001)
    with pytest.raises(ValueError, match="not a failed delivery"):
        read_failure_key(f"failed|x|{ID}")


def test_a_delivery_is_changed_without_touching_the_other() -> None:
    """Each target has one delivery, found by its name."""
    record = replace(FRESH, deliveries=(Delivery(CALLBACK), Delivery(REPLY_QUEUE)))
    changed = record.with_delivery(Delivery(REPLY_QUEUE, "delivered", 2))
    assert changed.delivery(CALLBACK) == Delivery(CALLBACK)
    assert changed.delivery(REPLY_QUEUE) == Delivery(REPLY_QUEUE, "delivered", 2)
    assert FRESH.delivery(CALLBACK) is None


@pytest.mark.parametrize("state", ["delivered", "failed", "gone", "blocked"])
def test_only_a_pending_delivery_is_open(state: str) -> None:
    """Another attempt may follow while it is pending, and never after."""
    assert Delivery(CALLBACK).is_open
    assert not Delivery(CALLBACK, state).is_open


@pytest.mark.parametrize("character", ["x", '"', "\\", "\n", "é", "語", "😀"])
def test_the_largest_request_leaves_facts_that_fit_a_property(character: str) -> None:
    """Sixteen pairs at their limits, the longest of everything else: still within a string of the table."""
    metadata = {f"{n:02d}{character * 62}": character * 512 for n in range(16)}
    text = character * 256
    new = requests.parse(orjson.dumps({"metadata": metadata, "model": text}))
    record = replace(FRESH, caller="c" * 64, model=new.model, metadata=new.metadata, callback_url="u" * 2048)
    record = replace(record, token="t" * 512, upstream_id="t" * 512, purge="p" * 80, reply_to="q" * 63)
    record = replace(record, deliveries=(Delivery("c", alarm="a" * 80), Delivery("q", alarm="a" * 80)))
    assert len(record.facts().encode("utf-16-le")) // 2 <= LONGEST_STRING


def test_rows_of_a_record_are_beside_it() -> None:
    """A record's children follow it in the order of keys, and never mix with another record's."""
    assert record_key(ID) == f"resp|{ID}"
    assert child_key(ID, "input|00") == f"resp|{ID}|input|00"
    assert record_key(ID) < child_key(ID, "input|00") < record_key(ID[:-1] + "~")
