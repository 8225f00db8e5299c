"""The simulated model over HTTP: the Responses contract, with counts and fault switches under /_sim."""

import asyncio
import contextlib
import hmac
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeAlias

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from local.model.behaviour import Status
from local.model.connection import NoAnswer, gone_within
from local.model.create_body import parse
from local.model.errors import ApiError, ConnectionCutError, not_found
from local.model.events import live
from local.model.faults import Faults
from local.model.input_page import input_page
from local.model.other_calls import OtherCalls
from local.model.response_object import response_object
from local.model.simulation import Simulation
from local.model.streaming import EventStream, check_replayable, frames
from local.model.webhooks import Webhooks
from local.model.work import Work

PREFIXES = ("/openai/v1", "/openai", "/v1")
COUNTED = ("creates", "streams", "retrieves", "replays", "deletes", "cancels", "input_items")

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


def create_app(simulation: Simulation, faults: Faults, webhooks: Webhooks, api_key: str | None) -> Starlette:
    """Return the app. With an `api_key`, calls without it are answered with 401."""
    model = Model(simulation, faults, webhooks, api_key)
    routes = [*model.control_routes(), *(Mount(prefix, routes=model.routes()) for prefix in PREFIXES)]
    handlers: dict[Any, Any] = {
        ApiError: _error_answer,
        HTTPException: _http_error_answer,
        ConnectionCutError: lambda _request, _error: NoAnswer(),
        ClientDisconnect: lambda _request, _error: NoAnswer(),
    }
    return Starlette(routes=routes, exception_handlers=handlers)


