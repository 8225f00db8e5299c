"""The HTTP server of the host, and how it stops."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from local.stack.loopback import say

KEEP_ALIVE_S = 130
"""The keep-alive timeout of the platform's front end, in seconds."""

_NO_LINGER = struct.pack("ii", 1, 0)


class HttpServer(uvicorn.Server):
    """A uvicorn server that announces its address.

    It ignores signals, because they stop the whole host and not only HTTP.
    """

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        super().__init__(config)
        self._serving = asyncio.create_task(self.serve([listener]))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture no signals."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and print the line that announces the address."""
        await super().startup(sockets)
        for listener in sockets or []:
            say(f"host listening on http://127.0.0.1:{listener.getsockname()[1]}")

    async def drain(self, in_flight_s: float) -> None:
        """Refuse new connections and requests at once, and return when the requests in flight are answered.

        After `in_flight_s` seconds, reset their connections. Their handlers hear that as a client's leaving.
        """
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        self.should_exit = True
        await asyncio.wait([self._serving], timeout=in_flight_s)
        for connection in list(self.server_state.connections):
            _reset(connection.transport)


def _reset(transport: asyncio.Transport) -> None:
    """End a connection in such a way that its client sees an error and not an end."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()
