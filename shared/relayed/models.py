"""The models of a deployment: those of its upstreams, by the names that callers use, and its agents."""

import asyncio
from typing import Any

from shared.core.errors import NotFound, RefusedByUpstream, Unavailable
from shared.relayed.relaying import relay, segment
from shared.runtime.ports import Ports
from shared.upstreams.routes import Route
from shared.upstreams.specs import ANY

MODEL_OWNER = "background-responses"


async def models(ports: Ports) -> dict[str, Any]:
    """Return the models that callers may name. An upstream without a list of models has those that its settings name.

    Raises Unavailable if no upstream can be asked.
    """
    routes = ports.upstreams.routes
    answers = await asyncio.gather(*map(_listed, routes))
    if all(isinstance(answer, Unavailable) for answer in answers):
        raise next(answer for answer in answers if isinstance(answer, Unavailable))
    found: dict[str, dict[str, Any]] = {}
    for route, listed in zip(routes, answers, strict=True):
        theirs = [] if isinstance(listed, Unavailable) else listed
        for one in (*theirs, *map(_model, _named(route))):
            if ports.upstreams.serving(str(one.get("id"))) is route:
                found.setdefault(str(one.get("id")), one)
    return {"object": "list", "data": [*found.values(), *map(_model, ports.upstreams.agent_names())]}


async def _listed(route: Route) -> list[dict[str, Any]] | Unavailable:
    """Return the models that an upstream lists, or the error if it cannot be asked.

    A model that it knows by another name than callers is left out.
    """
    try:
        listed = (await relay(route, "GET", "/models")).get("data")
    except (RefusedByUpstream, NotFound):
        return []
    except Unavailable as error:
        return error
    theirs = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return [one for one in theirs if one.get("id") not in route.spec.rename.values()]


def _named(route: Route) -> list[str]:
    """Return the models that the settings name for an upstream, without patterns."""
    return [name for name in dict.fromkeys((*route.spec.models, *route.spec.rename)) if ANY not in name]


async def model(ports: Ports, name: str) -> dict[str, Any]:
    """Return one model. Raises the upstream's refusal, and NotFound if no upstream serves the model."""
    if name in ports.upstreams.agent_names():
        return _model(name)
    route = ports.upstreams.route(name)
    theirs = route.spec.renamed(name)
    found = await relay(route, "GET", f"/models/{segment(theirs or name)}")
    return {**found, "id": name} if theirs else found


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": MODEL_OWNER}
