"""An HTTP connection that the app can cut instead of answering."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol


class CuttableProtocol(H11Protocol):
    """Uvicorn's protocol with a function `cut` in the state of each request.

    It closes the connection once all data is sent.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Store the transport's close function in the state."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "cut": transport.close}


class NoAnswer(Response):
    """A response that cuts the connection and sends nothing."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # the ASGI signature
        """Cut the connection and return once it is closed."""
        scope["state"]["cut"]()
        await gone(receive)


async def gone(receive: Receive) -> None:
    """Return when the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def gone_within(request: Request, wait_s: float) -> bool:
    """Return whether the client disconnects within `wait_s` seconds. Return at once if it does."""
    leaving = asyncio.ensure_future(gone(request.receive))
    done, _ = await asyncio.wait({leaving}, timeout=wait_s)
    leaving.cancel()
    return bool(done)
