"""The queries of lists: what is asked for, and what is refused by name."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.pages import Page
from shared.core import keys
from shared.core.entries import DeliveryEntry, Entry
from shared.core.errors import BadRequest
from shared.core.states import DeliveryState, Status
from shared.lists.queries import (
    DeliveryQuery,
    RecoveryQuery,
    ResponseQuery,
    UsageQuery,
    cursor_to,
    delivery_cursor_to,
    delivery_place_at,
    parse_deliveries,
    parse_recovery,
    parse_responses,
    parse_usage,
    place_at,
)

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


# Deliveries

FAILED = DeliveryEntry(ID, "c", 5_000, "ann", "failed", "hooks.contoso.com")


def test_the_query_of_deliveries_is_read() -> None:
    """A host is compared in small letters."""
    cursor = delivery_cursor_to(FAILED.place)
    query = {"state": "failed", "host": "Hooks.Contoso.com", "limit": "3", "after": cursor}
    expected = DeliveryQuery(3, FAILED.place, DeliveryState.FAILED, "hooks.contoso.com")
    assert parse_deliveries(query) == expected
    assert expected.matches(FAILED)
    assert parse_deliveries({}) == DeliveryQuery(20, None, None, None)


@pytest.mark.parametrize(("state", "host"), [("pending", None), (None, "example.com")])
def test_a_delivery_matches_all_that_is_asked_for(state: str | None, host: str | None) -> None:
    """One whose row says no state has failed, because older versions wrote rows of those alone."""
    query = DeliveryQuery(20, None, DeliveryState(state) if state else None, host)
    assert not query.matches(FAILED)
    assert DeliveryQuery(20, None, DeliveryState.FAILED, None).matches(DeliveryEntry(ID, "c", 1))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("state", "delivered", "'pending', 'failed' or 'blocked'"),
        ("limit", "101", "'limit' must be"),
        ("after", ID, "'next_after'"),
        ("after", "", "'next_after'"),
    ],
)
def test_a_wrong_parameter_of_deliveries_is_named(name: str, value: str, expected: str) -> None:
    """What needs nobody, such as a delivered event, is in no list."""
    with pytest.raises(BadRequest) as refused:
        parse_deliveries({name: value})
    assert (refused.value.param, refused.value.code) == (name, "invalid_value")
    assert expected in refused.value.message


@given(st.integers(0, 9_999_999_999_999), st.sampled_from(["c", "q", "new"]))
def test_a_cursor_of_deliveries_names_its_place(at_ms: int, target: str) -> None:
    """Also of a target of a newer version."""
    place = DeliveryEntry(ID, target, at_ms).place
    assert delivery_place_at(delivery_cursor_to(place)) == place


# Recovery


def test_the_query_of_a_recovery_is_read() -> None:
    """Without an end, all that has failed since a time is begun again."""
    assert parse_recovery({"since": "5"}) == RecoveryQuery(5_000, 9_999_999_999_999)
    query = {"since": "5", "until": "1970-01-01T00:00:09Z", "host": "A.example", "dry_run": "true"}
    assert parse_recovery(query) == RecoveryQuery(5_000, 9_000, "a.example", dry_run=True)


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("since", {}),
        ("until", {"since": "5", "until": "soon"}),
        ("until", {"since": "5", "until": "4.9"}),
        ("dry_run", {"since": "5", "dry_run": "1"}),
    ],
)
def test_a_wrong_parameter_of_a_recovery_is_named(name: str, query: dict[str, str]) -> None:
    """`since` is required, because a default could send every old event again."""
    with pytest.raises(BadRequest) as refused:
        parse_recovery(query)
    assert (refused.value.param, refused.value.code) == (name, "invalid_value")


# Usage

TODAY = date(2027, 1, 31)


def test_the_query_of_usage_is_read() -> None:
    """Up to today, unless another day is given."""
    assert parse_usage({"from": "2027-01-15"}, TODAY) == UsageQuery(date(2027, 1, 15), TODAY)
    query = parse_usage({"from": "2027-01-15", "to": "2027-01-15"}, TODAY)
    assert query == UsageQuery(date(2027, 1, 15), date(2027, 1, 15))
    assert [query.covers(day) for day in ("2027-01-14", "2027-01-15", "2027-01-16")] == [False, True, False]


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("from", {}),
        ("from", {"from": "20270115"}),
        ("from", {"from": "2027-01-15T00:00:00Z"}),
        ("from", {"from": "2027-02-30"}),
        ("from", {"from": "0001-01-01"}),
        ("to", {"from": "2027-01-15", "to": "9999-12-31"}),
        ("to", {"from": "2027-01-15", "to": "2027-01-14"}),
        ("to", {"from": "2026-01-15", "to": "2027-01-16"}),
        ("to", {"from": "2027-02-01"}),
    ],
)
def test_a_wrong_parameter_of_usage_is_named(name: str, query: dict[str, str]) -> None:
    """A year and a day is the longest time, and the end does not come before the beginning."""
    with pytest.raises(BadRequest) as refused:
        parse_usage(query, TODAY)
    assert (refused.value.param, refused.value.code) == (name, "invalid_value")
