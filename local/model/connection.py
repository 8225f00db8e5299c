"""An HTTP connection that the app can cut in place of an answer."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol


class CuttableProtocol(H11Protocol):
    """Uvicorn's protocol, with a function in each request's state that ends the connection once all is sent."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Keep hold of the transport."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "cut": transport.close}


class NoAnswer(Response):
    """Cuts the connection and sends nothing."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # the ASGI signature
        """Return once the connection is gone."""
        scope["state"]["cut"]()
        await gone(receive)


async def gone(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def gone_within(request: Request, wait_s: float) -> bool:
    """Wait that long; True, and sooner, if the client goes."""
    leaving = asyncio.ensure_future(gone(request.receive))
    done, _ = await asyncio.wait({leaving}, timeout=wait_s)
    leaving.cancel()
    return bool(done)
