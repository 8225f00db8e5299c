"""HTTP triggers for operators: callers whose entry in CALLERS has the role `operator`.

The paths begin with /operator, because the platform keeps /admin for itself.
"""

from azurefunctions.extensions.http.fastapi import Request, Response

from functions.answers import Handle, as_json, read_json
from shared.contract import requests
from shared.contract.callers import Caller
from shared.core.errors import BadRequest, ServiceError
from shared.engine import Engine
from shared.erasure import orders
from shared.lists import queries


class Forbidden(ServiceError):
    """The caller has not the role that this needs."""

    status = 403
    type = "invalid_request_error"


def for_operators(handle: Handle) -> Handle:
    """Return a handler that refuses every caller who is no operator."""

    async def checked(engine: Engine, caller: Caller, req: Request) -> Response:
        if not caller.is_operator:
            raise Forbidden("Only callers with the role 'operator' may do this.", code="operator_required")
        return await handle(engine, caller, req)

    return checked


async def operator_status(engine: Engine, _caller: Caller, _req: Request) -> Response:
    """GET /operator/status."""
    return as_json(await engine.operators.status())


async def operator_responses(engine: Engine, _caller: Caller, req: Request) -> Response:
    """GET /operator/responses, with `caller` and the parameters of GET /responses."""
    query = queries.parse_responses(req.query_params)
    return as_json(await engine.operators.responses(query, req.query_params.get("caller")))


async def operator_deliveries(engine: Engine, _caller: Caller, req: Request) -> Response:
    """GET /operator/deliveries, with `caller` and the parameters of GET /deliveries."""
    query = queries.parse_deliveries(req.query_params)
    return as_json(await engine.operators.deliveries(query, req.query_params.get("caller")))


async def operator_usage(engine: Engine, _caller: Caller, req: Request) -> Response:
    """GET /operator/usage, with `caller`, `from` and `to`."""
    query = queries.parse_usage(req.query_params, engine.lists.this_day())
    return as_json(await engine.operators.usage(query, req.query_params.get("caller")))


async def operator_cancel(engine: Engine, caller: Caller, req: Request) -> Response:
    """POST /operator/responses/{id}/cancel."""
    return as_json(await engine.operators.cancel(caller, req.path_params["id"]))


async def operator_erase(engine: Engine, caller: Caller, req: Request) -> Response:
    """DELETE /operator/responses, with `caller` and the parameters of DELETE /responses."""
    whose = req.query_params.get("caller")
    if not whose:
        raise BadRequest("Say whose responses: 'caller'.", param="caller", code="missing_required")
    wanted = orders.parse_order(req.query_params, whose, whole_caller=True)
    return as_json(await engine.operators.erase(caller, whose, wanted), 202)


async def operator_redeliver(engine: Engine, caller: Caller, req: Request) -> Response:
    """POST /operator/responses/{id}/deliveries/redeliver."""
    target = requests.parse_redelivery(await read_json(req, caller))
    return as_json(await engine.operators.redeliver(caller, req.path_params["id"], target))


ROUTES: tuple[tuple[str, str, str, Handle], ...] = (
    ("operator_status", "GET", "/operator/status", for_operators(operator_status)),
    ("operator_responses", "GET", "/operator/responses", for_operators(operator_responses)),
    ("operator_deliveries", "GET", "/operator/deliveries", for_operators(operator_deliveries)),
    ("operator_usage", "GET", "/operator/usage", for_operators(operator_usage)),
    ("operator_erase", "DELETE", "/operator/responses", for_operators(operator_erase)),
    ("operator_cancel", "POST", "/operator/responses/{id}/cancel", for_operators(operator_cancel)),
    ("operator_redeliver", "POST", "/operator/responses/{id}/deliveries/redeliver", for_operators(operator_redeliver)),
)
"""The name of each function, its method, its path and its handler."""
