"""The calls of the contract beside responses: models, counts of tokens, compactions and conversations."""

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from local.model.errors import ApiError

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
        body = orjson.loads(await request.body())
        words = len(orjson.dumps(body.get("input")).split())
        return JSONResponse({"object": "response.input_tokens", "input_tokens": words})

    async def _compact(self, request: Request) -> Response:
        body = orjson.loads(await request.body())
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
        body = orjson.loads(await request.body() or b"{}")
        named = f"conv_{secrets.token_hex(8)}"
        self._items[named] = list(body.get("items") or [])
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
        self._found(request)["metadata"] = orjson.loads(await request.body()).get("metadata")
        return JSONResponse(self._found(request))

    async def _delete(self, request: Request) -> Response:
        named = self._found(request)["id"]
        del self._conversations[named]
        return JSONResponse({"id": named, "object": "conversation.deleted", "deleted": True})

    async def _add(self, request: Request) -> Response:
        items = self._items[self._found(request)["id"]]
        items += orjson.loads(await request.body())["items"]
        return JSONResponse({"object": "list", "data": items, "has_more": False})

    async def _list(self, request: Request) -> Response:
        items = self._items[self._found(request)["id"]]
        limit = int(request.query_params.get("limit", "20"))
        return JSONResponse({"object": "list", "data": items[:limit], "has_more": len(items) > limit})

    def _found(self, request: Request) -> dict[str, Any]:
        named = request.path_params["id"]
        if named not in self._conversations:
            raise ApiError(404, f"Conversation with id '{named}' not found.")
        return self._conversations[named]


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1_800_000_000, "owned_by": "simulation"}
