"""HTTP triggers: the Responses contract, under every base path that official clients use."""

import re
from collections.abc import Awaitable, Callable

import azure.functions as func
from azurefunctions.extensions.http.fastapi import Request, Response

from functions.answers import Handle, as_json, as_response, as_stream, for_anyone, for_callers, read_json
from shared import requests
from shared.callers import Caller
from shared.engine import Engine
from shared.errors import MethodNotAllowed, NotFound, SettingsError, StoreError, Unavailable
from shared.service import service

blueprint = func.Blueprint()

BASES = {"": "openai/v1", "_v1": "v1", "_azure": "openai"}
_allowed: dict[re.Pattern[str], list[str]] = {}


async def create(engine: Engine, caller: Caller, req: Request) -> Response:
    """POST /responses."""
    prefer = _preference(req)
    key = requests.idempotency_key(req.headers.get("idempotency-key"))
    wait_s = 0 if prefer.respond_async and prefer.wait_s is None else prefer.wait_s
    new = requests.parse(await read_json(req))
    if new.stream:
        return as_stream(await engine.create_stream(caller, new, key))
    record, body = await engine.create(caller, new, key, wait_s)
    if prefer.respond_async and not record.status.is_terminal:
        location = f"{req.url.path.rstrip('/')}/{record.id}"
        return as_response((record, body), 202, {"Location": location, "Preference-Applied": "respond-async"})
    return as_response((record, body))


async def retrieve(engine: Engine, caller: Caller, req: Request) -> Response:
    """GET /responses/{id}."""
    if req.query_params.get("stream", "").lower() == "true":
        cursors = req.query_params.get("starting_after"), req.headers.get("last-event-id")
        return as_stream(await engine.stream(caller, req.path_params["id"], *cursors))
    prefer = _preference(req)
    return as_response(await engine.retrieve(caller, req.path_params["id"], prefer.wait_s or 0))


def _preference(req: Request) -> requests.Preference:
    return requests.preference(", ".join(req.headers.getlist("prefer")))


async def cancel(engine: Engine, caller: Caller, req: Request) -> Response:
    """POST /responses/{id}/cancel."""
    return as_response(await engine.cancel(caller, req.path_params["id"]))


async def delete(engine: Engine, caller: Caller, req: Request) -> Response:
    """DELETE /responses/{id}."""
    deleted = await engine.delete(caller, req.path_params["id"])
    return as_json({"id": deleted, "object": "response", "deleted": True})


async def list_input_items(engine: Engine, caller: Caller, req: Request) -> Response:
    """GET /responses/{id}/input_items."""
    return as_json(await engine.input_items(caller, req.path_params["id"], requests.page(req.query_params)))


async def list_deliveries(engine: Engine, caller: Caller, req: Request) -> Response:
    """GET /responses/{id}/deliveries."""
    return as_json(await engine.deliveries(caller, req.path_params["id"]))


async def live(_req: Request) -> Response:
    """GET /health/live: this process answers."""
    return as_json({"status": "live"})


async def ready(_req: Request) -> Response:
    """GET /health/ready: table, queues and the upstream's credentials can be used."""
    try:
        await (await service()).engine.check()
    except SettingsError as error:
        raise Unavailable(str(error), code="settings") from error
    except StoreError as error:
        raise Unavailable("Storage is not available.", code="storage") from error
    return as_json({"status": "ready"})


async def unmatched(req: Request) -> Response:
    """Answer what no route takes: 405 where the path is one of ours, else 404."""
    path = req.url.path.removeprefix("/").removesuffix("/")
    allowed = sorted(method for pattern, methods in _allowed.items() if pattern.fullmatch(path) for method in methods)
    if not allowed:
        raise NotFound(f"Unknown path '{req.url.path[:200]}'.")
    names = ", ".join(allowed)
    error = MethodNotAllowed(f"{req.method[:20]} is not allowed here; allowed: {names}.")
    return as_json(error.envelope(), error.status, {"Allow": names})


def _responses(name: str, method: str, path: str, handle: Handle) -> None:
    for suffix, base in BASES.items():
        route = f"{base}/responses{path}"
        _allowed.setdefault(_pattern(route), []).append(method)
        blueprint.function_name(name + suffix)(blueprint.route(route, methods=[method])(for_callers(handle)))


def _health(name: str, handle: Callable[[Request], Awaitable[Response]]) -> None:
    for suffix, base in {"_root": "", **BASES}.items():
        route = f"{base}/health/{name}".lstrip("/")
        _allowed[_pattern(route)] = ["GET"]
        blueprint.function_name(f"health_{name}{suffix}")(blueprint.route(route, methods=["GET"])(for_anyone(handle)))


def _pattern(route: str) -> re.Pattern[str]:
    return re.compile(route.replace("{id}", "[^/]+"), re.IGNORECASE)


_responses("create_response", "POST", "", create)
_responses("retrieve_response", "GET", "/{id}", retrieve)
_responses("delete_response", "DELETE", "/{id}", delete)
_responses("cancel_response", "POST", "/{id}/cancel", cancel)
_responses("list_input_items", "GET", "/{id}/input_items", list_input_items)
_responses("list_deliveries", "GET", "/{id}/deliveries", list_deliveries)
_health("live", live)
_health("ready", ready)
# Routes are tried in the order of the functions' names: this one comes after all others.
blueprint.function_name("unmatched")(blueprint.route("{*path}")(for_anyone(unmatched)))
