"""What requests say about deliveries: which events and which target."""

from typing import Any

import orjson
import pytest

from shared.contract.requests import (
    EVENTS,
    NewResponse,
    parse_object,
    parse_redelivery,
    parse_request,
    reply_queue_in,
)
from shared.core.errors import BadRequest

URL = "https://example.com/hook"


def parsed(**fields: Any) -> NewResponse:
    """Return the checked request for a body with these fields."""
    return parse_request(orjson.dumps(fields))


def test_the_events_are_those_of_the_four_ends() -> None:
    """A callback may ask for the events of the four terminal statuses, and for no others."""
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
    """Each event counts once.

    Clients that cannot add fields write one text into the metadata. The upstream receives neither.
    """
    new = parsed(**fields)
    assert new.callback_events == ("response.failed", "response.completed")
    assert not {"callback_events", "metadata"} & new.for_upstream(None).keys()


@pytest.mark.parametrize("fields", [{}, {"callback_url": URL}, {"callback_url": URL, "callback_events": None}])
def test_without_callback_events_every_event_is_sent(fields: dict[str, Any]) -> None:
    """Without a choice, the list of events is empty, which means every event."""
    assert parsed(**fields).callback_events == ()


@pytest.mark.parametrize(
    "events", [[], "response.failed", ["failed"], ["response.created"], [["response.failed"]], [{}], [None], 7, {}]
)
def test_invalid_callback_events_are_refused(events: object) -> None:
    """The error for an invalid list names the field and the expected values."""
    with pytest.raises(BadRequest, match=r"response\.completed") as refused:
        parsed(callback_url=URL, callback_events=events)
    assert refused.value.param == "callback_events"


def test_callback_events_without_a_callback_are_refused() -> None:
    """`callback_events` needs a callback, because a reply queue gets every event."""
    with pytest.raises(BadRequest, match="callback_url") as refused:
        parsed(reply_to="answers", callback_events=["response.failed"])
    assert refused.value.param == "callback_events"


@pytest.mark.parametrize(
    ("raw", "target"),
    [(b"", None), (b"{}", None), (b'{"target": null}', None), (b'{"target": "callback"}', "callback")],
)
def test_a_redelivery_may_name_its_target(raw: bytes, target: str | None) -> None:
    """Without a body, or without the field, all targets are redelivered."""
    assert parse_redelivery(raw) == target


@pytest.mark.parametrize("raw", [b'{"target": "c"}', b'{"target": ["callback"]}', b"[]", b"x"])
def test_any_other_target_is_refused(raw: bytes) -> None:
    """A target that does not exist and a body that is not an object are refused."""
    with pytest.raises(BadRequest):
        parse_redelivery(raw)


@pytest.mark.parametrize(
    ("fields", "cancels"),
    [
        ({}, False),
        ({"on_disconnect": "continue"}, False),
        ({"on_disconnect": "cancel"}, True),
        ({"metadata": {"on_disconnect": "cancel"}}, True),
        ({"on_disconnect": "continue", "metadata": {"on_disconnect": "cancel"}}, False),
        ({"on_disconnect": None}, False),
    ],
)
def test_a_caller_may_have_the_work_cancelled_when_it_leaves(fields: dict[str, Any], cancels: bool) -> None:
    """The body counts before the metadata, and the upstream gets neither."""
    new = parse_request(orjson.dumps({"model": "m", **fields}))
    assert new.cancels is cancels
    assert "on_disconnect" not in str(new.for_upstream(None))


@pytest.mark.parametrize(
    "fields", [{"on_disconnect": "stop"}, {"metadata": {"on_disconnect": ""}}, {"on_disconnect": 1}]
)
def test_any_other_wish_is_refused(fields: dict[str, Any]) -> None:
    """The field is named."""
    with pytest.raises(BadRequest) as refused:
        parse_request(orjson.dumps({"model": "m", **fields}))
    assert refused.value.param == "on_disconnect"


def test_a_call_that_is_passed_on_may_have_no_body() -> None:
    """It is an empty object then. Anything that is no object is refused."""
    assert parse_object(b"") == {}
    assert parse_object(b'{"a": 1}') == {"a": 1}
    with pytest.raises(BadRequest):
        parse_object(b"[]")


@pytest.mark.parametrize(
    ("request_", "queue"),
    [
        ({"model": 5, "reply_to": "answers"}, "answers"),
        ({"input": 5, "metadata": {"reply_to": "answers"}}, "answers"),
        ({"reply_to": "answers", "metadata": {"reply_to": "others"}}, "answers"),
        ({"reply_to": "No Queue"}, None),
        ({"reply_to": 5}, None),
        ({"metadata": "text"}, None),
        ({}, None),
        ([], None),
    ],
)
def test_a_request_that_is_wrong_otherwise_may_name_where_to_say_so(request_: object, queue: str | None) -> None:
    """Its sender is answered there. What is no name of a queue is ignored."""
    assert reply_queue_in(request_) == queue
