"""The end of the host's forwarding after 240 s of silence, on a clock that the test moves."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from local.host.forwarding import Forwarding
from tests.support import fast_loop

pytestmark = pytest.mark.anyio
SCOPE: Scope = {"type": "http", "asgi": {"spec_version": "2.3"}, "method": "GET", "path": "/", "headers": []}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on a loop whose clock can be moved forward."""
    return fast_loop.BACKEND


class Client:
    """A client that sends one request without a body, and then waits for its response."""

    def __init__(self) -> None:
        self.received: list[Message] = []
        self._has_sent = False

    async def receive(self) -> Message:
        """Return the request, and nothing after it."""
        if self._has_sent:
            await asyncio.Event().wait()
        self._has_sent = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        """Take a part of the response."""
        self.received.append(message)

    @property
    def answer(self) -> tuple[int, bytes]:
        """The status and the body, which must be complete."""
        first, *rest = self.received
        assert not rest[-1].get("more_body")
        return first["status"], b"".join(message.get("body", b"") for message in rest)


async def call(handler: Callable[[Request], Awaitable[Response]]) -> Client:
    """Return the client of a request to the handler."""
    client = Client()
    forwarding = Forwarding(client.receive, client.send)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await handler(Request(scope, receive))
        await response(scope, receive, send)

    await app(SCOPE, forwarding.receive, forwarding.send)
    return client


async def test_a_handler_may_be_silent_for_232_s() -> None:
    """Its response arrives."""

    async def silent(_request: Request) -> Response:
        fast_loop.skip(232)
        return Response("late")

    assert (await call(silent)).answer == (200, b"late")


async def test_a_handler_that_is_silent_for_250_s_gets_an_empty_500() -> None:
    """The function runs to its end and sees a client that has left. The real client then gets the host's answer."""
    seen = []

    async def silent(request: Request) -> Response:
        await request.body()
        fast_loop.skip(250)
        seen.append(await request.is_disconnected())
        return Response("too late")

    assert (await call(silent)).answer == (500, b"")
    assert seen == [True]


async def test_a_waiting_handler_hears_the_end_of_the_forwarding() -> None:
    """`receive()` returns when the forwarding ends, although the client is still there."""

    async def hearing(request: Request) -> Response:
        await request.body()
        asyncio.get_running_loop().call_later(0.01, fast_loop.skip, 240)
        asyncio.get_running_loop().call_later(0.02, lambda: None)  # wakes the loop, so that it sees its clock
        assert (await request.receive())["type"] == "http.disconnect"
        return Response("too late")

    assert (await call(hearing)).answer == (500, b"")


async def test_each_byte_keeps_the_forwarding_alive() -> None:
    """A stream may last for any time if no silence in it is longer than 240 s."""

    async def blanks(_request: Request) -> Response:
        async def body() -> Any:
            for _ in range(5):
                fast_loop.skip(200)
                yield b" "

        return StreamingResponse(body())

    assert (await call(blanks)).answer == (200, b" " * 5)


async def test_a_silent_stream_is_cut() -> None:
    """Nothing of a stream arrives after a silence of 240 s, not even its end. Its generator is cancelled."""
    stopped = []

    async def drip(_request: Request) -> Response:
        async def body() -> Any:
            yield b"first"
            asyncio.get_running_loop().call_later(0.01, fast_loop.skip, 240)
            asyncio.get_running_loop().call_later(0.02, lambda: None)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                stopped.append(True)
                raise

        return StreamingResponse(body())

    client = await call(drip)
    assert [message.get("more_body") for message in client.received] == [None, True]
    assert stopped == [True]
