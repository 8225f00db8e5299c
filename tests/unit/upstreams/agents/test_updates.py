"""What is read from Agent Framework's updates and responses: deltas, usage, requests for input, and the result."""

from typing import Any

import pytest
from agent_framework import AgentResponse, AgentResponseUpdate, ChatResponse, ChatResponseUpdate, Content, Message
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseError,
    ResponseFailedEvent,
    ResponseTextDeltaEvent,
)
from openai.types.responses.response import IncompleteDetails

from shared.core.states import Status
from shared.upstreams.agents.output_events import Delta, DeltaKind
from shared.upstreams.agents.updates import (
    COMPLETED,
    Result,
    contents,
    deltas,
    needs_input,
    result_of,
    text_of,
    usage_details,
)

TEXT, USAGE = Content.from_text("a"), Content.from_usage({"input_token_count": 5})
REFUSAL = {"model_output_kind": "refusal"}
CALL = Content.from_function_call("c", "delete", arguments="{}")
INCOMPLETE_LENGTH = Result(Status.INCOMPLETE, {"incomplete_details": {"reason": "max_output_tokens"}})


def update(*given: Content, message_id: str | None = None, **fields: Any) -> AgentResponseUpdate:
    """Return an update of a stream."""
    return AgentResponseUpdate(contents=list(given), role="assistant", message_id=message_id, **fields)


def whole(*messages: list[Content], **fields: Any) -> AgentResponse[Any]:
    """Return a whole response with a message for each list."""
    return AgentResponse(messages=[Message("assistant", given) for given in messages], **fields)


def only(content: Content, message: str = "m") -> Delta:
    """Return the only delta of a content."""
    (delta,) = deltas(message, content)
    return delta


# Contents


def test_the_contents_of_an_update_belong_to_its_message() -> None:
    """An update may have no message id. The name is then empty."""
    assert contents(update(TEXT, USAGE, message_id="m1")) == [("m1", TEXT), ("m1", USAGE)]
    assert contents(update(TEXT)) == [("", TEXT)]
    assert contents(update()) == []


def test_the_contents_of_a_whole_response_belong_to_the_place_of_their_message() -> None:
    """Messages of a whole response may have no ids, and each is a separate item of the output."""
    assert contents(whole([TEXT, CALL], [], [USAGE])) == [("0", TEXT), ("0", CALL), ("2", USAGE)]
    assert contents(whole()) == []


# Deltas


def test_a_text_is_a_delta_of_its_message() -> None:
    """All texts of one message belong to one item."""
    assert only(TEXT) == Delta(DeltaKind.TEXT, "a", "m")
    assert only(Content.from_text(""), "") == Delta(DeltaKind.TEXT, "", "")


def test_a_refusal_is_a_text_that_is_marked() -> None:
    """Only the mark of the framework makes a text a refusal. Other properties do not."""
    assert only(Content.from_text("No.", additional_properties=REFUSAL)).kind is DeltaKind.REFUSAL
    for properties in ({"model_output_kind": "text"}, {"refusal": True}, {}):
        assert only(Content.from_text("No.", additional_properties=properties)).kind is DeltaKind.TEXT


def test_a_reasoning_is_named_by_its_own_id() -> None:
    """A model may reason in several items of one message."""
    assert only(Content.from_text_reasoning(id="r", text="Hm")) == Delta(DeltaKind.REASONING, "Hm", "r")
    assert only(Content.from_text_reasoning()) == Delta(DeltaKind.REASONING, "", "")


def test_the_arguments_of_a_call_may_arrive_as_text_or_as_an_object() -> None:
    """Parts of a text follow one another. An object is always whole, and becomes JSON."""
    for text in ("", "{", "{}"):
        assert only(Content.from_function_call("c", "t", arguments=text)) == Delta(DeltaKind.CALL, text, "c", "t")
    given = Content.from_function_call("c", "t", arguments={"city": "Köln", "n": 1})
    assert only(given) == Delta(DeltaKind.CALL, '{"city":"Köln","n":1}', "c", "t", is_whole=True)
    assert only(Content.from_function_call("c", "t", arguments={})).text == "{}"
    assert only(Content.from_function_call("c", "t")) == Delta(DeltaKind.CALL, "", "c", "t")


def test_later_parts_of_a_call_need_not_name_it() -> None:
    """Some clients name a call only in its first part."""
    assert only(Content("function_call", arguments="}")) == Delta(DeltaKind.CALL, "}", "", "")


@pytest.mark.parametrize(
    ("result", "expected"),
    [("rain", "rain"), ([TEXT, Content.from_text("b")], "a\nb"), ({"mm": 3}, '{"mm": 3}'), (None, "")],
)
def test_a_result_of_a_tool_is_named_by_its_call(result: object, expected: str) -> None:
    """The Responses API has a string as the output of a call."""
    assert only(Content.from_function_result("c", result=result)) == Delta(DeltaKind.RESULT, expected, "c")


@pytest.mark.parametrize(
    "content",
    [
        Content.from_text("ab", merge_mode="replace"),
        Content.from_text("ab", merge_mode="replace", additional_properties=REFUSAL),
        Content.from_text_reasoning(id="r", text="ab", merge_mode="replace"),
        Content.from_function_call("c", "t", arguments="ab", merge_mode="replace"),
    ],
    ids=["text", "refusal", "reasoning", "call"],
)
def test_a_content_that_replaces_is_whole(content: Content) -> None:
    """Clients repeat an item at its end, with `merge_mode="replace"`. Without that, a content is a part."""
    assert (only(content).is_whole, only(content).text) == (True, "ab")


@pytest.mark.parametrize(
    "content", [USAGE, Content.from_uri("https://a/b.png", media_type="image/png"), Content.from_error()]
)
def test_other_contents_have_no_delta(content: Content) -> None:
    """Usage, images and errors are not part of the text of an item."""
    assert list(deltas("m", content)) == []


