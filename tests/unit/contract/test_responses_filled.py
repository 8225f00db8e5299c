"""The response object: which nulls of an upstream are kept, and what is filled in where it leaves something out."""

from typing import Any

import pytest

from shared.contract.responses import present
from shared.core.records import Record, RequestInfo
from shared.core.states import Status

RECORD = Record("resp_0123456789abcdef0123456789abcdef", "ann", 0, 1, request=RequestInfo(model="m"))
NULLABLE = ("temperature", "top_p", "instructions", "max_output_tokens", "service_tier", "truncation", "top_logprobs")
REQUIRED = {"model": "m", "output": [], "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
TEXT = {"format": {"type": "text"}}


def shown(status: Status, answer: dict[str, Any], base: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the object that a caller reads."""
    return present(RECORD, status, answer, {"model": "m", **(base or {})}, 1)


@pytest.mark.parametrize("name", NULLABLE)
def test_a_null_of_the_upstream_is_kept(name: str) -> None:
    """An upstream that says null, such as a reasoning model for its temperature, is not corrected."""
    said = {name: None}
    assert shown(Status.COMPLETED, said)[name] is None
    assert shown(Status.COMPLETED, said, {name: "asked for"})[name] is None
    assert shown(Status.QUEUED, said)[name] is None
    assert shown(Status.QUEUED, {}, shown(Status.QUEUED, said))[name] is None


@pytest.mark.parametrize("name", NULLABLE)
def test_an_unfinished_null_does_not_hide_the_request(name: str) -> None:
    """Azure's objects have nulls while queued."""
    assert shown(Status.QUEUED, {name: None}, {name: "asked for"})[name] == "asked for"


@pytest.mark.parametrize(("name", "expected"), [*REQUIRED.items(), ("text", TEXT)])
def test_a_null_that_the_contract_forbids_is_filled_in(name: str, expected: object) -> None:
    """SDKs read these without a check."""
    for status in Status:
        assert shown(status, {name: None})[name] == expected


def test_a_field_that_is_left_out_is_filled_in() -> None:
    """Only an upstream that says nothing gets the contract's defaults."""
    assert shown(Status.COMPLETED, {})["temperature"] == 1.0


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        (
            "tools",
            [{"type": "function", "name": "f"}, {"type": "web_search"}, "text"],
            [
                {"type": "function", "name": "f", "description": None, "parameters": None, "strict": None},
                {"type": "web_search"},
                "text",
            ],
        ),
        ("reasoning", {"effort": "low"}, {"effort": "low", "summary": None}),
        ("reasoning", None, None),
        ("text", {}, TEXT),
        ("text", {"verbosity": "low"}, {"verbosity": "low", **TEXT}),
        ("text", {"format": {"type": "json_object"}}, {"format": {"type": "json_object"}}),
        (
            "text",
            {"format": {"type": "json_schema", "name": "n", "schema": {}}},
            {"format": {"type": "json_schema", "name": "n", "schema": {}, "description": None, "strict": False}},
        ),
        ("text", "plain", "plain"),
        ("tools", "none", "none"),
    ],
)
def test_members_inside_a_field_are_filled_in_too(name: str, given: object, expected: object) -> None:
    """Open Responses requires them: https://www.openresponses.org/openapi/openapi.json. Other types are left alone."""
    assert shown(Status.COMPLETED, {name: given})[name] == expected
    assert shown(Status.QUEUED, {}, {name: given})[name] == expected
