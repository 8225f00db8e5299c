"""The calls of the contract beside responses: models, counts of tokens, compactions and conversations."""

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from local.model.create_body import parse
from local.model.errors import ApiError
from local.model.input_page import limit_in

Handler = Callable[[Request], Awaitable[Response]]
MODELS = ("sim-instant", "sim-1s", "sim-60s")


class OtherCalls:
    """The handlers, and the conversations that were made. Nothing is isolated, as in one project of the upstream."""

    def __init__(self) -> None:
        self._conversations: dict[str, dict[str, Any]] = {}
        self._items: dict[str, list[dict[str, Any]]] = {}

    def routes(self, counted: Callable[[str, Handler], Handler]) -> list[BaseRoute]:
        """Return the routes. `counted` wraps each handler under the name of its call."""
        one, items = "/conversations/{id}", "/conversations/{id}/items"
        found: list[tuple[str, str, str, Handler]] = [
            ("models", "GET", "/models", self._models),
            ("models", "GET", "/models/{id}", self._model),
            ("input_tokens", "POST", "/responses/input_tokens", self._input_tokens),
            ("compactions", "POST", "/responses/compact", self._compact),
            ("conversations", "POST", "/conversations", self._create),
            ("conversations", "GET", one, self._retrieve),
            ("conversations", "POST", one, self._modify),
            ("conversations", "DELETE", one, self._delete),
            ("conversations", "POST", items, self._add),
            ("conversations", "GET", items, self._list),
        ]
        return [Route(path, counted(name, handle), methods=[method]) for name, method, path, handle in found]

    async def _models(self, _request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [_model(name) for name in MODELS]})

    async def _model(self, request: Request) -> Response:
        name = request.path_params["id"]
        if not name.startswith("sim-"):
            raise ApiError(404, f"The model '{name}' does not exist.", param="model", code="model_not_found")
        return JSONResponse(_model(name))

    async def _input_tokens(self, request: Request) -> Response:
        body = await _body(request)
        words = len(orjson.dumps(body.get("input")).split())
        return JSONResponse({"object": "response.input_tokens", "input_tokens": words})

    async def _compact(self, request: Request) -> Response:
        body = await _body(request)
        if "model" not in body:
            raise ApiError(
                400, "Missing required parameter: 'model'.", param="model", code="missing_required_parameter"
            )
        kept = {"id": f"cmp_{secrets.token_hex(8)}", "type": "compaction", "encrypted_content": "sealed"}
        usage = {
            "input_tokens": 3,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 1,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 4,
        }
        made = {"id": f"resp_{secrets.token_hex(16)}", "object": "response.compaction", "created_at": 1_800_000_000}
        return JSONResponse({**made, "output": [kept], "usage": usage, "asked_for": body.get("previous_response_id")})

    async def _create(self, request: Request) -> Response:
        body = await _body(request)
        named = f"conv_{secrets.token_hex(8)}"
        self._items[named] = _items_in(body) if body.get("items") is not None else []
        self._conversations[named] = {
            "id": named,
            "object": "conversation",
            "created_at": 1_800_000_000,
            "metadata": body.get("metadata") or {},
        }
        return JSONResponse(self._conversations[named])

    async def _retrieve(self, request: Request) -> Response:
        return JSONResponse(self._found(request))

    async def _modify(self, request: Request) -> Response:
        self._found(request)["metadata"] = (await _body(request)).get("metadata") or {}
        return JSONResponse(self._found(request))

    async def _delete(self, request: Request) -> Response:
        named = self._found(request)["id"]
        del self._conversations[named]
        return JSONResponse({"id": named, "object": "conversation.deleted", "deleted": True})

    async def _add(self, request: Request) -> Response:
        items = self._items[self._found(request)["id"]]
        items += _items_in(await _body(request))
        return JSONResponse({"object": "list", "data": items, "has_more": False})

    async def _list(self, request: Request) -> Response:
        items = self._items[self._found(request)["id"]]
        limit = limit_in(request.query_params)
        return JSONResponse({"object": "list", "data": items[:limit], "has_more": len(items) > limit})

    def _found(self, request: Request) -> dict[str, Any]:
        named = request.path_params["id"]
        if named not in self._conversations:
            raise ApiError(404, f"Conversation with id '{named}' not found.")
        return self._conversations[named]


async def _body(request: Request) -> dict[str, Any]:
    """Return the body, or an empty object without one. Raise a 400 as for a create."""
    return parse(await request.body() or b"{}")


def _items_in(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the items of a body with their ids and types. Raise a 400 if they are no list of items."""
    given = body.get("items")
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise ApiError(400, "'items' must be a list of items.", param="items", code="invalid_type")
    items = [{"id": f"msg_{secrets.token_hex(8)}", "type": "message", **one} for one in given]
    if not all(isinstance(one["id"], str) and isinstance(one["type"], str) for one in items):
        raise ApiError(400, "The type and the id of an item must be strings.", param="items", code="invalid_type")
    return items


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1_800_000_000, "owned_by": "simulation"}
