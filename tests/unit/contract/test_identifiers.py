"""Ours in place of the upstream's ids, at any depth, and nothing else changed."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.identifiers import are_in, our_names, with_our_names
from shared.contract.responses import present
from shared.contract.stream_events import translated
from shared.core.records import Record, RequestInfo, UpstreamInfo
from shared.core.states import Status
from tests.support.json_values import json_values

OURS, BEFORE = f"resp_{'a' * 32}", f"resp_{'b' * 32}"
THEIRS, PREVIOUS = f"caresp_{'1' * 44}", f"caresp_{'2' * 44}"
RECORD = Record(OURS, "ann", 0, 1, request=RequestInfo(previous_id=BEFORE), upstream=UpstreamInfo(id=THEIRS))
ITEM = {"id": "msg_1", "type": "message", "response_id": THEIRS, "agent": {"thread": f"t/{THEIRS}/1", "from": PREVIOUS}}
ANSWER = {"id": THEIRS, "response_id": THEIRS, "previous_response_id": PREVIOUS, "output": [ITEM], THEIRS: {"x": 1}}


def test_no_member_of_an_object_has_the_upstreams_id() -> None:
    """At the top, in items, as a part of a text and as the name of a member."""
    shown = present(RECORD, Status.COMPLETED, ANSWER, {}, 1)
    text = orjson.dumps(shown).decode()
    assert THEIRS not in text
    assert PREVIOUS not in text
    assert shown["response_id"] == shown["output"][0]["response_id"] == OURS
    assert shown["output"][0]["agent"] == {"thread": f"t/{OURS}/1", "from": BEFORE}
    assert shown["output"][0]["id"] == "msg_1"


@pytest.mark.parametrize("kind", ["response.in_progress", "response.output_item.added", "acme.trace"])
def test_no_event_has_the_upstreams_id(kind: str) -> None:
    """Also if the record does not have it yet, because the event itself names it."""
    for record in (RECORD, replace(RECORD, upstream=UpstreamInfo())):
        event = translated(record, {}, {"type": kind, "item": ITEM, "response": ANSWER})
        assert event
        assert THEIRS.encode() not in event.body
        assert OURS.encode() in event.body


def test_a_short_id_is_replaced_only_where_a_member_is_an_id() -> None:
    """An upstream may number its responses, and a number stands in many texts."""
    said: dict[str, Any] = {"response_id": "7", "responseId": "7", "delta": "7", "size": "7", "note": "no 7", "7": 7}
    assert with_our_names(said, {"7": OURS}) == said | {"response_id": OURS, "responseId": OURS}


def test_what_a_model_has_written_is_not_changed() -> None:
    """A text that quotes the id stays as it was, so that it equals its deltas."""
    said = {"type": "output_text", "text": f"see {THEIRS}", "arguments": f'{{"id": "{THEIRS}"}}'}
    assert with_our_names(said, {THEIRS: OURS}) == said


def test_names_come_from_the_record_and_from_the_answer() -> None:
    """The token of the work is its id. Without a previous response of ours, its id has no other name."""
    record = Record(OURS, "ann", 0, 1, upstream=UpstreamInfo(token="t" * 20, id=THEIRS))
    assert our_names(record, {"id": "other", "previous_response_id": PREVIOUS}) == dict.fromkeys(
        ("t" * 20, THEIRS, "other"), OURS
    )
    assert our_names(RECORD, {"id": OURS, "previous_response_id": 5}) == {THEIRS: OURS}


@pytest.mark.parametrize("member", ["id", "previous_response_id"])
def test_a_text_that_is_too_long_for_an_id_is_none(member: str) -> None:
    """It would be kept in memory with a thousand others."""
    record = replace(RECORD, upstream=UpstreamInfo())
    assert len(our_names(record, {member: "x" * 1_024})) == 1
    assert our_names(record, {member: "x" * 1_025}) == {}


@given(json_values())
def test_a_value_without_the_id_is_unchanged(value: object) -> None:
    """Nothing is invented."""
    assert with_our_names(value, {THEIRS: OURS}) == value
    assert with_our_names(value, {}) is value


@given(json_values(), st.text(min_size=1))
def test_what_is_renamed_is_found_in_the_text_first(value: object, theirs: str) -> None:
    """An event is only walked if its text has an id of the upstream, also one with quotes or of another script."""
    text = orjson.dumps({"value": value, "here": f"a{theirs}b", theirs: 1})
    assert are_in(text, {"absent": OURS, theirs: OURS})
    if with_our_names(value, {theirs: OURS}) != value:
        assert are_in(orjson.dumps(value), {theirs: OURS})


def test_without_an_id_there_is_nothing_to_find() -> None:
    """Most events have none."""
    assert not are_in(orjson.dumps({"delta": "one"}), {THEIRS: OURS})
    assert not are_in(orjson.dumps({"delta": THEIRS}), {})
