"""HTTP triggers: the Responses API, under every base path that official clients use.

https://developers.openai.com/api/reference/resources/responses
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import azure.functions as func
from azurefunctions.extensions.http.fastapi import Request, Response

from functions import console, creates, description, operators, relayed, webhooks
from functions.answers import (
    Answer,
    Handle,
    as_json,
    as_response,
    as_stream,
    for_anyone,
    for_callers,
    read_json,
    traced,
)
from functions.description import BASES
from functions.limits import limited, open_answer, waiting
from shared.bootstrap import service
from shared.contract import pages, parameters, requests
from shared.contract.callers import Caller
from shared.core.errors import (
    MethodNotAllowed,
    NotFound,
    SettingsError,
    StoreError,
    StoreIncomplete,
    Unavailable,
)
from shared.engine import Engine
from shared.erasure import orders
from shared.lists import queries
from shared.upstreams.health import Sight, UpstreamState

blueprint = func.Blueprint()

# The methods that the web server of the FastAPI extension serves, and that the host can route. If the host forwards a
# request that this server answers without calling a function, the invocation never ends, until `functionTimeout`
# restarts the worker. So every route names its methods.
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
# For the same reason every path parameter has a constraint, in .NET's regular expressions: the web server does not
# accept a line break in a path. An id without white space reaches a function, and a wrong one is our own 404.
# https://learn.microsoft.com/aspnet/core/fundamentals/routing#route-constraints
NO_SPACE = r":regex(^\S*\z)"
_RESPONSE = r"(?:resp_[0-9a-f]{32}|ct_[A-Za-z0-9_-]+)"
_allowed: dict[re.Pattern[str], list[str]] = {}


async def retrieve(engine: Engine, caller: Caller, req: Request) -> Response:
    """GET /responses/{id}, with `Prefer: wait`, or as a stream with `stream=true` and a cursor."""
    if pages.is_true(req.query_params, "stream"):
        cursors = req.query_params.get("starting_after"), req.headers.get("last-event-id")
        async with open_answer(engine, caller) as opened:
            return opened.until_sent(as_stream(await engine.stream(caller, req.path_params["id"], *cursors)))
    prefer = creates.preference(req)
    include = parameters.known_includes(
        [value for name in ("include", "include[]") for value in req.query_params.getlist(name)]
    )
    wait_s = prefer.wait_s or 0
    async with waiting(engine, caller, wait_s):
        return as_response(await engine.retrieve(caller, req.path_params["id"], wait_s, include))


async def cancel(engine: Engine, caller: Caller, req: Request) -> Response:
    """POST /responses/{id}/cancel."""
    return as_response(await engine.cancel(caller, req.path_params["id"]))


async def delete(engine: Engine, caller: Caller, req: Request) -> Response:
    """DELETE /responses/{id}."""
    deleted = await engine.delete(caller, req.path_params["id"])
    return as_json({"id": deleted, "object": "response", "deleted": True})


async def erase(engine: Engine, caller: Caller, req: Request) -> Response:
    """DELETE /responses, with `before`, `user` or `safety_identifier`."""
    return as_json(await engine.erase(caller, orders.parse_order(req.query_params, caller.name)), 202)


async def show_erasure(engine: Engine, caller: Caller, req: Request) -> Response:
    """GET /erasures/{id}."""
    return as_json(await engine.erasure(caller, req.path_params["id"]))


async def list_input_items(engine: Engine, caller: Caller, req: Request) -> Response:
    """GET /responses/{id}/input_items."""
    return as_json(await engine.input_items(caller, req.path_params["id"], pages.parse_page(req.query_params)))


async def list_responses(engine: Engine, caller: Caller, req: Request) -> Response:
    """GET /responses, with `status`, `model`, `created_after`, `limit`, `order` and `after`."""
    return as_json(await engine.lists.responses(caller, queries.parse_responses(req.query_params)))


async def list_deliveries(engine: Engine, caller: Caller, req: Request) -> Response:
    """GET /responses/{id}/deliveries."""
    return as_json(await engine.deliveries(caller, req.path_params["id"]))


async def list_deliveries_in_trouble(engine: Engine, caller: Caller, req: Request) -> Response:
    """GET /deliveries, with `state`, `host`, `limit` and `after`."""
    return as_json(await engine.lists.deliveries_in_trouble(caller, queries.parse_deliveries(req.query_params)))


async def show_usage(engine: Engine, caller: Caller, req: Request) -> Response:
    """GET /usage, with `from` and `to`, which are days of UTC."""
    return as_json(await engine.lists.usage(caller, queries.parse_usage(req.query_params, engine.lists.this_day())))


async def redeliver(engine: Engine, caller: Caller, req: Request) -> Response:
    """POST /responses/{id}/deliveries/redeliver."""
    target = requests.parse_redelivery(await read_json(req, caller))
    return as_json(await engine.redeliver(caller, req.path_params["id"], target))


async def recover(engine: Engine, caller: Caller, req: Request) -> Response:
    """POST /deliveries/recover?since={time}, with `until`, `host` and `dry_run`."""
    return as_json(await engine.recover(caller, queries.parse_recovery(req.query_params)))


async def live(_req: Request) -> Response:
    """GET /health/live. This process answers."""
    return as_json({"status": "live"})


async def ready(_req: Request) -> Response:
    """GET /health/ready. 200 if the table, our queues and an upstream's credentials are usable, or else 503.

    Anybody may ask, so the answer is up to 5 s old.
    """
    try:
        known = await service()
        engine = known.engine
        await known.readiness.call("ready", engine.check, accepts_past=True)
    except SettingsError as error:
        raise Unavailable(str(error), code="settings") from error
    except StoreIncomplete as error:
        names = ", ".join(error.missing)
        raise Unavailable(
            f"Missing in storage: {names}. The first heartbeat of a process creates what is missing.", code="storage"
        ) from error
    except StoreError as error:
        raise Unavailable("Storage is not available.", code="storage") from error
    return as_json({"status": "ready", **_seen(engine.upstreams())})


async def upstream(_req: Request) -> Response:
    """GET /health/upstream. 503 while an upstream is down, as this process has seen it, or as its gate tells."""
    sights = (await service()).engine.upstreams()
    for name, sight in sights.items():
        if sight.state is UpstreamState.DOWN:
            which = f"The upstream '{name}'" if len(sights) > 1 else "The upstream"
            raise Unavailable(f"{which} does not answer as it should: {sight.detail}.", code=sight.reason)
    return as_json({"status": "ok", **_seen(sights)})


def _seen(sights: Mapping[str, Sight]) -> dict[str, Any]:
    """Return the first upstream as it was seen, and all by their names if there are several."""
    seen = {name: _as_seen(sight) for name, sight in sights.items()}
    first = {"upstream": next(iter(seen.values()))}
    return first | {"upstreams": seen} if len(seen) > 1 else first


def _as_seen(sight: Sight) -> dict[str, Any]:
    since = None if sight.since_s is None else int(sight.since_s)
    return {"state": sight.state, "since": since, "reason": sight.reason}


async def unmatched(req: Request) -> Response:
    """Answer a request that no route matches, with 405 if the path is one of ours, or else with 404."""
    path = req.url.path.removeprefix("/").removesuffix("/")
    allowed = sorted(method for pattern, methods in _allowed.items() if pattern.fullmatch(path) for method in methods)
    if not allowed:
        raise NotFound(f"Unknown path '{req.url.path[:200]}'.")
    names = ", ".join(allowed)
    error = MethodNotAllowed(f"{req.method[:20]} is not allowed here; allowed: {names}.")
    return as_json(error.envelope(), error.status, {"Allow": names})


def _for_callers(name: str, method: str, path: str, handle: Handle) -> None:
    for suffix, base in BASES.items():
        _register(name + suffix, method, base + path, for_callers(handle))


def _for_anyone(name: str, path: str, handle: Answer) -> None:
    for suffix, base in {"_root": "", **BASES}.items():
        _register(name + suffix, "GET", (base + path).lstrip("/"), for_anyone(handle))


def _register(name: str, method: str, route: str, answer: Answer) -> None:
    _allowed.setdefault(_pattern(route), []).append(method)
    _bind(name, [method], route, traced(route, answer))


def _bind(name: str, methods: Iterable[str], route: str, answer: Answer) -> None:
    blueprint.function_name(name)(blueprint.route(route.replace("}", NO_SPACE + "}"), methods=methods)(answer))


def _pattern(route: str) -> re.Pattern[str]:
    """Return a pattern of the paths of a route. Below /responses, only an id or a token is one of its paths."""
    known = _RESPONSE if "/responses/" in route else r"[^/\s]+"
    return re.compile(re.sub(r"\\\{\w+\\\}", lambda _: known, re.escape(route)), re.IGNORECASE)


ROUTES: tuple[tuple[str, str, str, Handle], ...] = (
    ("create_response", "POST", "/responses", limited(creates.create)),
    ("list_responses", "GET", "/responses", list_responses),
    ("retrieve_response", "GET", "/responses/{id}", retrieve),
    ("erase_responses", "DELETE", "/responses", limited(erase)),
    ("show_erasure", "GET", "/erasures/{id}", show_erasure),
    ("delete_response", "DELETE", "/responses/{id}", delete),
    ("cancel_response", "POST", "/responses/{id}/cancel", cancel),
    ("list_input_items", "GET", "/responses/{id}/input_items", list_input_items),
    ("list_deliveries", "GET", "/responses/{id}/deliveries", list_deliveries),
    ("redeliver", "POST", "/responses/{id}/deliveries/redeliver", redeliver),
    ("list_deliveries_in_trouble", "GET", "/deliveries", list_deliveries_in_trouble),
    ("show_usage", "GET", "/usage", show_usage),
    ("recover_deliveries", "POST", "/deliveries/recover", recover),
    *relayed.ROUTES,
    *operators.ROUTES,
)
"""The name of each function for callers, its method, its path and its handler."""

for _name, _method, _path, _handle in ROUTES:
    _for_callers(_name, _method, _path, _handle)
for _name, _path, _answer in console.ROUTES:
    _register(_name, "GET", _path, _answer)
_register("receive_webhook", "POST", "webhooks/upstream", for_anyone(webhooks.receive))
_for_anyone("health_live", "/health/live", live)
_for_anyone("health_ready", "/health/ready", ready)
_for_anyone("health_upstream", "/health/upstream", upstream)
_for_anyone("openapi", "/openapi.json", description.openapi)
# Routes are tried in the order of the functions' names, so this one is tried last.
_bind("unmatched", METHODS, "{*path}", traced(None, for_anyone(unmatched)))
