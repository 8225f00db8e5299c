"""Errors of a hostile upstream: however deeply one is nested, it is an error without words and no fault of ours."""

import httpx
import pytest

from shared.contract.upstream_errors import MAX_DEPTH, ReportedError, error_in_answer
from shared.core.errors import UpstreamError
from shared.upstreams.answers import check_status, check_stream

SHAPES = {"objects": (b'{"error":', b"}"), "lists": (b"[", b"]"), "both": (b'[{"detail":[{"error":', b"}]}]")}


def nested(shape: str, levels: int) -> bytes:
    """Return an error of this many levels of a shape."""
    begin, end = SHAPES[shape]
    return begin * levels + b'{"message":"No."}' + end * levels


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("levels", [250, 1_000, 50_000])
def test_an_error_that_is_nested_too_deeply_says_nothing(shape: str, levels: int) -> None:
    """Nobody reads it level by level. What no reader of JSON takes is a text, and cut as any other."""
    found = error_in_answer(nested(shape, levels))
    assert found is None or found.message.startswith(SHAPES[shape][0].decode())


@pytest.mark.parametrize("shape", ["objects", "lists"])
def test_an_error_within_the_depth_is_read(shape: str) -> None:
    """No known server nests one more than four levels."""
    assert error_in_answer(nested(shape, MAX_DEPTH - 1)) == ReportedError("No.")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
@pytest.mark.parametrize("missing", [False, True])
def test_every_status_with_such_a_body_is_an_error_of_the_upstream(shape: str, status: int, missing: bool) -> None:
    """Of a start, of a poll and of a stream alike."""
    content = nested(shape, 1_000)
    for check in (check_status, check_stream):
        with pytest.raises(UpstreamError):
            check(httpx.Response(status), content, missing=missing)
