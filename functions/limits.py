"""The limits of callers at the edge of HTTP: requests a minute, and answers that are open at once."""

import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from azurefunctions.extensions.http.fastapi import Request, Response

from functions.answers import Handle, LateAnswer
from shared.contract.callers import Caller
from shared.engine import Engine


def limited(handle: Handle) -> Handle:
    """Return a handler whose calls count as requests of their caller."""

    async def counted(engine: Engine, caller: Caller, req: Request) -> Response:
        engine.quotas.take_request(caller)
        return await handle(engine, caller, req)

    return counted


class OpenAnswer:
    """A stream, or a call that waits. It counts until `end` is called for the first time."""

    def __init__(self, end: Callable[[], None]) -> None:
        self.end = end
        self.goes_on = False

    def until_sent(self, response: Response) -> Response:
        """Let an answer whose body goes on count until it is sent, or dropped unsent."""
        if isinstance(response, LateAnswer):
            self.goes_on = True
            response.until_sent.callback(self.end)
            weakref.finalize(response, self.end)
        return response


def waiting(engine: Engine, caller: Caller, wait_s: float) -> AbstractAsyncContextManager[OpenAnswer | None]:
    """Count a call for the block if it may wait for so many seconds. Raises as `open_answer`."""
    return open_answer(engine, caller) if wait_s > 0 else nullcontext()


@asynccontextmanager
async def open_answer(engine: Engine, caller: Caller) -> AsyncIterator[OpenAnswer]:
    """Count an answer for the block, or until it is sent. Raises TooManyRequests."""
    opened = OpenAnswer(engine.quotas.open_answer(caller))
    try:
        yield opened
    finally:
        if not opened.goes_on:
            opened.end()
