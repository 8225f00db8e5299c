"""HTTP triggers that pass a request on to the upstream: models, counts of tokens, compactions and conversations."""

from azurefunctions.extensions.http.fastapi import Request, Response

from functions.answers import Handle, as_json, read_json
from shared import off_loop
from shared.contract import requests
from shared.contract.callers import Caller
from shared.engine import Engine
from shared.relayed.conversations import ConversationCall


async def models(engine: Engine, _caller: Caller, _req: Request) -> Response:
    """GET /models."""
    return as_json(await engine.models())


async def model(engine: Engine, _caller: Caller, req: Request) -> Response:
    """GET /models/{id}."""
    return as_json(await engine.model(req.path_params["id"]))


async def input_tokens(engine: Engine, caller: Caller, req: Request) -> Response:
    """POST /responses/input_tokens."""
    return as_json(await engine.input_tokens(caller, await _body(caller, req)))


async def compact(engine: Engine, caller: Caller, req: Request) -> Response:
    """POST /responses/compact."""
    return as_json(await engine.compact(caller, await _body(caller, req)))


async def create_conversation(engine: Engine, caller: Caller, req: Request) -> Response:
    """POST /conversations. The query may name a model, whose upstream then keeps the conversation."""
    return as_json(await engine.create_conversation(caller, await _body(caller, req), req.query_params.get("model")))


def _on_conversation(*names: str) -> Handle:
    """Return the handler of a path below a conversation. `names` are its parameters and its fixed segments."""

    async def handle(engine: Engine, caller: Caller, req: Request) -> Response:
        body = await _body(caller, req) if req.method == "POST" else None
        segments = tuple(req.path_params.get(name, name) for name in names)
        return as_json(
            await engine.on_conversation(caller, ConversationCall(req.method, segments, req.query_params, body))
        )

    return handle


async def _body(caller: Caller, req: Request) -> dict[str, object]:
    raw = await read_json(req, caller)
    return await off_loop.run(len(raw), requests.parse_object, raw)


conversation = _on_conversation("id")
items = _on_conversation("id", "items")
item = _on_conversation("id", "items", "item")

ROUTES: tuple[tuple[str, str, str, Handle], ...] = (
    ("list_models", "GET", "/models", models),
    ("retrieve_model", "GET", "/models/{id}", model),
    ("count_input_tokens", "POST", "/responses/input_tokens", input_tokens),
    ("compact", "POST", "/responses/compact", compact),
    ("create_conversation", "POST", "/conversations", create_conversation),
    ("retrieve_conversation", "GET", "/conversations/{id}", conversation),
    ("modify_conversation", "POST", "/conversations/{id}", conversation),
    ("delete_conversation", "DELETE", "/conversations/{id}", conversation),
    ("create_items", "POST", "/conversations/{id}/items", items),
    ("list_items", "GET", "/conversations/{id}/items", items),
    ("retrieve_item", "GET", "/conversations/{id}/items/{item}", item),
    ("delete_item", "DELETE", "/conversations/{id}/items/{item}", item),
)
"""The name of each function, its method, its path and its handler."""
