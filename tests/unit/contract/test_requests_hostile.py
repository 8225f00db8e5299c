"""Hostile requests: any bytes give either a request or a BadRequest that names the field."""

import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contract.requests import MAX_DEPTH, MAX_ITEMS, parse_redelivery, parse_request
from shared.core.errors import BadRequest
from shared.json_text import OF_REQUESTS


def refusal(raw: bytes) -> BadRequest:
    """Return the BadRequest that a body raises. Its envelope must have all four fields."""
    with pytest.raises(BadRequest) as refused:
        parse_request(raw)
    assert refused.value.envelope()["error"].keys() == {"message", "type", "param", "code"}
    return refused.value


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b'{"a":1}x',
        b"{'a': 1}",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":' + b"9" * 400 + b"}",
        b'{"a":"\\ud800"}',
        b'{"a":"\\udc00\\ud800"}',
        b'{"\\ud800":1}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\x00"}',
        b"\xef\xbb\xbf{}",
        b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
        b"[" * 100_000,
        b"\x00" * 100,
    ],
    ids=range(20),
)
def test_a_body_that_is_not_json_is_refused(raw: bytes) -> None:
    """The bodies are empty, cut off, not UTF-8, nested too deep, or have a byte order mark or too large a number."""
    assert refusal(raw).code == "invalid_json"


@pytest.mark.parametrize("raw", [b"null", b"true", b"7", b'"text"', b"[]", b'[{"model":"m"}]'])
def test_a_body_that_is_not_an_object_is_refused(raw: bytes) -> None:
    """A request must be a JSON object."""
    assert refusal(raw).code == "invalid_type"


def with_containers(count: int) -> bytes:
    """Return a body with this many objects and lists, of which the last are in a text."""
    inner = b",".join([b"[]"] * (count - 12))
    return b'{"tools":[' + inner + b'],"instructions":"' + b"[" * 10 + b'"}'


def with_commas(count: int) -> bytes:
    """Return a body with this many commas, of which the last ten are in a text."""
    return b'{"tools":[' + b",".join([b"0"] * (count - 10)) + b'],"instructions":"' + b"," * 10 + b'"}'


@pytest.mark.parametrize(
    ("body", "limit"),
    [(with_containers, OF_REQUESTS.containers), (with_commas, OF_REQUESTS.commas)],
    ids=["containers", "commas"],
)
def test_the_number_of_values_of_a_body_is_limited(body: Callable[[int], bytes], limit: int) -> None:
    """A body may have 100,000 objects and lists and 1,000,000 commas. The error names the limit."""
    assert limit in (100_000, 1_000_000)
    assert parse_request(body(limit)).body["instructions"]
    error = refusal(body(limit + 1))
    assert error.code == "invalid_value"
    assert str(limit) in error.message
    with pytest.raises(BadRequest, match=str(limit)):
        parse_redelivery(body(limit + 1))


@pytest.mark.parametrize("piece", [b"[],", b"0,", b'{"a":0},', b"["])
def test_a_body_of_millions_of_values_is_refused_before_they_are_built(piece: bytes) -> None:
    """8 MiB of tiny values are refused in a fraction of a second. Building and storing them takes many."""
    raw = b'{"tools":[' + piece * (8_000_000 // len(piece)) + b"0]}"
    began_s = time.process_time()
    assert refusal(raw).code == "invalid_value"
    assert time.process_time() - began_s < 0.5


WRONG = {
    "text": [True, 7, 1.5, [], {}, ["m"]],
    "flag": [0, 1, 1.5, "true", [], {}],
    "input": [True, 7, 1.5, {}],
    "object": [True, 7, 1.5, "text", [], [["a", "b"]]],
}
TYPES = {
    "model": "text",
    "previous_response_id": "text",
    "callback_url": "text",
    "reply_to": "text",
    "background": "flag",
    "store": "flag",
    "stream": "flag",
    "input": "input",
    "metadata": "object",
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, kind in TYPES.items() for value in WRONG[kind]])
def test_a_value_of_the_wrong_type_is_refused_by_its_field(name: str, value: object) -> None:
    """Every field that is checked refuses every type that it cannot have. The error names the field."""
    refused = refusal(orjson.dumps({name: value}))
    assert (refused.param, refused.code) == (name, "invalid_type")
    assert name in refused.message


