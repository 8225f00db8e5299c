"""The response object: all fields are always present, and depend on the status as in the contract's table."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response

from shared.contract.responses import echo, encode, failure, present, present_known
from shared.core.ids import read_token, token_for
from shared.core.records import Record, RequestInfo
from shared.core.states import Status

ID = "resp_0123456789abcdef0123456789abcdef"
BORN_MS = 1_800_000_000_000
ENDED_MS = BORN_MS + 5_678
NEW = Record(ID, "ann", BORN_MS, BORN_MS + 60_000, request=RequestInfo(store=True, background=True, model="sim-2s"))

# The fields that the strictest client, the Open Responses suite, requires.
REQUIRED = """
    id object created_at status completed_at error incomplete_details instructions max_output_tokens max_tool_calls
    model output parallel_tool_calls previous_response_id prompt_cache_key reasoning safety_identifier service_tier
    store background temperature text tool_choice tools top_logprobs top_p presence_penalty frequency_penalty
    truncation usage metadata
"""
FIELDS = set(REQUIRED.split())
OWN = {"continuation_token", "ended_at"}
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
    """Return the object that a caller reads for a record with this status."""
    ended_ms = ENDED_MS if status.is_terminal else 0
    record = replace(record, status=status, ended_ms=ended_ms)
    return orjson.loads(encode(present(record, status, answer, base or {}, BORN_MS + 1_000)))


@every_status
@every_answer
def test_every_field_is_always_present(status: Status, answer: dict[str, Any]) -> None:
    """An object has the 31 fields that clients require, the continuation token, and other fields of the upstream."""
    response = shown(status, answer)
    assert len(FIELDS) == 31
    assert response.keys() == FIELDS | OWN | answer.keys()


@every_status
@every_answer
def test_the_sdk_accepts_the_object(status: Status, answer: dict[str, Any]) -> None:
    """The official types accept the object under full validation, which the SDK itself does not do."""
    response = Response.model_validate(shown(status, answer))
    assert (response.id, response.status, response.created_at) == (ID, status, BORN_MS // 1000)
    assert isinstance(response.output_text, str)


@every_status
@every_answer
def test_the_status_decides_which_fields_are_set(status: Status, answer: dict[str, Any]) -> None:
    """`ended_at` if ended, `completed_at` only if completed, `error` only if failed. Cancelled ones have no output."""
    response = shown(status, answer)
    assert response["completed_at"] == (ENDED_MS // 1000 if status is Status.COMPLETED else None)
    assert response["ended_at"] == (ENDED_MS // 1000 if status.is_terminal else None)
    assert (response["error"] is not None) == (status is Status.FAILED)
    assert isinstance(response["output"], list)
    if status is Status.CANCELLED:
        assert response["output"] == []
    if status is not Status.INCOMPLETE:
        assert response["incomplete_details"] is None


def test_an_incomplete_response_has_its_reason() -> None:
    """The upstream's reason for an incomplete response is passed on."""
    assert shown(Status.INCOMPLETE, FULL)["incomplete_details"] == {"reason": "max_output_tokens"}


@every_status
def test_an_unfinished_response_has_a_continuation_token(status: Status) -> None:
    """The token names the response. A terminal response has no token, whatever the upstream sent."""
    token = shown(status, FULL)["continuation_token"]
    assert token == (None if status.is_terminal else token_for(ID))
    assert status.is_terminal or read_token(token)


@every_status
def test_the_identity_of_a_response_is_ours(status: Status) -> None:
    """Id, times, metadata, previous id, `store` and `background` come from the record, not from the upstream."""
    record = replace(
        NEW, request=replace(NEW.request, metadata={"callback_url": "u"}, previous_id="resp_0", store=False)
    )
    response = shown(status, FULL, record)
    names = ("id", "created_at", "metadata", "previous_response_id", "store", "background", "status", "object")
    expected = [ID, BORN_MS // 1000, {"callback_url": "u"}, "resp_0", False, True, status, "response"]
    assert [response[name] for name in names] == expected


@every_status
@pytest.mark.parametrize("background", [True, False])
def test_a_response_says_how_it_was_asked_for(status: Status, background: bool) -> None:
    """`background` is that of the request, whatever the status. Who gets an unfinished one has asked for it."""
    response = shown(status, MINIMAL, replace(NEW, request=replace(NEW.request, background=background)))
    assert response["background"] is background


def test_the_upstreams_answer_overrides_known_fields_and_defaults() -> None:
    """A known field overrides a default. A null in the answer overrides nothing."""
    base = {"temperature": 0.3, "top_p": 0.7, "instructions": "base", "user": "u"}
    answer = {"temperature": 0.9, "top_p": None, "beyond": 1}
    response = shown(Status.IN_PROGRESS, answer, base=base)
    names = ("temperature", "top_p", "instructions", "user", "beyond", "truncation")
    assert [response[name] for name in names] == [0.9, 0.7, "base", "u", 1, "disabled"]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ("Broken.", "server_error", "Broken."),
        ({"code": 502, "message": "Broken."}, "502", "Broken."),
        ({"error": {"code": "c", "message": "Broken."}}, "c", "Broken."),
        ({"code": "c" * 101, "message": "m" * 2_001}, "c" * 100, "m" * 2_000),
    ],
)
def test_the_error_of_a_failed_response_is_read_in_every_form(error: object, code: str, message: str) -> None:
    """The upstream's words are kept, as texts and cut to length."""
    found = shown(Status.FAILED, {"error": error})["error"]
    assert (found["code"], found["message"]) == (code, message)