class Model:
    """The handlers of all calls."""

    def __init__(self, simulation: Simulation, faults: Faults, webhooks: Webhooks, api_key: str | None) -> None:
        self._simulation = simulation
        self._faults = faults
        self._webhooks = webhooks
        self._api_key = api_key
        self._calls: Counter[str] = Counter()
        self._open_streams = 0
        self._held = 0
        self._others = OtherCalls()

    def routes(self) -> list[BaseRoute]:
        """Return the routes of the contract. Each call is counted under its own name."""
        one = "/responses/{id}"
        return [
            *self._others.routes(self._counted),
            Route("/responses", self._counted("creates", self._create), methods=["POST"]),
            Route(one, self._counted("retrieves", self._retrieve), methods=["GET"]),
            Route(one, self._counted("deletes", self._delete), methods=["DELETE"]),
            Route(f"{one}/cancel", self._counted("cancels", self._cancel), methods=["POST"]),
            Route(f"{one}/input_items", self._counted("input_items", self._input_items), methods=["GET"]),
        ]

    def control_routes(self) -> list[BaseRoute]:
        """Return the routes that tests use to inspect and control the simulation. They have no key and no faults."""
        return [
            Route("/_sim/stats", self._stats, methods=["GET"]),
            Route("/_sim/starts", self._starts, methods=["GET"]),
            Route("/_sim/completions", self._completions, methods=["GET"]),
            Route("/_sim/polls", self._polls, methods=["GET"]),
            Route("/_sim/reset", self._reset, methods=["POST"]),
            Route("/_sim/faults", self._change_faults, methods=["POST"]),
        ]

    def _counted(self, name: str, handle: Handler) -> Handler:
        async def handler(request: Request) -> Response:
            self._calls[name] += 1
            self._authenticate(request)
            await asyncio.sleep(self._faults.switches.latency_s)
            self._faults.strike()
            if self._faults.switches.forget_unfinished:
                self._simulation.forget_unfinished(time.monotonic())
            return await handle(request)

        return handler

    def _authenticate(self, request: Request) -> None:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        given = request.headers.get("api-key", bearer)
        if self._api_key and not hmac.compare_digest(given.encode(), self._api_key.encode()):
            raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")

    async def _create(self, request: Request) -> Response:
        body = self._faults.adapt_create(parse(await request.body()))
        self._faults.refuse_create()
        work = self._started(body, request.headers.get("idempotency-key"))
        await self._hold(self._faults.switches.create_latency_s)
        await self._webhooks.precede(work)
        self._faults.lose_answer()
        if work.streamed:
            self._calls["streams"] += 1
            return self._stream(request, work, first=0)
        if not work.background and await gone_within(request, work.left_s(time.monotonic())):
            self._simulation.abandon(work, time.monotonic())
        return self._answer(work)

    async def _hold(self, for_s: float) -> None:
        """Keep the answer of a create call back for a time in seconds, during which the call is counted as held."""
        self._held += 1
        try:
            await asyncio.sleep(for_s)
        finally:
            self._held -= 1

    def _started(self, body: dict[str, Any], key: str | None) -> Work:
        switches = self._faults.switches
        known = self._simulation.repeated(key)
        if known and not switches.ignore_idempotency:
            return known
        work = self._simulation.start(body, key, time.monotonic(), switches.keepalive_s)
        self._webhooks.watch(work)
        return work

    async def _retrieve(self, request: Request) -> Response:
        work = self._found(request)
        work.polled_s.append(work.age_s(time.monotonic()))
        if work.age_s(time.monotonic()) < self._faults.switches.missing_s:
            raise not_found(work.id)
        if request.query_params.get("stream") != "true":
            return self._answer(work)
        check_replayable(work, work.age_s(time.monotonic()), self._faults)
        first = _starting_after(request) + 1
        self._calls["replays"] += 1
        return self._stream(request, work, first)

    async def _cancel(self, request: Request) -> Response:
        return self._answer(self._simulation.cancel(request.path_params["id"], time.monotonic()))

    async def _delete(self, request: Request) -> Response:
        response_id = request.path_params["id"]
        self._simulation.delete(response_id, time.monotonic())
        return _json({"id": response_id, "object": "response", "deleted": True})

    async def _input_items(self, request: Request) -> Response:
        return _json(input_page(self._found(request).given, request.query_params))

    def _found(self, request: Request) -> Work:
        return self._simulation.find(request.path_params["id"], time.monotonic())

    def _answer(self, work: Work) -> Response:
        status = work.status(time.monotonic())
        body = response_object(work, status)
        if status is Status.QUEUED and self._faults.switches.null_while_queued:
            body |= {"created_at": None, "output": None}
        unfinished = status in (Status.QUEUED, Status.IN_PROGRESS)
        return _json(body, retry_after_s=self._faults.switches.retry_after_s if unfinished else None)

    def _stream(self, request: Request, work: Work, first: int) -> Response:
        events = live(work, first, time.monotonic)
        mangled = frames(events, work.id, self._faults, request.state.cut)
        return EventStream(mangled, _request_id(), self._open_stream(work))

    @contextlib.contextmanager
    def _open_stream(self, work: Work) -> Iterator[None]:
        self._open_streams += 1
        try:
            yield
        finally:
            self._open_streams -= 1
            self._simulation.abandon(work, time.monotonic())

    async def _stats(self, _request: Request) -> Response:
        counted = dict.fromkeys(COUNTED, 0) | self._calls
        counted |= {"open_streams": self._open_streams, "stalled": self._faults.stalled, "held": self._held}
        return _json(counted | self._webhooks.stats() | self._simulation.stats(time.monotonic()))

    async def _starts(self, _request: Request) -> Response:
        return _json(self._simulation.starts())

    async def _completions(self, _request: Request) -> Response:
        return _json(self._simulation.completions(time.monotonic()))

    async def _polls(self, _request: Request) -> Response:
        """Answer with the ages at which each response was retrieved, and its age now, by key. Ages are in seconds."""
        return _json({"polled": self._simulation.polled(), "ages": self._simulation.ages(time.monotonic())})

    async def _reset(self, _request: Request) -> Response:
        self._simulation.forget_all()
        self._webhooks.forget_all()
        self._calls.clear()
        self._faults.reset()
        return _json({})

    async def _change_faults(self, request: Request) -> Response:
        self._faults.change(await request.body())
        return _json(self._faults.switches.model_dump())


def _starting_after(request: Request) -> int:
    try:
        return int(request.query_params.get("starting_after", "-1"))
    except ValueError:
        raise ApiError(400, "'starting_after' must be an integer.", param="starting_after") from None


def _json(body: object, status: int = 200, retry_after_s: float | None = None) -> Response:
    headers = _request_id() if retry_after_s is None else _request_id() | {"retry-after": f"{retry_after_s:g}"}
    return Response(orjson.dumps(body), status, headers, "application/json")


def _request_id() -> dict[str, str]:
    return {"x-request-id": f"req_{secrets.token_hex(16)}"}


def _error_answer(_request: Request, error: ApiError) -> Response:
    return _json(error.envelope, error.status, error.retry_after_s)


def _http_error_answer(_request: Request, error: HTTPException) -> Response:
    return _json(ApiError(error.status_code, error.detail).envelope, error.status_code)
