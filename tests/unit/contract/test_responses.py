"""The response object: every field always there, and each status as the contract's table says."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response
from openai.types.webhooks import ResponseCompletedWebhookEvent

from shared.contract.responses import (
    MAX_MESSAGE,
    echo,
    encode,
    encode_for_queue,
    failure,
    present,
    present_known,
    webhook_event,
)
from shared.core.ids import event_id, read_token, token_for
from shared.core.records import Record, RequestInfo
from shared.core.states import Status, event_type

ID = "resp_0123456789abcdef0123456789abcdef"
BORN_MS = 1_800_000_000_000
ENDED_MS = BORN_MS + 5_678
NEW = Record(ID, "ann", BORN_MS, BORN_MS + 60_000, request=RequestInfo(store=True, background=True, model="sim-2s"))
TERMINAL = [status for status in Status if status.is_terminal]

# What the strictest reader, the Open Responses suite, requires.
REQUIRED = """
    id object created_at status completed_at error incomplete_details instructions max_output_tokens max_tool_calls
    model output parallel_tool_calls previous_response_id prompt_cache_key reasoning safety_identifier service_tier
    store background temperature text tool_choice tools top_logprobs top_p presence_penalty frequency_penalty
    truncation usage metadata
"""
FIELDS = set(REQUIRED.split())
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "hello", "annotations": []}],
}
MINIMAL = {"id": "up_1", "model": "sim-2s"}
NULLED = {**dict.fromkeys(FIELDS), **MINIMAL}
FULL = {
    **MINIMAL,
    "object": "response",
    "created_at": 1,
    "status": "in_progress",
    "background": False,
    "completed_at": 2,
    "continuation_token": "theirs",
    "error": {"code": "server_error", "message": "broken"},
    "incomplete_details": {"reason": "max_output_tokens"},
    "instructions": "be brief",
    "max_output_tokens": 100,
    "metadata": {"theirs": "yes"},
    "output": [MESSAGE],
    "parallel_tool_calls": False,
    "previous_response_id": "up_0",
    "reasoning": {"effort": "low"},
    "service_tier": "flex",
    "store": True,
    "temperature": 0.0,
    "text": {"format": {"type": "json_object"}},
    "tool_choice": "none",
    "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True}],
    "top_p": 0.5,
    "truncation": "auto",
    "usage": {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 2},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 7,
    },
}
ANSWERS = {"minimal": MINIMAL, "nulls, as Azure's while queued": NULLED, "full": FULL}

every_status = pytest.mark.parametrize("status", Status)
every_answer = pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)


def shown(status: Status, answer: Mapping[str, Any], record: Record = NEW, base: dict[str, Any] | None = None) -> Any:
    """Return the object as a caller reads it of a record that has that status."""
    ended_ms = ENDED_MS if status.is_terminal else 0
    record = replace(record, status=status, ended_ms=ended_ms)
    return orjson.loads(encode(present(record, status, answer, base or {}, BORN_MS + 1_000)))


@every_status
@every_answer
def test_every_field_is_always_there(status: Status, answer: dict[str, Any]) -> None:
    """All 31 that any reader requires, the continuation token, and what else the upstream says."""
    response = shown(status, answer)
    assert len(FIELDS) == 31
    assert response.keys() == FIELDS | {"continuation_token"} | answer.keys()


@every_status
@every_answer
def test_the_sdk_reads_it(status: Status, answer: dict[str, Any]) -> None:
    """The official types accept it under full validation, which the SDK itself does not even do."""
    response = Response.model_validate(shown(status, answer))
    assert (response.id, response.status, response.created_at) == (ID, status, BORN_MS // 1000)
    assert isinstance(response.output_text, str)


@every_status
@every_answer
def test_the_status_decides_what_else_is_said(status: Status, answer: dict[str, Any]) -> None:
    """The contract's table: the time only when completed, an error only when failed, no output when cancelled."""
    response = shown(status, answer)
    assert response["completed_at"] == (ENDED_MS // 1000 if status is Status.COMPLETED else None)
    assert (response["error"] is not None) == (status is Status.FAILED)
    assert isinstance(response["output"], list)
    if status is Status.CANCELLED:
        assert response["output"] == []
    if status is not Status.INCOMPLETE:
        assert response["incomplete_details"] is None


def test_an_incomplete_response_says_why() -> None:
    """The upstream's reason is passed on."""
    assert shown(Status.INCOMPLETE, FULL)["incomplete_details"] == {"reason": "max_output_tokens"}


@every_status
def test_a_token_is_there_exactly_while_there_is_something_to_continue(status: Status) -> None:
    """It names the response; a terminal one has none, whatever the upstream wrote there."""
    token = shown(status, FULL)["continuation_token"]
    assert token == (None if status.is_terminal else token_for(ID))
    assert status.is_terminal or read_token(token)


@every_status
def test_who_it_is_comes_from_us(status: Status) -> None:
    """Id, times, metadata, previous id, store and background are the caller's, not the upstream's."""
    record = replace(
        NEW, request=replace(NEW.request, metadata={"callback_url": "u"}, previous_id="resp_0", store=False)
    )
    response = shown(status, FULL, record)
    names = ("id", "created_at", "metadata", "previous_response_id", "store", "background", "status", "object")
    expected = [ID, BORN_MS // 1000, {"callback_url": "u"}, "resp_0", False, True, status, "response"]
    assert [response[name] for name in names] == expected


@every_status
def test_unfinished_work_is_background_work(status: Status) -> None:
    """Whoever gets an unfinished answer to a request in the foreground needs the flag to go on."""
    response = shown(status, MINIMAL, replace(NEW, request=replace(NEW.request, background=False)))
    assert response["background"] is not status.is_terminal


def test_the_answer_comes_before_what_was_known_and_that_before_defaults() -> None:
    """A null of the upstream takes back nothing."""
    base = {"temperature": 0.3, "top_p": 0.7, "instructions": "base", "user": "u"}
    answer = {"temperature": 0.9, "top_p": None, "beyond": 1}
    response = shown(Status.IN_PROGRESS, answer, base=base)
    names = ("temperature", "top_p", "instructions", "user", "beyond", "truncation")
    assert [response[name] for name in names] == [0.9, 0.7, "base", "u", 1, "disabled"]


@pytest.mark.parametrize("wrong", [None, "broken", 7, [], {}, {"code": None, "message": None}])
def test_a_failure_without_words_gets_some(wrong: object) -> None:
    """`error` has code and message however little the upstream said."""
    error = shown(Status.FAILED, {"error": wrong})["error"]
    assert error == {"code": "server_error", "message": "The upstream gave no reason."}


def test_a_failure_of_ours_is_an_answer() -> None:
    """It says why, and shows no output."""
    response = shown(Status.FAILED, failure("deadline_exceeded", "Too late."), base={"output": [MESSAGE]})
    assert response["error"] == {"code": "deadline_exceeded", "message": "Too late."}
    assert response["output"] == []


NO_USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, None),
        ("much", None),
        ([], None),
        ({}, NO_USAGE),
        (dict.fromkeys(NO_USAGE), NO_USAGE),
        ({"input_tokens": 5, "input_tokens_details": [], "output_tokens_details": "x"}, NO_USAGE | {"input_tokens": 5}),
        (
            {"input_tokens_details": {"cached_tokens": None, "audio": 1}},
            NO_USAGE | {"input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0, "audio": 1}},
        ),
        (FULL["usage"], FULL["usage"]),
    ],
)
def test_usage_is_whole_or_null(usage: object, expected: object) -> None:
    """Older upstreams leave details out; readers require them."""
    assert shown(Status.COMPLETED, {"usage": usage})["usage"] == expected


