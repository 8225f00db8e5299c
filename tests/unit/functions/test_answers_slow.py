"""A body that drips: it is bounded in time, as it is in bytes."""

import asyncio
from typing import Any

import pytest
from azurefunctions.extensions.http.fastapi import Request

from functions.answers import READ_WITHIN_S, TooSlow, read_json


def dripping(pause_s: float, pieces: int) -> Request:
    """Return a request whose body of `pieces` bytes arrives one byte at a time, with this pause before each."""
    left = iter(range(pieces))

    async def receive() -> Any:
        await asyncio.sleep(pause_s)
        number = next(left, None)
        return {"type": "http.request", "body": b"" if number is None else b"1", "more_body": number is not None}

    return Request({"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}, receive)


def test_a_body_that_does_not_arrive_in_time_is_refused() -> None:
    """Its client may need no key, as that of a webhook, and would keep the invocation open for hours."""
    assert READ_WITHIN_S == 230
    with pytest.raises(TooSlow) as refused:
        asyncio.run(read_json(dripping(0.01, 10_000), within_s=0.05))
    assert (refused.value.status, refused.value.code) == (408, "request_timeout")


def test_a_slow_body_within_the_time_is_read() -> None:
    """The time is for the whole body, and not for a part of it."""
    assert asyncio.run(read_json(dripping(0.001, 5), within_s=20)) == b"11111"
