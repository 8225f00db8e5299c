"""What a request says about deliveries: which events, which target, since when."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.parameters import parse_since
from shared.contract.requests import EVENTS, NewResponse, parse_redelivery, parse_request
from shared.core.errors import BadRequest

URL = "https://example.com/hook"


def parsed(**fields: Any) -> NewResponse:
    """Return the checked request of these fields."""
    return parse_request(orjson.dumps(fields))


def test_the_events_are_those_of_the_four_ends() -> None:
    """Nothing else is ever sent."""
    assert sorted(EVENTS) == [f"response.{end}" for end in ("cancelled", "completed", "failed", "incomplete")]


@pytest.mark.parametrize(
    "fields",
    [
        {"callback_url": URL, "callback_events": ["response.failed", "response.completed", "response.failed"]},
        {"metadata": {"callback_url": URL, "callback_events": "response.failed, response.completed"}},
        {"callback_url": URL, "metadata": {"callback_events": "response.failed,response.completed"}},
    ],
)
def test_a_callback_names_its_events_in_the_body_or_the_metadata(fields: dict[str, Any]) -> None:
    """Each once; clients that cannot add fields write them as one text. The upstream is told of none of it."""
    new = parsed(**fields)
    assert new.callback_events == ("response.failed", "response.completed")
    assert not {"callback_events", "metadata"} & new.for_upstream(None).keys()


@pytest.mark.parametrize("fields", [{}, {"callback_url": URL}, {"callback_url": URL, "callback_events": None}])
def test_without_a_choice_there_is_none(fields: dict[str, Any]) -> None:
    """Every event is sent then."""
    assert parsed(**fields).callback_events == ()


@pytest.mark.parametrize(
    "events", [[], "response.failed", ["failed"], ["response.created"], [["response.failed"]], [{}], [None], 7, {}]
)
def test_a_choice_that_is_none_is_refused(events: object) -> None:
    """The field is named, and what was expected."""
    with pytest.raises(BadRequest, match=r"response\.completed") as refused:
        parsed(callback_url=URL, callback_events=events)
    assert refused.value.param == "callback_events"


def test_events_without_a_callback_are_a_mistake() -> None:
    """The reply queue gets every event."""
    with pytest.raises(BadRequest, match="callback_url") as refused:
        parsed(reply_to="answers", callback_events=["response.failed"])
    assert refused.value.param == "callback_events"


@pytest.mark.parametrize(
    ("raw", "target"),
    [(b"", None), (b"{}", None), (b'{"target": null}', None), (b'{"target": "callback"}', "callback")],
)
def test_a_redelivery_may_name_its_target(raw: bytes, target: str | None) -> None:
    """Without a body, or without the field, it is all of them."""
    assert parse_redelivery(raw) == target


@pytest.mark.parametrize("raw", [b'{"target": "c"}', b'{"target": ["callback"]}', b"[]", b"x"])
def test_any_other_target_is_refused(raw: bytes) -> None:
    """There are two."""
    with pytest.raises(BadRequest):
        parse_redelivery(raw)


@pytest.mark.parametrize(
    ("text", "moment_ms"),
    [
        ("1800000000", 1_800_000_000_000),
        ("1800000000.25", 1_800_000_000_250),
        ("2027-01-15T08:00:00Z", 1_800_000_000_000),
        ("2027-01-15T09:00:00+01:00", 1_800_000_000_000),
        ("2027-01-15T09:00:00 01:00", 1_800_000_000_000),  # a plus sign that nobody encoded
        ("0", 0),
        ("1970-01-01T00:00:00+14:00", 0),
    ],
)
def test_a_time_is_unix_seconds_or_iso(text: str, moment_ms: int) -> None:
    """With its zone."""
    assert parse_since({"since": text}) == moment_ms


@pytest.mark.parametrize(
    "text", ["", "yesterday", "-1", "1e9", "12345678901", "2027-01-15", "2027-01-15T08:00:00", "0001-01-01T00:00:00Z"]
)
def test_any_other_time_is_refused(text: str) -> None:
    """The parameter is named, with an example."""
    with pytest.raises(BadRequest, match="ISO 8601") as refused:
        parse_since({"since": text})
    assert refused.value.param == "since"


@given(st.text())
def test_no_text_makes_the_time_fail(text: str) -> None:
    """It is a time or a clear refusal."""
    try:
        assert 0 <= parse_since({"since": text}) < 10**13 * 100
    except BadRequest:
        return
