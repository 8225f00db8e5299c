"""Foreground calls over HTTP: the answer goes out whole when the response has ended, however long that takes.

An end before the status line goes out with its own status. After a while the status line goes out, and then a blank now
and then, so that no client, proxy or load balancer takes the silence for death. JSON may begin with blanks (RFC 8259,
section 2).
"""

import asyncio
from collections.abc import AsyncIterator, Callable

from azurefunctions.extensions.http.fastapi import Request, Response
from starlette.requests import ClientDisconnect

from functions.answers import LateAnswer, as_response
from shared.core.errors import StreamBroken
from shared.foreground.call import Call

BLANK = b" "
_HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


async def answer(call: Call, req: Request, on_left: Callable[[], None]) -> Response:
    """Return the answer of a call: whole if it ends soon, or else one that goes on.

    If its client leaves before, `on_left` is called at once, and ClientDisconnect is raised when the call is over.
    Otherwise raises as `Call.end` and `Call.promise` do.
    """
    listening = asyncio.create_task(_listen(req, call, on_left))
    try:
        shown = await call.end(call.times.begin_s)
        if shown:
            return as_response(shown)
        if call.is_left:
            await call.end()  # a run in place may go on, and this invocation keeps the instance for it
            raise ClientDisconnect
        await call.promise()
    except asyncio.CancelledError:
        call.leave()
        raise
    finally:
        listening.cancel()
    return LateAnswer(_late(call), headers={**_HEADERS, "x-response-id": call.id}, media_type="application/json")


async def _listen(req: Request, call: Call, on_left: Callable[[], None]) -> None:
    """Tell the call when its client leaves. The body of the request has been read."""
    while (await req.receive())["type"] != "http.disconnect":
        continue
    call.leave()
    on_left()


async def _late(call: Call) -> AsyncIterator[bytes]:
    """Yield blanks until the response has ended, and then the response. Raises StreamBroken if it does not end here."""
    waited_s, is_out = 0.0, False
    try:
        yield BLANK
        while not (shown := await call.end(pause_s := call.times.pause_s(waited_s))):
            if call.is_over:
                raise StreamBroken
            waited_s += pause_s
            yield BLANK
        is_out = True
        yield shown[1]
    finally:
        if not is_out:
            call.leave()