@pytest.mark.parametrize("output", [None, "text", {}, 7])
@every_status
def test_output_is_a_list_whatever_the_upstream_sends(status: Status, output: object) -> None:
    """A null there breaks the SDK's `output_text`."""
    assert shown(status, {"output": output})["output"] == []


answers = st.dictionaries(
    st.sampled_from(sorted(FIELDS)),
    st.recursive(
        st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from(["code", "message", "input_tokens_details"]), inner)
        ),
        max_leaves=4,
    ),
)


@given(st.sampled_from(Status), answers, answers)
def test_any_answer_can_be_shown(status: Status, answer: dict[str, Any], base: dict[str, Any]) -> None:
    """However wrong the upstream's types are, there is an object with every field and our identity."""
    response = shown(status, answer, base=base)
    assert response.keys() == FIELDS | {"continuation_token"}
    assert (response["id"], response["status"], type(response["output"])) == (ID, status, list)


def test_what_was_asked_for_is_repeated() -> None:
    """A response says with which settings it was made; what we decide ourselves is not taken from the request."""
    request = {
        "instructions": "i",
        "temperature": 0,
        "tools": [],
        "top_p": None,
        "input": "x",
        "store": False,
        "id": "x",
    }
    assert echo(request) == {"instructions": "i", "temperature": 0, "tools": []}


def test_an_object_is_restated_with_the_status_of_now() -> None:
    """What was kept while it was queued is shown as the record says today."""
    kept = shown(Status.QUEUED, FULL)
    later = present_known(replace(NEW, status=Status.IN_PROGRESS), kept, BORN_MS)
    assert later == {**kept, "status": "in_progress"}


@pytest.mark.parametrize("status", TERMINAL)
def test_the_event_has_openais_shape_and_the_whole_object(status: Status) -> None:
    """Type by status, the id constant, the time in both forms."""
    record = replace(NEW, status=status, ended_ms=ENDED_MS)
    response = shown(status, FULL)
    assert webhook_event(record, response) == {
        "id": event_id(ID, f"response.{status}"),
        "object": "event",
        "type": event_type(status),
        "created_at": 1_800_000_005,
        "timestamp": "2027-01-15T08:00:05.678Z",
        "data": response,
    }


def test_the_sdk_reads_the_event() -> None:
    """The official type of the webhook accepts it."""
    record = replace(NEW, status=Status.COMPLETED, ended_ms=ENDED_MS)
    read = ResponseCompletedWebhookEvent.model_validate(webhook_event(record, shown(Status.COMPLETED, FULL)))
    assert (read.type, read.data.id) == ("response.completed", ID)


@pytest.mark.parametrize("over", [0, 1])
def test_an_event_that_does_not_fit_a_message_names_the_response(over: int) -> None:
    """At 48 KiB it goes whole; one byte more, and the reader fetches the object itself."""
    record = replace(NEW, status=Status.COMPLETED, ended_ms=ENDED_MS)
    bare = webhook_event(record, {"id": ID, "object": "response", "text": ""})
    filler = "x" * (MAX_MESSAGE - len(encode(bare)) + over)
    whole = webhook_event(record, {"id": ID, "object": "response", "text": filler})
    text = encode_for_queue(whole)
    assert len(text) <= MAX_MESSAGE
    truncated = {**whole, "data": {"id": ID, "object": "response"}, "truncated": True}
    assert orjson.loads(text) == (truncated if over else whole)
