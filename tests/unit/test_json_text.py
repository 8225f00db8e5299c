"""JSON as others write it: the strict reading, the digits of large numbers, and the tolerant reading."""

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.json_text import OF_ANSWERS, OF_REQUESTS, InvalidJson, Limits, excess, openings, read, read_tolerantly

READERS = pytest.mark.parametrize("reader", [read, read_tolerantly])
LONG = [2**64, 2**64 + 1, -(2**63) - 1, 10**25, -(10**19), 10**5_000]

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab\\u\"é", max_size=4), inner, max_size=3),
)  # fmt: skip
escapes = st.lists(st.sampled_from(["\\ud83d", "\\uDE00", "\\\\", "\\u0041", '\\"', "\\n", "ud83d", "x", "é"]))


def digits(value: int) -> str:
    """Return an integer in decimal digits, of any length."""
    return str(value) if abs(value) < 10**4_000 else "1" + "0" * 5_000


# What both readings share


@READERS
@given(values)
def test_what_is_written_as_json_is_read_as_it_was(reader: Any, value: Any) -> None:
    """Any value survives, from bytes and from text, and with every character escaped."""
    text = orjson.dumps(value)
    assert reader(text) == reader(text.decode()) == value
    assert reader(json.dumps(value)) == value


@READERS
@given(values, st.sampled_from(LONG))
def test_one_large_number_changes_nothing_else(reader: Any, value: Any, large: int) -> None:
    """The text around a number without a 64-bit form is read as it is without that number."""
    text = b'{"n":%b,"v":%b}' % (digits(large).encode(), orjson.dumps(value))
    if large < 10**300:
        assert reader(text)["v"] == value


@pytest.mark.parametrize("large", LONG[:-1])
def test_a_number_without_a_64_bit_form_keeps_its_digits(large: int) -> None:
    """It is written as it was read, as often as it is read and written."""
    text = orjson.dumps([1]).replace(b"1", digits(large).encode())
    assert orjson.dumps(read(text)) == orjson.dumps(read_tolerantly(text.decode())) == text
    assert orjson.dumps(read(orjson.dumps(read(text)))) == text


@pytest.mark.parametrize("number", ["1e400", "-1e400", digits(10**5_000)])
def test_a_number_larger_than_any_float_keeps_its_digits(number: str) -> None:
    """Orjson rejects such a number. Other readers take it, so the tolerant reading does."""
    assert orjson.dumps(read_tolerantly(number)) == number.encode()
    with pytest.raises(InvalidJson):
        read(number)


@READERS
@pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 10**18])
def test_a_number_with_a_64_bit_form_is_a_number(reader: Any, number: int) -> None:
    """The limits are those of orjson, which writes them."""
    assert reader(str(number)) == number


@READERS
@pytest.mark.parametrize("text", ['{"a":1,"a":2}', '{"a":12345678901234567890123,"a":2}'])
def test_of_equal_names_the_last_one_counts(reader: Any, text: str) -> None:
    """Both ways of reading agree on it."""
    assert reader(text) == {"a": 2}


@READERS
@pytest.mark.parametrize(
    "text",
    ["", " ", "not json", "<html>", "[DONE]", "{", '{"a":', "{}{}", "{'a':1}", '"a', "01", "1.", "undefined", '"\\x41"',
     '"\\ud8', '{"n":12345678901234567890123'],
)  # fmt: skip
def test_what_no_reader_takes_is_invalid(reader: Any, text: str) -> None:
    """A cut or foreign text is invalid. The error does not repeat it."""
    for form in (text, text.encode()):
        with pytest.raises(InvalidJson) as invalid:
            reader(form)
        assert not invalid.value.msg.count("12345678901234567890123")


@READERS
@pytest.mark.parametrize("inner", ["", "12345678901234567890123"])
def test_a_text_that_is_nested_without_end_is_invalid(reader: Any, inner: str) -> None:
    """It never ends the process and never raises anything else."""
    with pytest.raises(InvalidJson):
        reader("[" * 200_000 + inner + "]" * 200_000)


# The tolerant reading


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (rb'"cut \ud83d"', "cut \ufffd"),
        (rb'"\ude00 cut"', "\ufffd cut"),
        (rb'"\uD83D\uD83D\uDE00"', "\ufffd\U0001f600"),
        (rb'"\ud83d\ude00\ude00"', "\U0001f600\ufffd"),
        (rb'"\ud83dx\ude00"', "\ufffdx\ufffd"),
        (rb'{"\ud83d":"\\ud83d \ud83d"}', {"\ufffd": "\\ud83d \ufffd"}),
        (b"[NaN,Infinity,-Infinity]", [None, None, None]),
        (rb'["NaN \ud83d",-Infinity]', ["NaN \ufffd", None]),
        (b'"a\x01\nb\x00"', "a\x01\nb\x00"),
        (b'"a\xffb"', "a\ufffdb"),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        ('{"a":"\u00e9"}'.encode("utf-16"), {"a": "\u00e9"}),
        ('"a\ud800b"', "a\ufffdb"),
        (b'[NaN,18446744073709551615,-9223372036854775808,1e2,-0]', [None, 2**64 - 1, -(2**63), 100.0, 0]),
    ],
    ids=range(14),
)  # fmt: skip
def test_what_json_has_no_word_for_is_replaced(text: bytes | str, value: Any) -> None:
    """Half of a surrogate pair is U+FFFD, and a number that is none is null. The strict reading rejects each."""
    assert read_tolerantly(text) == value
    with pytest.raises(InvalidJson):
        read(text)


@given(escapes)
def test_no_escape_is_left_that_cannot_be_written(parts: list[str]) -> None:
    """Whatever is read can be written, and whole pairs stay what they are."""
    text = '"' + "".join(parts) + '"'
    found = read_tolerantly(text)
    assert orjson.loads(orjson.dumps(found)) == found
    assert found == json.loads(text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_bytes_are_read_or_invalid(content: bytes) -> None:
    """Nothing else is ever raised, and what is read can be written."""
    try:
        found = read_tolerantly(content)
    except InvalidJson:
        return
    assert isinstance(orjson.dumps(found), bytes)


def test_a_float_keeps_its_value() -> None:
    """Floats are read as the same number by both readings."""
    assert read_tolerantly(b"[NaN,0.1,1e308,-1.5e-9]")[1:] == orjson.loads(b"[0.1,1e308,-1.5e-9]")
    assert math.isfinite(read_tolerantly(b"[NaN,1e308]")[1])


# How much a text may hold


def test_what_others_send_may_hold_so_much() -> None:
    """Containers cost most. An answer with `logprobs` has many, so it may have more of them than a request."""
    assert (OF_REQUESTS.containers, OF_ANSWERS.containers) == (100_000, 500_000)
    assert OF_REQUESTS.commas == OF_ANSWERS.commas == 1_000_000


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ('[{"a": [1, 2]}]', None),
        ('[{"a": [1, 2, 3]}]', None),
        ('[{"a": [[], 2]}]', "3 objects and lists"),
        ('["[[[["]', "3 objects and lists"),
        ("[1, 2, 3, 4]", "2 commas"),
        ('[",,,"]', "2 commas"),
        ("[[[[1, 2, 3, 4", "3 objects and lists"),
    ],
)
def test_a_text_is_counted_as_it_stands(text: str, limit: str | None) -> None:
    """Brackets and commas count wherever they stand, in bytes and in text, and in what is no JSON."""
    limits = Limits(3, 2)
    assert excess(text, limits) == excess(text.encode(), limits) == limit
    assert openings(text) == openings(text.encode()) == text.count("[") + text.count("{")