@pytest.mark.parametrize(
    ("name", "longest"), [("model", 256), ("previous_response_id", 128), ("callback_url", 2048), ("reply_to", 63)]
)
def test_a_text_has_a_limit(name: str, longest: int) -> None:
    """A text of the maximum length is accepted. A longer or an empty one is refused."""
    parse_request(orjson.dumps({name: "a" * longest}))
    for wrong in ("a" * (longest + 1), ""):
        refused = refusal(orjson.dumps({name: wrong}))
        assert (refused.param, refused.code) == (name, "invalid_value")


def test_an_input_has_at_most_ten_thousand_items() -> None:
    """A list of MAX_ITEMS is accepted. A longer one is refused, while a string may be longer."""
    parse_request(orjson.dumps({"input": [0] * MAX_ITEMS}))
    parse_request(orjson.dumps({"input": "x" * (MAX_ITEMS + 1)}))
    refused = refusal(orjson.dumps({"input": [0] * (MAX_ITEMS + 1)}))
    assert (refused.param, refused.code) == ("input", "invalid_value")
    assert MAX_ITEMS == 10_000


@pytest.mark.parametrize(
    "metadata",
    [
        {f"k{n}": "" for n in range(17)},
        {"k" * 65: "v"},
        {"k": "v" * 513},
        {"k": 7},
        {"k": None},
        {"k": ["v"]},
        {"k": {"v": "w"}},
        {"k": "\x00"},
        {"k\x1f": "v"},
    ],
)
def test_metadata_over_its_limits_is_refused(metadata: dict[str, object]) -> None:
    """Too many pairs, too long a key or value, a value that is not a string, and a control character are refused."""
    assert refusal(orjson.dumps({"metadata": metadata})).param == "metadata"


@pytest.mark.parametrize("name", ["ab", "Abc", "a_b", "-abc", "abc-", "a--b", "a.b", "abc\n", "äbc", "$logs", "../x"])
@pytest.mark.parametrize("place", ["body", "metadata"])
def test_any_other_queue_name_is_refused(name: str, place: str) -> None:
    """The error names `reply_to`, also if the field was in the metadata."""
    body = {"reply_to": name} if place == "body" else {"metadata": {"reply_to": name}}
    assert refusal(orjson.dumps(body)).param == "reply_to"


def test_a_conversation_excludes_a_previous_response() -> None:
    """The contract allows only one of them. Each alone is accepted, and a null counts as absent."""
    both = {"previous_response_id": "resp_1", "conversation": "conv_1"}
    assert refusal(orjson.dumps(both)).param == "previous_response_id"
    assert parse_request(b'{"conversation":{"id":"conv_1"}}').previous is None
    assert parse_request(orjson.dumps({**both, "conversation": None})).previous == "resp_1"


def nested(levels: int, opening: bytes, innermost: bytes, closing: bytes) -> bytes:
    """Return a body whose field `input` is nested this number of levels deep."""
    return b'{"model":"m","input":' + opening * levels + innermost + closing * levels + b"}"


@pytest.mark.parametrize("innermost", [b"7", b'"[[["', b"null"])
def test_a_field_may_be_nested_to_the_limit(innermost: bytes) -> None:
    """A hundred levels are accepted, whatever the innermost value is. With one more, the error names the field."""
    parse_request(nested(MAX_DEPTH, b"[", innermost, b"]"))
    parse_request(nested(MAX_DEPTH // 2, b'[{"a":', innermost, b"}]"))
    refused = refusal(nested(MAX_DEPTH + 1, b"[", innermost, b"]"))
    assert (refused.param, refused.code) == ("input", "invalid_value")


@pytest.mark.parametrize("levels", [101, 254, 255, 500, 1_000])
def test_a_field_that_is_too_deep_to_be_encoded_is_refused(levels: int) -> None:
    """The JSON parser accepts more levels than the encoder, so a deeper field would fail later, when it is stored."""
    assert refusal(b'{"tools":' + b'{"a":' * levels + b"1" + b"}" * levels + b"}").param == "tools"


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
bodies = st.dictionaries(st.sampled_from([*TYPES, "conversation", "tools", "callback"]), json_values)


@settings(deadline=None)
@given(st.one_of(st.binary(), json_values.map(orjson.dumps), bodies.map(orjson.dumps)))
def test_any_bytes_are_a_request_or_a_bad_request(raw: bytes) -> None:
    """No other exception is raised. A request that was accepted can be stored and sent."""
    try:
        new = parse_request(raw)
    except BadRequest:
        return
    assert orjson.loads(orjson.dumps(new.for_upstream("up_1")))["previous_response_id"] == "up_1"
