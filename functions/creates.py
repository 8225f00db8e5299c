"""POST /responses: a request is read, and answered by a stream, when its response has ended, or at once."""

from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from azurefunctions.extensions.http.fastapi import Request, Response

from functions import calls
from functions.answers import as_response, as_stream, read_json
from functions.limits import open_answer, waiting
from shared import off_loop
from shared.contract import parameters, requests
from shared.contract.callers import Caller
from shared.contract.requests import NewResponse
from shared.core.errors import StoreError
from shared.engine import Engine
from shared.foreground import clients

_PERHAPS_ACCEPTED = (
    "Storage is not available. The response may have been accepted. Send the request again: with the same "
    "'Idempotency-Key' header you get the response that it began, and without one it may begin a second response."
)

Way = Callable[[Engine, Caller, Request, NewResponse, str | None], Coroutine[Any, Any, Response]]


async def create(engine: Engine, caller: Caller, req: Request) -> Response:
    """POST /responses, with `Idempotency-Key` and `Prefer: wait, respond-async` (RFC 7240)."""
    try:
        async with AsyncExitStack() as turn:
            return await _created(engine, caller, req, turn)
    except StoreError as error:
        if error.advice is StoreError.advice:  # that of a refusal says enough
            error.advice = _PERHAPS_ACCEPTED
        raise


async def _created(engine: Engine, caller: Caller, req: Request, turn: AsyncExitStack) -> Response:
    key = parameters.check_idempotency_key(req.headers.get("idempotency-key"))
    raw = await read_json(req, caller)  # before the turn, so that a slow client holds up nobody
    await turn.enter_async_context(engine.entrance.turn(caller.name))
    new = await off_loop.run(len(raw), requests.parse_request, raw)
    answer = _way(req, new)(engine, caller, req, new, key)
    del raw, new  # what waits holds no body
    return await answer


def _way(req: Request, new: NewResponse) -> Way:
    """Return how a request is answered: by a stream, when its response has ended, or at once."""
    if new.stream:
        return _stream
    return _accept if new.background or preference(req).is_unfinished_welcome else _wait


async def _stream(engine: Engine, caller: Caller, req: Request, new: NewResponse, key: str | None) -> Response:
    async with open_answer(engine, caller) as opened:
        chunks = await engine.create_stream(caller, new, key, clients.client_of(req.headers))
        return opened.until_sent(as_stream(chunks))


async def _wait(engine: Engine, caller: Caller, req: Request, new: NewResponse, key: str | None) -> Response:
    async with open_answer(engine, caller) as opened:
        call = await engine.call(caller, new, key, clients.client_of(req.headers))
        del new  # what waits holds no body
        return opened.until_sent(await calls.answer(call, req, opened.end))


async def _accept(engine: Engine, caller: Caller, req: Request, new: NewResponse, key: str | None) -> Response:
    prefer = preference(req)
    wait_s = prefer.wait_s or 0
    async with waiting(engine, caller, wait_s):
        record, body = await engine.create(caller, new, key, wait_s)
    if prefer.respond_async and not record.status.is_terminal:
        location = f"{req.url.path.rstrip('/')}/{record.id}"
        return as_response((record, body), 202, {"Location": location, "Preference-Applied": "respond-async"})
    return as_response((record, body))


def preference(req: Request) -> parameters.Preference:
    """Return what a request prefers, in one `Prefer` header or several."""
    return parameters.parse_preference(", ".join(req.headers.getlist("prefer")))
