#!/usr/bin/env bash
# uvicorn with httptools sends chunks to a client that speaks HTTP/1.0, which has none.
#
# Seen with:  uvicorn 0.54.0 with httptools 0.9.0, and with h11 0.16.0, on 2026-11-29.
# Expected:   RFC 9112, section 6.1: a server must not send Transfer-Encoding unless the request says HTTP/1.1 or later.
#             The body of an answer without a length ends with the connection then.
# Seen:       with httptools, a streamed answer to an HTTP/1.0 request has "transfer-encoding: chunked", and the sizes
#             of its chunks stand in the body. With h11, which is what uvicorn takes if httptools is not installed, it
#             has neither. So whether a client of 1.0 reads a clean body depends on a package beside the server.
# Matters to: streams behind nginx, which speaks HTTP/1.0 to its upstream by default, and health checks of load
#             balancers. A cut stream cannot be told from an ended one with h11, and can be with httptools.
#
# Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
    uvicorn==0.54.0 httptools==0.9.0 h11==0.16.0

"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import sys

import uvicorn

REQUEST = b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}


async def app(scope, receive, send):
    """Answer in two pieces, without a length."""
    if scope["type"] != "http":
        return
    await send(START)
    await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
    await send({"type": "http.response.body", "body": b"data: 2\n\n"})


async def answered(protocol):
    """Return whether an answer to HTTP/1.0 says that it is chunked, and its body as it was received."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=protocol, lifespan="off", log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    server.should_exit = True
    await serving
    return b"transfer-encoding: chunked" in head.lower(), body


async def main():
    return {protocol: await answered(protocol) for protocol in ("httptools", "h11")}


seen = asyncio.run(asyncio.wait_for(main(), 60))
for protocol, (is_chunked, body) in seen.items():
    print(f"{protocol}: chunked={is_chunked} body={body!r}")
described = {
    "httptools": (True, b"9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n"),
    "h11": (False, b"data: 1\n\ndata: 2\n\n"),
}
if seen != described:
    sys.exit("CHANGED")
print("as described")
PYTHON