@pytest.mark.parametrize(
    "said",
    [
        {"last_error": {"code": "c", "message": "Broken."}},
        {"errors": [{"message": "Broken."}]},
        {"status_details": {"error": {"message": "Broken."}}},
        {"incomplete_details": {"reason": "Broken."}},
    ],
)
def test_the_reason_of_a_failure_may_stand_elsewhere(said: dict[str, Any]) -> None:
    """Servers with the words of another API have no `error`."""
    error = shown(Status.FAILED, {"error": None, **said})["error"]
    assert error.keys() == {"code", "message", "type", "param"}
    assert error["message"] == "Broken."


@pytest.mark.parametrize("wrong", [None, "", 7, [], {}, {"code": None, "message": None}])
def test_a_failure_without_a_reason_gets_a_default_one(wrong: object) -> None:
    """The error of a failed response has all four members, whatever the upstream sent."""
    error = shown(Status.FAILED, {"error": wrong})["error"]
    message = "The upstream gave no reason."
    assert error == {"code": "server_error", "message": message, "type": "server_error", "param": None}


@pytest.mark.parametrize("n", [10, 2_000])
def test_what_an_error_says_beside_its_message_has_a_limit(n: int) -> None:
    """Otherwise an error of any size would go to the caller. The message is text, and cut, and is kept in any case."""
    error = shown(Status.FAILED, {"error": {"message": ["m" * 5_000_000], "details": {"a": ["x" * 10] * n}}})["error"]
    assert (len(error["message"]), "details" in error) == (2_000, n == 10)


def test_the_type_and_the_param_of_a_failure_are_passed_on() -> None:
    """AI SDK 7 and mastra cannot read a failed response whose error has no type."""
    told = {"code": "bad_tool", "message": "No.", "type": "invalid_request_error", "param": "tools"}
    assert shown(Status.FAILED, {"error": told})["error"] == told
    assert failure("bad_tool", "No.", "invalid_request_error", "tools")["error"] == told


def test_a_failure_of_this_service_is_shown_as_an_error() -> None:
    """The error of a failure of this service has its reason. There is no output."""
    response = shown(Status.FAILED, failure("deadline_exceeded", "Too late."), base={"output": [MESSAGE]})
    told = {"code": "deadline_exceeded", "message": "Too late.", "type": "server_error", "param": None}
    assert response["error"] == told
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
def test_usage_is_complete_or_null(usage: object, expected: object) -> None:
    """Clients require the details. Older upstreams omit them, so they are filled with zeros."""
    assert shown(Status.COMPLETED, {"usage": usage})["usage"] == expected


@pytest.mark.parametrize("output", [None, "", {}, 7])
@every_status
def test_output_is_a_list_whatever_the_upstream_sends(status: Status, output: object) -> None:
    """An output that is not a list is shown as an empty one. A null would break the SDK's `output_text`."""
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
    """Whatever types the upstream's fields have, the object has every field and our id."""
    response = shown(status, answer, base=base)
    assert response.keys() == FIELDS | OWN
    assert (response["id"], response["status"], type(response["output"])) == (ID, status, list)


def test_the_settings_of_the_request_are_repeated() -> None:
    """A response shows the settings of its request, except for the fields that we set ourselves."""
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


def test_a_known_object_is_shown_with_the_current_status() -> None:
    """An object that was stored while queued is shown with the status of the record."""
    kept = shown(Status.QUEUED, FULL)
    later = present_known(replace(NEW, status=Status.IN_PROGRESS), kept, BORN_MS)
    assert later == {**kept, "status": "in_progress"}
