"""The bounds of the documented parameters are those of the code."""

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from shared.contract import pages, parameters, signatures
from shared.core.errors import BadRequest
from shared.core.ids import event_id, new_id, token_for
from shared.erasure import orders
from shared.lists import queries
from shared.openapi.parameters import IDEMPOTENCY, WEBHOOK, answer_headers
from tests.support.described_api import DOCUMENT, faults_in, operation_named, parameters_of

DAY = datetime.date(2027, 1, 31)
SECRETS = [f"whsec_{'A' * 32}", f"whsec_{'B' * 32}"]
LIST, TROUBLE, RECOVER = "list_responses", "list_deliveries_in_trouble", "recover_deliveries"
READERS: dict[str, Callable[[dict[str, str]], object]] = {
    LIST: queries.parse_responses,
    "operator_responses": queries.parse_responses,
    "list_input_items": pages.parse_page,
    TROUBLE: queries.parse_deliveries,
    "operator_deliveries": queries.parse_deliveries,
    RECOVER: lambda query: queries.parse_recovery({"since": "0"} | query),
    "show_usage": lambda query: queries.parse_usage({"from": "2027-01-30"} | query, DAY),
    "operator_usage": lambda query: queries.parse_usage({"from": "2027-01-30"} | query, DAY),
    "erase_responses": lambda query: orders.parse_order({"before": "5"} | query, "ann"),
    "operator_erase": lambda query: orders.parse_order(query, "ann", whole_caller=True),
}
CASES: list[tuple[str, Any, bool]] = [
    ("limit", 1, True),
    ("limit", 100, True),
    ("limit", 0, False),
    ("limit", 101, False),
    ("limit", "x", False),
    ("order", "asc", True),
    ("order", "desc", True),
    ("order", "up", False),
    ("status", "in_progress", True),
    ("status", "cancelled", True),
    ("status", "done", False),
    ("state", "pending", True),
    ("state", "delivered", False),
    ("dry_run", "true", True),
    ("dry_run", "yes", False),
    ("created_after", 5.5, True),
    ("created_after", "2027-01-31T08:00:00Z", True),
    ("created_after", "yesterday", False),
    ("created_after", -1, False),
    ("before", "2027-01-31", False),
    ("since", "2027-01-31T08:00:00+01:00", True),
    ("until", "x", False),
    ("from", "2027-01-31", True),
    ("from", "2027-1-31", False),
    ("to", "x", False),
    ("user", "x" * 512, True),
    ("user", "x" * 513, False),
    ("safety_identifier", "", False),
]


def refused(name: str, query: dict[str, str]) -> str | None:
    """Return the parameter for which the code refuses a query of this operation, or None."""
    try:
        READERS[name](query)
    except BadRequest as error:
        return error.param
    return None


@pytest.mark.parametrize(("parameter", "value", "is_taken"), CASES)
def test_a_schema_takes_what_the_code_takes(parameter: str, value: Any, is_taken: bool) -> None:
    """At the bounds and behind them, for each operation that has this parameter."""
    found = 0
    for name in READERS:
        schema = parameters_of(operation_named(name), "query").get(parameter)
        if schema is None:
            continue
        found += 1
        typed = value == "true" if schema.get("type") == "boolean" and is_taken else value
        assert (faults_in(schema, typed) == []) is is_taken, name
        assert refused(name, {parameter: str(value)}) == (None if is_taken else parameter), name
    assert found


def test_what_is_required_is_required_by_the_code() -> None:
    """The others may be left out."""
    for name, parse in (("recover_deliveries", queries.parse_recovery), ("show_usage", _usage)):
        needed = {one["name"] for one in operation_named(name)["parameters"] if one.get("required")}
        with pytest.raises(BadRequest) as error:
            parse({})
        assert needed == {error.value.param}


def _usage(query: dict[str, str]) -> object:
    return queries.parse_usage(query, DAY)


@pytest.mark.parametrize(
    ("key", "is_taken"), [("x", True), ("x" * 255, True), ("x" * 256, False), ("a b", False), ("", False)]
)
def test_an_idempotency_key_is_as_documented(key: str, is_taken: bool) -> None:
    """1 to 255 visible characters of ASCII."""
    assert (faults_in(IDEMPOTENCY.schema, key) == []) is is_taken
    if not is_taken:
        with pytest.raises(BadRequest):
            parameters.check_idempotency_key(key)


def test_ids_and_tokens_are_as_documented() -> None:
    """Those that the code makes."""
    schema = parameters_of(operation_named("retrieve_response"), "path")["id"]
    name = new_id()
    for text in (name, token_for(name), token_for(name, 7)):
        assert faults_in(schema, text) == []
    assert faults_in(schema, name[:-1]) != []


def test_the_headers_of_a_callback_are_as_documented() -> None:
    """With a signature of each kind and of several secrets."""
    headers = signatures.signed_headers(SECRETS, event_id(new_id(), "response.completed"), 1_800_000_000, b"{}")
    for one in WEBHOOK:
        assert faults_in(one.schema, headers[one.name]) == []
    assert faults_in(WEBHOOK[2].schema, "v2,xx") != []


def test_every_header_of_an_answer_is_explained() -> None:
    """With a schema."""
    assert DOCUMENT["components"]["headers"] == answer_headers()
    assert all(one["description"] and one["schema"] for one in answer_headers().values())
