"""The text of a log line: JSON of any value, in ASCII, and never longer than 16 KiB."""

from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.telemetry.lines import MAX_LINE, encode_line


class Kind(StrEnum):
    """A word of our own."""

    POLL = "poll"


def shown(**fields: Any) -> dict[str, Any]:
    """Return what a reader of the line finds, after its event."""
    line: dict[str, Any] = orjson.loads(encode_line({"event": "a.b", **fields}))
    assert line.pop("event") == "a.b"
    return line


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        (["a", 1], ["a", 1]),
        ({"a": {"b": ()}}, {"a": {"b": []}}),
        ({1: "a", None: "b"}, {"1": "a", "null": "b"}),
        (Kind.POLL, "poll"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Path("/a"), "/a"),
        (b"bytes", "b'bytes'"),
        ({"only"}, "{'only'}"),
        (ValueError("100 %"), "100 %"),
        (float("nan"), None),
        ("half \ud83d a pair", "half \\ud83d a pair"),
        (2**70, "<int>"),
        (["half \ud83d a pair"], "<list>"),
        ({(1, 2): {"a": object}}, "<dict>"),
    ],
)
def test_a_value_of_any_type_is_written(value: object, expected: object) -> None:
    """A value that JSON cannot express is its `str`, or the name of its type. The other fields are as they are."""
    assert shown(before=1, value=value, after="ü") == {"before": 1, "value": expected, "after": "ü"}


def test_a_value_that_contains_itself_is_written() -> None:
    """Nesting has a limit, and above it the name of the type is enough."""
    endless: list[Any] = []
    endless.append(endless)
    assert shown(endless=endless, kept=1) == {"endless": "<list>", "kept": 1}


texts = st.text('a"\\/\n\r\t\0\x7f%{}é\u2028\x85😀', max_size=8)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


@given(texts, st.dictionaries(st.text("abcdef", min_size=8), json_values, max_size=4))
def test_every_field_can_be_read_back(event: str, fields: dict[str, Any]) -> None:
    """A line is one line for every reader, is ASCII, and has exactly the event and the fields that were given."""
    line = encode_line({"event": event, **fields})
    assert (line.splitlines(), line.isascii()) == ([line[:-1]], True)
    assert orjson.loads(line) == {"event": event, **fields}


# Length


@given(
    st.dictionaries(
        st.text("ab", min_size=1, max_size=30),
        st.tuples(
            st.sampled_from(["x", "é", "😀", '"', "\\", "\n", "\ud83d"]), st.sampled_from([0, 10, 5_000, 20_000])
        ),
        max_size=6,
    )
)
def test_no_line_is_longer_than_16_kib(fields: dict[str, tuple[str, int]]) -> None:
    """In bytes and with its newline, whatever the characters. A field that is not named in `cut` is complete."""
    given_texts = {name: character * count for name, (character, count) in fields.items()}
    line = encode_line({"event": "a.b", **given_texts})
    assert len(line.encode()) <= MAX_LINE
    found = orjson.loads(line)
    cut = found.pop("cut", [])
    assert found.keys() == {"event", *fields}
    whole = [name for name in fields if name not in cut and "\ud83d" not in given_texts[name]]
    assert {name: found[name] for name in whole} == {name: given_texts[name] for name in whole}


@pytest.mark.parametrize(("length", "is_cut"), [(MAX_LINE, False), (MAX_LINE + 1, True)])
def test_a_line_of_exactly_16_kib_is_not_cut(length: int, is_cut: bool) -> None:
    """The newline counts."""
    line = encode_line({"event": "a.b", "text": "x" * (length - len('{"event":"a.b","text":""}\n'))})
    assert ("cut" in orjson.loads(line), len(line) == MAX_LINE) == (is_cut, not is_cut)


def test_only_the_longest_fields_are_cut() -> None:
    """Both ends of a cut field are kept, and `cut` names it. A field that is no text is cut as its JSON."""
    found = shown(response="resp_1", places="begin" + "x" * 50_000 + "end", targets=list(range(20_000)))
    assert (found["response"], sorted(found["cut"])) == ("resp_1", ["places", "targets"])
    assert (found["places"][:6], found["places"][-4:]) == ("beginx", "xend")
    assert (found["targets"][:6], found["targets"][-6:]) == ("[0,1,2", "19999]")


def test_a_line_of_millions_of_characters_is_cut_quickly() -> None:
    """The work is bounded by the length of the fields, not by its square."""
    assert shown(text="x" * 8_000_000, other="é" * 1_000_000).keys() == {"text", "other", "cut"}


def test_fields_without_number_leave_the_event() -> None:
    """A line whose names alone are too long has only its first field, at most 64 characters of it."""
    found = orjson.loads(encode_line({"event": "e" * 100, **{f"name_{number}": 1 for number in range(5_000)}}))
    assert found == {"event": "e" * 64, "cut": ["*"]}
