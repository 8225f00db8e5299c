"""JSON objects as rows: they read back unchanged, and no row, property or transaction exceeds its limit."""

import base64
import random
import zlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import json_text
from shared.core.blobs import (
    MAX_PACKED,
    Oversized,
    compress,
    expand,
    expands_over,
    is_deeper,
    is_larger,
    joined,
    pack,
    split,
    unpack,
)

PROPERTY, ROW = 64 * 1024, 640 * 1024
EDGES = [n * PROPERTY for n in (1, 2, 9, 10, 11, 20)] + [MAX_PACKED]
SIZES = sorted({0, 1, *(edge + step for edge in EDGES for step in (-1, 0, 1))})

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
json_values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def noise(size: int) -> bytes:
    """Return this number of bytes that do not compress. They are the same at every call."""
    return random.Random(7).randbytes(size)


@given(json_values.filter(lambda value: value == orjson.loads(orjson.dumps(value))))
def test_a_packed_value_unpacks_to_itself(value: object) -> None:
    """A packed value reads back unchanged after it was split into rows, both as a value and as JSON text."""
    packed = joined(split(pack(value)))
    assert unpack(packed) == value
    assert expand(packed) == orjson.dumps(value)


@pytest.mark.parametrize("number", [b"18446744073709551616", b"-9223372036854775809", b"1e400"])
def test_a_number_without_a_64_bit_form_keeps_its_digits(number: bytes) -> None:
    """A request that is stored reaches the upstream as the caller sent it."""
    text = b'{"seed":%b}' % number
    assert expand(pack(unpack(pack(json_text.read_tolerantly(text))))) == text


@pytest.mark.parametrize("size", SIZES)
def test_bytes_read_back_from_their_rows_at_every_boundary(size: int) -> None:
    """Data reads back unchanged at each size limit of a property, row or packed value, and one byte beside it."""
    data = noise(size)
    rows = split(data)
    assert joined(rows) == data
    assert len(rows) == max(1, -(-size // ROW))
    assert all(sum(map(len, row.values())) <= ROW for row in rows)
    assert all(len(value) <= PROPERTY for row in rows for value in row.values())


def test_other_properties_of_a_row_are_not_read_as_data() -> None:
    """A row read from storage has keys and perhaps other properties. Only the numbered properties hold data."""
    rows = [{"PartitionKey": "0", "RowKey": "k", "phase": "x", **row} for row in split(noise(ROW + 1))]
    assert joined(rows) == noise(ROW + 1)


def test_the_largest_result_fits_into_one_transaction() -> None:
    """The rows of the largest result leave room for the other rows in 4 MiB, with base64 on the wire included."""
    rows = split(noise(MAX_PACKED))
    on_the_wire = sum(len(base64.b64encode(value)) for row in rows for value in row.values())
    assert on_the_wire < 4 * 1024 * 1024 - 256 * 1024


def longest_that_fits(text: bytes) -> int:
    """Return how many characters of a text fit into MAX_PACKED bytes as a packed JSON string.

    It appends ever smaller pieces to one compressed stream, so each character is compressed only about once.
    """
    packer = zlib.compressobj(1)
    length, size = 0, len(packer.compress(b'"'))
    for step in (2**n for n in reversed(range(22))):
        longer = packer.copy()
        more = len(longer.compress(text[length : length + step]))
        ending = longer.copy()
        if size + more + len(ending.compress(b'"') + ending.flush()) <= MAX_PACKED:
            packer, length, size = longer, length + step, size + more
    return length


def test_a_value_of_exactly_the_limit_is_packed_and_no_larger_one() -> None:
    """A value of MAX_PACKED compressed bytes is accepted. The next larger one is refused before anything is sent."""
    text = base64.b64encode(noise(MAX_PACKED)).decode()
    length = longest_that_fits(text.encode())
    assert len(pack(text[:length])) == MAX_PACKED
    with pytest.raises(Oversized):
        pack(text[: length + 1])


@pytest.mark.parametrize("damaged", [b"", b"{}", noise(100), pack({"a": 1})[:-3]], ids=range(4))
def test_damaged_bytes_raise_value_error(damaged: bytes) -> None:
    """Any kind of damage raises the same error, whatever the library below raises."""
    with pytest.raises(ValueError, match="damaged"):
        unpack(damaged)


def nested(levels: int, innermost: object, *, kind: type = list) -> object:
    """Return a value inside this number of lists or objects."""
    for _ in range(levels):
        innermost = [innermost] if kind is list else {"a": innermost}
    return innermost


@pytest.mark.parametrize("kind", [list, dict])
@pytest.mark.parametrize("innermost", [0, "[[[[", None])
def test_depth_counts_lists_and_objects(kind: type, innermost: object) -> None:
    """A value is deeper than n levels if it nests more than n lists or objects. The innermost value does not matter."""
    assert not is_deeper(nested(100, innermost, kind=kind), 100)
    assert is_deeper(nested(101, innermost, kind=kind), 100)
    assert not is_deeper(innermost, 0)


def test_width_is_not_depth() -> None:
    """A long list of small objects is only as deep as one of them."""
    assert not is_deeper([{"a": [n]} for n in range(10_000)], 3)
    assert is_deeper([1, 2, {"a": [[]]}, 3], 3)


@pytest.mark.parametrize(
    ("value", "size", "expected"),
    [
        ("x" * 100, 100, True),
        ("x" * 92, 100, False),
        ({"x" * 100: 1}, 100, True),
        ([0] * 13, 100, True),
        ([0] * 11, 100, False),
        ((0,) * 13, 100, True),
        ({"a": {"b": ["x" * 90]}}, 100, True),
        (None, 100, False),
        ({}, 0, True),
    ],
)
def test_whether_a_value_is_large_is_estimated(value: Any, size: int, expected: bool) -> None:
    """Texts, names, and the number of values count, at any depth."""
    assert is_larger(value, size) is expected


@given(json_values)
def test_a_value_that_is_not_large_is_small(value: Any) -> None:
    """The JSON of a value that is not large is at most six times as long, because a character may be escaped so."""
    assert is_larger(value, 1_000) or len(orjson.dumps(value)) <= 6_000


@pytest.mark.parametrize(("text", "size", "expected"), [(b"x" * 101, 100, True), (b"x" * 100, 100, False)])
def test_the_size_of_a_packed_text_is_that_of_the_text(text: bytes, size: int, expected: bool) -> None:
    """Its own length says little, because what repeats itself is packed to a thousandth."""
    assert expands_over(compress(text), size) is expected


def test_damaged_bytes_have_no_text() -> None:
    """Whoever expands them gets the error."""
    assert not expands_over(b"damaged", 0)


def test_what_cannot_be_large_is_not_expanded() -> None:
    """A packed byte has at most 1,032 bytes of text. So a few are small without a look, and one more is looked at."""
    text = b"\0" * 10_000_000
    packed = zlib.compress(text, 9)
    assert len(text) <= len(packed) * 1_032
    assert not expands_over(packed, len(packed) * 1_032)
    assert expands_over(packed, len(text) - 1)
