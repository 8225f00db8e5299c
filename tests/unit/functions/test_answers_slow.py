"""A body that drips: it is bounded in time, as it is in bytes."""

import asyncio
from contextlib import nullcontext
from typing import Any, cast

import pytest
from azurefunctions.extensions.http.fastapi import Request

from functions.answers import READ_WITHIN_S, TooSlow, read_json
from functions.webhooks import received
from shared.engine import Engine
from tests.support.virtual_time import VirtualLoop


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


class Expecting:
    """An engine that expects every webhook, and notes what it gets."""

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def expect_webhook(self, _headers: object) -> None:
        """Expect it."""

    async def receive_webhook(self, _headers: object, body: bytes) -> None:
        """Note the body."""
        self.received.append(body)


@pytest.mark.parametrize(("pieces", "heard"), [(3, [b"111"]), (10, [])])
def test_the_body_of_a_webhook_arrives_within_seconds(pieces: int, heard: list[bytes]) -> None:
    """Anybody can write its headers. With one byte a second, a few clients would hold every place of an instance."""
    engine, loop = Expecting(), VirtualLoop()
    with nullcontext() if heard else pytest.raises(TooSlow):
        loop.run_until_complete(received(cast("Engine", engine), dripping(1.0, pieces)))
    assert engine.received == heard
    assert loop.time() <= 5.0
    loop.close()
