"""What a client has is not sent to it again."""

from typing import Any

import pytest
from azurefunctions.extensions.http.fastapi import Request, Response

from functions.versioned import as_version, versioned

PAGE = versioned(b"<p>One.</p>", "text/html; charset=utf-8")
HEADERS = {"Cache-Control": "no-cache"}


def answered(**given: str) -> Response:
    """Return the answer to a request with these headers."""
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()]
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": fields}
    return as_version(Request(scope), PAGE, HEADERS)


@pytest.mark.parametrize("given", [PAGE.tag, f"W/{PAGE.tag}", f'"other", {PAGE.tag}'])
def test_a_client_that_has_this_version_gets_no_body(given: str) -> None:
    """The answer has the headers of the whole one."""
    answer = answered(if_none_match=given)
    assert (answer.status_code, answer.body, answer.headers["etag"]) == (304, b"", PAGE.tag)
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("given", [{}, {"if_none_match": '"other"'}, {"if_none_match": PAGE.tag.strip('"')}])
def test_every_other_client_gets_the_body(given: dict[str, str]) -> None:
    """With its media type, and the ETag for the next time."""
    answer = answered(**given)
    assert (answer.status_code, answer.body, answer.headers["etag"]) == (200, PAGE.body, PAGE.tag)
    assert answer.headers["content-type"] == PAGE.kind
    assert HEADERS == {"Cache-Control": "no-cache"}


def test_another_body_is_another_version() -> None:
    """And the same body is the same version, in every process."""
    assert versioned(b"<p>Two.</p>", "text/html").tag != PAGE.tag == versioned(PAGE.body, "text/plain").tag
