"""Names: ids and their shards, continuation tokens, derived ids."""

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core import ids
from shared.core.ids import SHARDS, Cursor, derived_id, event_id, is_id, new_id, read_token, shard_of, tag, token_for

ID = "resp_0123456789abcdef0123456789abcdef"

response_ids = st.binary(min_size=16, max_size=16).map(lambda digits: f"resp_{digits.hex()}")
event_numbers = st.none() | st.integers(0, 2**63)


def token_of(data: bytes) -> str:
    """Return what a forger who knows the format would make of these bytes."""
    return "ct_" + base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_a_new_id_is_an_id_in_a_shard_and_never_the_same() -> None:
    """Fresh ids have the public form, fall into the sixteen shards and do not repeat."""
    made = {new_id() for _ in range(500)}
    assert len(made) == 500
    assert all(re.fullmatch("resp_[0-9a-f]{32}", one) and is_id(one) for one in made)
    assert {shard_of(one) for one in made} == set(SHARDS)


@pytest.mark.parametrize(
    "text", ["", "resp_", ID[:-1], ID + "0", ID.upper(), ID + "\n", "resp_" + "g" * 32, f" {ID}", "resp_" + "٣" * 32]
)
def test_what_is_not_of_the_form_is_no_id(text: str) -> None:
    """Shorter, longer, upper case, a line end, other digits: none of them names a response."""
    assert not is_id(text)
    assert read_token(text) is None


@given(st.lists(st.binary(max_size=8), max_size=4), st.lists(st.binary(max_size=8), max_size=4))
def test_a_derived_id_is_equal_only_for_equal_parts(some: list[bytes], others: list[bytes]) -> None:
    """The same parts give the same id; parts that only join to the same bytes do not."""
    assert is_id(derived_id(*some))
    assert (derived_id(*some) == derived_id(*others)) == (some == others)


@given(response_ids, event_numbers)
def test_a_token_reads_back_as_what_it_was_made_of(response_id: str, after: int | None) -> None:
    """A continuation token names its response and, where it has one, the last event seen: 0 is a number too."""
    assert read_token(token_for(response_id, after)) == Cursor(response_id, after)


def test_an_id_is_read_like_a_token() -> None:
    """Where a token may stand, the id of the response may stand too."""
    assert read_token(ID) == Cursor(ID)


@given(st.text(max_size=70) | st.text("ABYZaz09-_=+/", max_size=62).map("ct_".__add__))
def test_any_text_is_a_token_of_ours_or_nothing(text: str) -> None:
    """Reading never raises, and two different texts never name the same place."""
    cursor = read_token(text)
    assert cursor is None or text in (cursor.id, token_for(cursor.id, cursor.after))


@pytest.mark.parametrize(
    "text",
    [
        token_for(ID) + "=",
        token_for(ID)[:-1],
        token_for(ID) + "A" * 60,
        token_for(ID).replace("ct_", "CT_"),
        token_of(b"\x02" + bytes(16)),
        token_of(b"\x01" + bytes(15)),
        token_of(b"\x01" + bytes(16) + b"\x00\x07"),
        "ct_é",
        "ct_\ud800",
    ],
)
def test_a_damaged_or_foreign_token_names_nothing(text: str) -> None:
    """Padding, a cut, a surplus, another version, a number with leading zeros, foreign characters: none is ours."""
    assert read_token(text) is None


def test_the_id_of_an_event_stays_the_same() -> None:
    """Repeating a step makes no second event: the id follows from the response and the type alone."""
    assert event_id(ID, "response.completed") == event_id(ID, "response.completed")
    assert event_id(ID, "response.completed") != event_id(ID, "response.failed")
    assert re.fullmatch("evt_[0-9a-f]{32}", event_id(ID, "response.failed"))


def test_a_tag_is_fit_for_a_row_key() -> None:
    """However long and odd an upstream's token is, its tag is sixteen hex digits."""
    assert re.fullmatch("[0-9a-f]{16}", tag("/\\#?|\n" * 100))


def test_there_are_sixteen_shards() -> None:
    """The number is fixed: ids that are out there carry it."""
    assert ids.SHARDS == "0123456789abcdef"
