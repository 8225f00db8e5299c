"""Ids and their shards, derived ids, and continuation tokens."""

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
    """Return these bytes in the form of a token, as a forger who knows the format would."""
    return "ct_" + base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_new_ids_are_unique_and_use_every_shard() -> None:
    """New ids have the public form, use all sixteen shards and do not repeat."""
    made = {new_id() for _ in range(500)}
    assert len(made) == 500
    assert all(re.fullmatch("resp_[0-9a-f]{32}", one) and is_id(one) for one in made)
    assert {shard_of(one) for one in made} == set(SHARDS)


@pytest.mark.parametrize(
    "text", ["", "resp_", ID[:-1], ID + "0", ID.upper(), ID + "\n", "resp_" + "g" * 32, f" {ID}", "resp_" + "٣" * 32]
)
def test_text_of_another_form_is_not_an_id(text: str) -> None:
    """Text that is shorter, longer, in upper case, with a line end or with other digits does not name a response."""
    assert not is_id(text)
    assert read_token(text) is None


@given(st.lists(st.binary(max_size=8), max_size=4), st.lists(st.binary(max_size=8), max_size=4))
def test_derived_ids_are_equal_only_for_equal_parts(some: list[bytes], others: list[bytes]) -> None:
    """The same parts give the same id. Other parts give another id, even if they join to the same bytes."""
    assert is_id(derived_id(*some))
    assert (derived_id(*some) == derived_id(*others)) == (some == others)


@given(response_ids, event_numbers)
def test_a_token_reads_back_unchanged(response_id: str, after: int | None) -> None:
    """A continuation token names its response and, if it has one, the last event seen. Event 0 is kept, too."""
    assert read_token(token_for(response_id, after)) == Cursor(response_id, after)


def test_an_id_is_accepted_in_place_of_a_token() -> None:
    """The id of a response is a cursor without an event number."""
    assert read_token(ID) == Cursor(ID)


@given(st.text(max_size=70) | st.text("ABYZaz09-_=+/", max_size=62).map("ct_".__add__))
def test_any_text_is_one_of_our_tokens_or_refused(text: str) -> None:
    """Reading never raises, and two different texts never name the same position."""
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
def test_a_damaged_or_foreign_token_is_refused(text: str) -> None:
    """A token with padding, missing or extra bytes, another version, leading zeros or foreign characters is refused."""
    assert read_token(text) is None


def test_the_id_of_an_event_is_constant() -> None:
    """The id depends on the response and the type only, so a repeated step does not create a second event."""
    assert event_id(ID, "response.completed") == event_id(ID, "response.completed")
    assert event_id(ID, "response.completed") != event_id(ID, "response.failed")
    assert re.fullmatch("evt_[0-9a-f]{32}", event_id(ID, "response.failed"))


def test_a_tag_can_be_part_of_a_row_key() -> None:
    """The tag of any upstream token, however long or odd, is sixteen hex digits."""
    assert re.fullmatch("[0-9a-f]{16}", tag("/\\#?|\n" * 100))


def test_there_are_sixteen_shards() -> None:
    """The number of shards is fixed, because published ids contain their shard."""
    assert ids.SHARDS == "0123456789abcdef"
