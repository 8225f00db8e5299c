"""What takes the create calls of a peer: one route, which answers with the new id once the peer has the job."""

import json
import os
import socket
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

Accept = Callable[[dict[str, Any]], Awaitable[object]]
BACKLOG = 2048
GRACE_S = 1


async def serve(accept: Accept, others: Sequence[BaseRoute] = ()) -> None:
    """Serve on the port that PORT names until a signal. `accept` returns when the job is stored.

    `others` are more routes.
    """

    async def create(request: Request) -> JSONResponse:
        job = {**json.loads(await request.body()), "id": uuid.uuid4().hex}
        await accept(job)
        return JSONResponse({"id": job["id"]}, status_code=202)

    app = Starlette(routes=[Route("/responses", create, methods=["POST"]), *others])
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(os.environ["PORT"])))
    listener.listen(BACKLOG)
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=GRACE_S
    )
    await uvicorn.Server(config).serve(sockets=[listener])
