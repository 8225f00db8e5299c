"""The queries of lists: what is asked for, and what is refused by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.pages import Page
from shared.core import keys
from shared.core.entries import Entry
from shared.core.errors import BadRequest
from shared.core.states import Status
from shared.lists.queries import ResponseQuery, cursor_to, parse_responses, place_at

ID = "resp_0123456789abcdef0123456789abcdef"
ENTRY = Entry(ID, 5_000, "ann", Status.FAILED, model="m")


def test_without_parameters_everything_is_asked_for() -> None:
    """Twenty a page, newest first, as in OpenAI's lists."""
    assert parse_responses({}) == ResponseQuery(Page(20, descending=True, after=None))


def test_every_parameter_is_read() -> None:
    """A time is given in unix seconds or in ISO 8601."""
    given_query = {
        "status": "in_progress",
        "model": "m",
        "created_after": "1970-01-01T00:00:05Z",
        "limit": "3",
        "order": "asc",
        "after": ID,
    }
    assert parse_responses(given_query) == ResponseQuery(Page(3, False, ID), Status.IN_PROGRESS, "m", 5_000)
    assert parse_responses({"created_after": "5"}).created_after_ms == 5_000


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("status", "done", "'queued', 'in_progress', 'completed', 'failed', 'incomplete' or 'cancelled'"),
        ("status", "", "'status' must be"),
        ("created_after", "yesterday", "'created_after' must be a time"),
        ("created_after", "", "'created_after' must be a time"),
        ("limit", "0", "'limit' must be an integer from 1 to 100"),
        ("order", "up", "'order' must be 'asc' or 'desc'"),
    ],
)
def test_a_wrong_parameter_is_named(name: str, value: str, expected: str) -> None:
    """The error says which parameter is wrong and what was expected."""
    with pytest.raises(BadRequest) as refused:
        parse_responses({name: value})
    assert (refused.value.param, refused.value.code) == (name, "invalid_value")
    assert expected in refused.value.message


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ({}, True),
        ({"status": "failed", "model": "m", "created_after": "4"}, True),
        ({"status": "completed"}, False),
        ({"model": "M"}, False),
        ({"created_after": "5"}, False),
    ],
)
def test_an_entry_matches_all_that_is_asked_for(query: dict[str, str], matches: bool) -> None:
    """`created_after` excludes the moment itself."""
    assert parse_responses(query).matches(ENTRY) is matches


@given(st.integers(0, 9_999_999_999_999), st.sampled_from([ID, ""]))
def test_a_cursor_names_its_place(created_ms: int, response_id: str) -> None:
    """The end of a window has no id."""
    place = keys.entry_place(created_ms, response_id)
    assert place_at(cursor_to(place)) == place


@pytest.mark.parametrize("text", ["", ID, "1", f"-1.{ID}", f"{'1' * 14}.{ID}", "1.resp_x", f"1.{ID}x", f"1.{ID}\n"])
def test_any_other_text_is_no_cursor(text: str) -> None:
    """The id of a response is none either."""
    assert place_at(text) is None