# Usage and requests for input


def test_usage_is_found_among_other_contents() -> None:
    """Each report of usage is returned, in order. An empty report is left out."""
    more = Content.from_usage({"output_token_count": 2})
    found = contents(update(TEXT, USAGE, Content.from_usage({}), more))
    assert usage_details(found) == [{"input_token_count": 5}, {"output_token_count": 2}]


def test_an_approval_that_is_asked_for_needs_a_user() -> None:
    """A tool that needs an approval, and a consent, cannot go on without a user. A call or a text can."""
    approval = Content.from_function_approval_request("r", CALL)
    consent = Content.from_oauth_consent_request("https://a.example")
    for content in (approval, consent):
        assert needs_input(contents(update(TEXT, content)))
        assert needs_input(contents(whole([TEXT], [content])))
    assert not needs_input(contents(update(TEXT, CALL, USAGE)))
    assert not needs_input([])


# Results


def response(**fields: Any) -> Response:
    """Return a response object of the SDK, with these fields only."""
    return Response.model_construct(id="up_1", **fields)


def event(kind: type[Any], **fields: Any) -> Any:
    """Return an event of the SDK's stream."""
    return kind.model_construct(sequence_number=7, **fields)


FAILED = response(status="failed", error=ResponseError(code="server_error", message="It broke."))
FAILED_RESULT = Result(Status.FAILED, {"error": {"code": "server_error", "message": "It broke."}})
CUT = response(status="incomplete", incomplete_details=IncompleteDetails(reason="max_output_tokens"))

RESULTS: list[tuple[Response, Result]] = [
    (response(status="completed"), COMPLETED),
    (FAILED, FAILED_RESULT),
    (
        response(status="failed", error=ResponseError.model_construct(code=429, message=None)),
        Result(Status.FAILED, {"error": {"code": "429"}}),
    ),
    (response(status="failed", error=None), Result(Status.FAILED, {"error": {}})),
    (response(status="cancelled"), Result(Status.FAILED, {"error": {}})),
    (CUT, INCOMPLETE_LENGTH),
    (response(status="incomplete"), Result(Status.INCOMPLETE, {"incomplete_details": {}})),
]


@pytest.mark.parametrize(("raw", "expected"), RESULTS)
def test_the_sdks_response_shows_how_the_answer_ended(raw: Response, expected: Result) -> None:
    """The framework hides a failure. The SDK's object is inside the answer, at any of four levels."""
    chat: ChatResponse[Any] = ChatResponse(messages=[], raw_representation=raw)
    assert result_of(whole(raw_representation=raw)) == expected
    assert result_of(whole(raw_representation=chat)) == expected
    assert result_of(whole(raw_representation=[response(status="in_progress"), chat])) == expected
    outer = whole(raw_representation=whole(raw_representation=chat))
    assert result_of(whole(raw_representation=outer)) == expected


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (event(ResponseCompletedEvent, response=response(status="completed")), COMPLETED),
        (event(ResponseFailedEvent, response=FAILED), FAILED_RESULT),
        (event(ResponseTextDeltaEvent, delta="a"), None),
    ],
)
def test_the_last_event_of_a_stream_shows_how_the_answer_ended(sent: Any, expected: Result | None) -> None:
    """The event holds the SDK's response. Other events have none."""
    assert result_of(update(raw_representation=ChatResponseUpdate(raw_representation=sent))) == expected


@pytest.mark.parametrize("status", ["queued", "in_progress", None, "unheard_of"])
def test_an_unfinished_response_shows_no_result(status: str | None) -> None:
    """Work that goes on has not ended, and a status that we do not know says nothing."""
    assert result_of(whole(raw_representation=response(status=status))) is None


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("length", INCOMPLETE_LENGTH),
        ("content_filter", Result(Status.INCOMPLETE, {"incomplete_details": {"reason": "content_filter"}})),
        ("stop", None),
        ("tool_calls", None),
        (None, None),
    ],
)
def test_an_answer_that_was_cut_says_so_in_its_finish_reason(reason: Any, expected: Result | None) -> None:
    """Chat clients without the Responses API have only a finish reason. It becomes the contract's reason."""
    assert result_of(update(TEXT, finish_reason=reason)) == expected
    assert result_of(whole([TEXT], finish_reason=reason)) == expected


def test_the_sdks_response_counts_more_than_the_finish_reason() -> None:
    """A failure is not hidden by what the framework has made of it."""
    assert result_of(whole(raw_representation=FAILED, finish_reason="length")) == FAILED_RESULT


def test_an_answer_without_any_sign_has_no_result() -> None:
    """Only its end shows that it is complete."""
    assert result_of(update(TEXT)) is None
    assert result_of(whole([TEXT], raw_representation=[])) is None
    assert result_of(whole([TEXT], raw_representation={"status": "failed"})) is None


# Texts


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, ""), ("", ""), ("a", "a"), ('"a"', '"a"'), (0, "0"), (False, "false"), ([], "[]"), ({1: "a"}, '{"1":"a"}')],
)
def test_a_value_becomes_text(value: object, expected: str) -> None:
    """A string is the text itself. Other values become JSON, and None is empty."""
    assert text_of(value) == expected


def test_a_value_that_json_has_no_form_for_becomes_its_string() -> None:
    """A tool may return anything."""
    assert text_of({"of": Status.COMPLETED, "kind": complex(1, 2)}) == '{"of":"completed","kind":"(1+2j)"}'


@given(st.text('a"\\{é'))
def test_a_text_is_never_changed(value: str) -> None:
    """A string is not encoded a second time."""
    assert text_of(value) == value
