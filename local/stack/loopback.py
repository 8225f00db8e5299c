"""Serves a test peer on this machine only."""

import asyncio
import contextlib
import os
import socket
import sys
from typing import Literal

import uvicorn
from starlette.types import ASGIApp

GRACE_S = 1
BACKLOG = 2048


def serve(app: ASGIApp, port: int, banner: str, http: type[asyncio.Protocol] | Literal["auto"] = "auto") -> None:
    """Serve until a signal. Once connections are accepted, print `banner` with its {port} filled in.

    Port 0 selects a free port.
    """
    listener = listen(port)
    say(banner.format(port=listener.getsockname()[1]))
    config = uvicorn.Config(
        app,
        http=http,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACE_S,
    )
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


def say(line: str) -> None:
    """Print a line that another process reads, in one write.

    `print` writes the end of a line by itself if output is not buffered, and another thread's text may come between.
    """
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def listen(port: int) -> socket.socket:
    """Return a socket that accepts connections on this machine only. Port 0 selects a free port."""
    # asyncio turns off Nagle's algorithm, which costs 40 ms per answer, only if the socket names its protocol.
    # The sockets of socket.create_server do not name one.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name == "posix":  # on Windows, this would let two processes have one port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(BACKLOG)
    return listener
