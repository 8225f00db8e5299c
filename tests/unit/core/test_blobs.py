"""JSON objects as rows: what goes in comes out, and no row, property or transaction is over its limit."""

import base64
import random
import zlib
from bisect import bisect_left

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.blobs import MAX_PACKED, Oversized, expand, is_deeper, joined, pack, split, unpack

PROPERTY, ROW = 64 * 1024, 640 * 1024
EDGES = [n * PROPERTY for n in (1, 2, 9, 10, 11, 20)] + [MAX_PACKED]
SIZES = sorted({0, 1, *(edge + step for edge in EDGES for step in (-1, 0, 1))})

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
json_values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def noise(size: int) -> bytes:
    """Return bytes that no compression makes smaller, the same ones every time."""
    return random.Random(7).randbytes(size)


@given(json_values.filter(lambda value: value == orjson.loads(orjson.dumps(value))))
def test_a_packed_value_unpacks_to_itself(value: object) -> None:
    """What was packed is there again, as a value and as JSON text, whether it went through rows or not."""
    packed = joined(split(pack(value)))
    assert unpack(packed) == value
    assert expand(packed) == orjson.dumps(value)


@pytest.mark.parametrize("size", SIZES)
def test_bytes_come_back_from_their_rows_at_every_boundary(size: int) -> None:
    """At each multiple of a property and of a row, and one byte beside it, up to the limit and just over it."""
    data = noise(size)
    rows = split(data)
    assert joined(rows) == data
    assert len(rows) == max(1, -(-size // ROW))
    assert all(sum(map(len, row.values())) <= ROW for row in rows)
    assert all(len(value) <= PROPERTY for row in rows for value in row.values())


def test_the_properties_of_storage_are_not_taken_for_data() -> None:
    """A row comes back with its keys and perhaps more: only the numbered properties hold bytes."""
    rows = [{"PartitionKey": "0", "RowKey": "k", "phase": "x", **row} for row in split(noise(ROW + 1))]
    assert joined(rows) == noise(ROW + 1)


def test_the_largest_result_fits_a_transaction() -> None:
    """Base64 on the wire included, the rows of the largest result leave room in 4 MiB for the rest of a write."""
    rows = split(noise(MAX_PACKED))
    on_the_wire = sum(len(base64.b64encode(value)) for row in rows for value in row.values())
    assert on_the_wire < 4 * 1024 * 1024 - 256 * 1024


def packed_size(text: str) -> int:
    """Return how long a text is when it is packed, without a limit."""
    return len(zlib.compress(orjson.dumps(text), 1))


def test_exactly_the_limit_is_packed_and_no_more() -> None:
    """A value of MAX_PACKED bytes, compressed, is kept; the next larger one is refused before anything is sent."""
    text = base64.b64encode(noise(MAX_PACKED)).decode()
    first, over = (
        bisect_left(range(len(text)), size, lo=len(text) - 200_000, key=lambda length: packed_size(text[:length]))
        for size in (MAX_PACKED, MAX_PACKED + 1)
    )
    assert len(pack(text[:first])) == MAX_PACKED
    with pytest.raises(Oversized):
        pack(text[:over])


@pytest.mark.parametrize("damaged", [b"", b"{}", noise(100), pack({"a": 1})[:-3]], ids=range(4))
def test_bytes_that_are_not_ours_are_a_value_error(damaged: bytes) -> None:
    """Damage is one kind of error, whatever the library below says."""
    with pytest.raises(ValueError, match="damaged"):
        unpack(damaged)


def nested(levels: int, innermost: object, *, kind: type = list) -> object:
    """Return a value inside that many lists or objects."""
    for _ in range(levels):
        innermost = [innermost] if kind is list else {"a": innermost}
    return innermost


@pytest.mark.parametrize("kind", [list, dict])
@pytest.mark.parametrize("innermost", [0, "[[[[", None])
def test_depth_counts_lists_and_objects(kind: type, innermost: object) -> None:
    """A value is deeper than n levels if more than n lists or objects stand in each other, whatever is innermost."""
    assert not is_deeper(nested(100, innermost, kind=kind), 100)
    assert is_deeper(nested(101, innermost, kind=kind), 100)
    assert not is_deeper(innermost, 0)


def test_width_is_not_depth() -> None:
    """A long list of small objects is as deep as one of them."""
    assert not is_deeper([{"a": [n]} for n in range(10_000)], 3)
    assert is_deeper([1, 2, {"a": [[]]}, 3], 3)
