"""Details of the HTTP contract: what cannot be streamed, and how requests and settings are refused."""

import asyncio
from hashlib import sha256

import orjson
import pytest
from azurefunctions.extensions.http.fastapi import Request

from functions import http
from shared.contract import callers
from shared.contract.requests import MAX_ITEMS, parse_request
from shared.core.errors import BadRequest, SettingsError
from tests.support.stage import ANN, Stage


def request(method: str, path: str, query: str = "", **path_params: str) -> Request:
    """Return a request without a body, as the platform passes it to a function."""
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": []}
    return Request(scope | {"path_params": path_params})


# Streams


@pytest.mark.parametrize(("background", "flag"), [(False, "background"), (True, "stream")])
async def test_a_response_not_created_as_a_stream_is_not_streamed(stage: Stage, background: bool, flag: str) -> None:
    """The refusal to stream names the flag that was missing at creation. The upstream is not polled."""
    body = orjson.dumps({"model": "m", "input": "question", "background": background})
    made, _ = await stage.engine.create(ANN, parse_request(body), None, 0)
    with pytest.raises(BadRequest) as refused:
        await http.retrieve(stage.engine, ANN, request("GET", "/", "stream=true", id=made.id))
    assert refused.value.message == f"This response cannot be streamed because it was not created with {flag}=true."
    assert refused.value.param == "stream"
    assert stage.upstream.polls == 0


# Refusals


def test_a_key_belongs_to_one_caller() -> None:
    """The settings must not give the same key digest to two callers. The error does not show the digest."""
    digest = sha256(b"key").hexdigest()
    text = orjson.dumps([{"name": name, "keys": [digest]} for name in ("ann", "bob")]).decode()
    with pytest.raises(SettingsError, match="CALLERS has the same key twice") as refused:
        callers.parse_callers(text)
    assert digest not in str(refused.value)


def test_an_input_has_at_most_ten_thousand_items() -> None:
    """An input of 10,000 items is accepted. One of 10,001 is refused, and the error names the field."""
    assert MAX_ITEMS == 10_000
    parse_request(orjson.dumps({"model": "m", "input": [{}] * MAX_ITEMS}))
    with pytest.raises(BadRequest) as refused:
        parse_request(orjson.dumps({"model": "m", "input": [{}] * (MAX_ITEMS + 1)}))
    assert refused.value.param == "input"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/openai/v1/responses", "DELETE, GET, POST"),
        (f"/v1/responses/resp_{'0' * 32}", "DELETE, GET"),
        (f"/openai/responses/resp_{'0' * 32}/cancel", "POST"),
        ("/health/live", "GET"),
    ],
)
def test_a_405_names_the_allowed_methods(path: str, allowed: str) -> None:
    """A 405 names the allowed methods in its Allow header, as RFC 9110 demands, and in the error's message."""
    answer = asyncio.run(http.unmatched(request("PATCH", path)))
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert orjson.loads(answer.body)["error"]["message"] == f"PATCH is not allowed here; allowed: {allowed}."
