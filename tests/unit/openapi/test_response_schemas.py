"""The response object and the request of the document are those of the code and of OpenAI's SDK."""

import ast
from dataclasses import replace
from typing import Any

import pytest
from openai.types.responses import Response
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from shared.contract import requests, responses
from shared.contract.requests import EVENTS
from shared.core.entries import entry_of
from shared.core.errors import BadRequest
from shared.core.records import Record, RequestInfo, Usage, WaitInfo
from shared.core.states import Status, WaitReason
from shared.lists.views import response_view
from tests.support.described_api import SCHEMAS, check, faults_in
from tests.support.source_trees import MODULES

ID = "resp_0123456789abcdef0123456789abcdef"
NEW = Record(ID, "ann", 1_800_000_000_000, 1_800_000_060_000, request=RequestInfo(model="m", metadata={"k": "v"}))
USED = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
REQUEST = {"$ref": "#/components/schemas/CreateResponse"}
OURS = {"callback_url", "callback_events", "reply_to", "on_disconnect"}


@pytest.mark.parametrize("status", Status)
def test_the_response_object_has_the_documented_fields(status: Status) -> None:
    """All of them are always there, and no other one, whatever its status is."""
    shown = responses.present(NEW, status, {"usage": USED}, {"model": "m"}, 1_800_000_001_000)
    check("Response", shown)
    assert set(SCHEMAS["Response"]["required"]) == shown.keys()


@pytest.mark.parametrize("reason", WaitReason)
def test_what_a_response_waits_for_is_documented(reason: WaitReason) -> None:
    """On the object, and in a list."""
    waiting = replace(NEW, wait=WaitInfo(reason, "status 503", 2, 1_000, 9_000, 3))
    shown = responses.present_known(waiting, {"model": "m"}, 0)
    assert shown["waiting"]["reason"] == reason
    check("Response", shown)
    check("ListedResponse", response_view(entry_of(waiting)))


@pytest.mark.parametrize("status", Status)
def test_a_listed_response_has_the_documented_fields(status: Status) -> None:
    """An ended one has its tokens, and a failed one its code."""
    ended = replace(NEW, status=status, ended_ms=1_800_000_001_000, error="output_too_large", usage=Usage(3, 1, 4, 2))
    check("ListedResponse", response_view(entry_of(ended)))


def test_the_response_object_has_what_the_sdk_requires() -> None:
    """Every field without which the SDK's type of a response is incomplete."""
    needed = {name for name, field in Response.model_fields.items() if field.is_required()}
    assert needed <= set(SCHEMAS["Response"]["required"])


def test_the_fields_of_a_request_are_those_of_the_sdk_and_ours() -> None:
    """And a stream is asked for in the same body."""
    assert SCHEMAS["CreateResponse"]["properties"].keys() == {
        *ResponseCreateParamsBase.__annotations__,
        *OURS,
        "stream",
    }


def read_fields() -> set[str]:
    """Return the fields of a body that the code reads, in calls such as `body.get("x")` and `_flag(body, "x")`."""
    found: set[str] = set()
    for node in ast.walk(MODULES["shared.contract.requests"]):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name("body"), attr="get"), args=[ast.Constant(str(name)), *_]):
                found.add(name)
            case ast.Call(args=[ast.Name("body"), ast.Constant(str(name)), *_]):
                found.add(name)
    return found


def test_every_field_that_is_read_is_documented() -> None:
    """What the service reads of a body has a schema. What it keeps from the upstream is ours."""
    documented = SCHEMAS["CreateResponse"]["properties"].keys()
    assert OURS | {"model", "stream", "background", "metadata", "include", "conversation"} <= read_fields()
    assert read_fields() <= documented
    new = replace(requests.parse_request(b"{}"), body=dict.fromkeys(documented, 1), metadata={"k": "v"})
    assert documented - new.for_upstream(ID).keys() == OURS


REQUESTED: list[tuple[str, Any, bool]] = [
    ("model", "m", True),
    ("model", "m" * 257, False),
    ("model", "", False),
    ("model", None, True),
    ("input", "q", True),
    ("input", [{}] * 10_001, False),
    ("input", 5, False),
    ("stream", 1, False),
    ("background", True, True),
    ("store", "no", False),
    ("metadata", {"k" * 64: "v" * 512}, True),
    ("metadata", {"k" * 65: "v"}, False),
    ("metadata", {"k": "v" * 513}, False),
    ("metadata", {f"k{n}": "" for n in range(17)}, False),
    ("metadata", {"k": 1}, False),
    ("metadata", None, True),
    ("previous_response_id", "x" * 129, False),
    ("previous_response_id", ID, True),
    ("reply_to", "a--b", False),
    ("reply_to", "ab", False),
    ("reply_to", "results-1", True),
    ("on_disconnect", "cancel", True),
    ("on_disconnect", "stop", False),
    ("callback_url", "", False),
    ("callback_url", "x" * 2_049, False),
]
"""Fields with a value, and whether the service takes it."""


@pytest.mark.parametrize(("field", "value", "is_taken"), REQUESTED)
def test_the_schema_takes_what_the_service_takes(field: str, value: Any, is_taken: bool) -> None:
    """The bounds and the types of the fields that the service acts on are those of its checks."""
    body = responses.encode({field: value})
    if is_taken:
        requests.parse_request(body)
    else:
        with pytest.raises(BadRequest):
            requests.parse_request(body)
    assert (faults_in(REQUEST, {field: value}) == []) is is_taken


def test_the_events_of_a_callback_are_those_that_can_be_chosen() -> None:
    """A list of some of them, with a URL."""
    both = {"callback_url": "https://example.com/", "callback_events": list(EVENTS)}
    assert faults_in(REQUEST, both) == []
    assert requests.parse_request(responses.encode(both)).callback_events == EVENTS
    assert faults_in(REQUEST, {**both, "callback_events": []}) != []
