"""The description of the API is one answer, which clients may keep."""

from typing import Any

import pytest
from azurefunctions.extensions.http.fastapi import Request

from functions.description import document, openapi

TEXT, _, ETAG = document()


def request(**headers: str) -> Request:
    """Return a request with these headers."""
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/openapi.json", "query_string": b""}
    return Request({**scope, "headers": fields})


async def test_the_document_may_be_kept() -> None:
    """It names its version, and for how long it may be kept."""
    answer = await openapi(request())
    assert (answer.status_code, answer.body, answer.headers["etag"]) == (200, TEXT, ETAG)
    assert answer.headers["content-type"] == "application/json"
    assert "max-age" in answer.headers["cache-control"]


@pytest.mark.parametrize("given", [ETAG, f"W/{ETAG}", f'"other", {ETAG}'])
async def test_a_client_that_has_this_version_gets_no_body(given: str) -> None:
    """It is told that nothing has changed."""
    answer = await openapi(request(if_none_match=given))
    assert (answer.status_code, answer.body, answer.headers["etag"]) == (304, b"", ETAG)


async def test_a_client_with_another_version_gets_this_one() -> None:
    """Whatever it has."""
    assert (await openapi(request(if_none_match='"other"'))).status_code == 200
