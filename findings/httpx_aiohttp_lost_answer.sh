#!/usr/bin/env bash
# httpx-aiohttp says "connect timeout" about a request that the server has received.
#
# Seen with:  httpx-aiohttp 0.2.0, aiohttp 3.14.5, httpx 0.28.1, on 2026-11-29.
# Expected:   httpx.ReadError or httpx.RemoteProtocolError, as plain httpx raises. The page "Exceptions" of httpx
#             says that ConnectTimeout means a time-out while a connection to the host is made.
# Seen:       the server reads a whole POST and then closes or resets the connection. The transport raises
#             httpx.ConnectTimeout at once. Each aiohttp.ClientConnectionError becomes that, ServerDisconnectedError
#             and ClientOSError too.
# Matters to: code that repeats a POST only if it cannot have been sent (RFC 9110, section 9.2.2). It takes this
#             error for that case, so paid work is done twice.
#
# Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
    httpx-aiohttp==0.2.0 aiohttp==3.14.5 httpx==0.28.1

"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import socket
import struct
import sys
import time

import httpx
from httpx_aiohttp import AiohttpTransport

TIMEOUT_S = 30.0
BODY = b'{"input": "paid work"}'
received = []


async def lose_answer(reader, writer):
    """Read one whole request. Then reset the connection if its path is /reset, or close it."""
    head = await reader.readuntil(b"\r\n\r\n")
    received.append(await reader.readexactly(len(BODY)))
    if head.startswith(b"POST /reset "):
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def error_of(url, transport):
    """Return the error of one POST, and check that the server has all of it and that no time-out can be over."""
    received.clear()
    began = time.monotonic()
    async with httpx.AsyncClient(transport=transport, timeout=TIMEOUT_S) as client:
        try:
            await client.post(url, content=BODY)
        except httpx.TransportError as error:
            assert received == [BODY], received
            assert time.monotonic() - began < TIMEOUT_S / 2
            return error
    raise AssertionError("the POST had an answer")


async def posts_with_retries(url):
    """Return how many POSTs the server gets from code that repeats one that could not connect, twice."""
    received.clear()
    async with httpx.AsyncClient(transport=AiohttpTransport(), timeout=TIMEOUT_S) as client:
        for _ in range(3):
            try:
                await client.post(url, content=BODY)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
            except httpx.TransportError:
                break
    return len(received)


async def main():
    server = await asyncio.start_server(lose_answer, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    seen = {}
    for path in ("close", "reset"):
        plain = await error_of(f"{base}/{path}", httpx.AsyncHTTPTransport())
        ported = await error_of(f"{base}/{path}", AiohttpTransport())
        seen[path] = (type(plain).__name__, type(ported).__name__, type(ported.__cause__).__name__)
        print(f"{path} after the whole POST: httpx {seen[path][0]}, httpx-aiohttp {seen[path][1]} of {seen[path][2]}")
    posts = await posts_with_retries(f"{base}/close")
    print(f"a POST that is repeated only after connect errors reached the server {posts} times")
    server.close()
    return seen, posts


seen, posts = asyncio.run(asyncio.wait_for(main(), 60))
described = {
    "close": ("RemoteProtocolError", "ConnectTimeout", "ServerDisconnectedError"),
    "reset": ("ReadError", "ConnectTimeout", "ClientOSError"),
}
if seen != described or posts != 3:
    sys.exit("CHANGED")
print("as described")
PYTHON
