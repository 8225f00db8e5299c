"""The OpenAPI document of the service.

https://spec.openapis.org/oas/v3.1.1.html
"""

from collections.abc import Iterable, Sequence

import orjson

from shared.contract.requests import EVENTS, TARGETS
from shared.openapi import faults, parameters, response_schemas
from shared.openapi.event_schemas import event_schemas
from shared.openapi.objects import object_schemas
from shared.openapi.operation import JSON, Operation
from shared.openapi.operations import RELAYED, RESPONSES
from shared.openapi.operator_operations import OPERATOR, PUBLIC
from shared.openapi.operator_schemas import operator_schemas
from shared.openapi.page_operations import PAGE
from shared.openapi.schemas import OBJECT, TEXT, Schema, const, list_of, one_text_of, or_null, record, ref

VERSION = "0.1.0"  # as in pyproject.toml, which is not deployed
OPERATIONS: tuple[Operation, ...] = (*RESPONSES, *RELAYED, *OPERATOR, *PUBLIC, *PAGE)
TAGS = {
    "Responses": "Background, foreground and streamed responses.",
    "Deliveries": "Callbacks and reply queues.",
    "Usage": "What a caller has used.",
    "Erasures": "Receipts of erasures.",
    "Models": "What the upstreams and agents serve.",
    "Conversations": "Conversations, which the upstream keeps.",
    "Operator": "For callers with the role `operator`.",
    "Health": "For probes. No key is needed.",
    "Webhooks": "For the upstream.",
    "Openapi": "This document. No key is needed.",
    "Console": "A page for people. Its files need no key.",
}
_ABOUT = """A durable service of the OpenAI Responses API. It starts a slow call, and returns a continuation token at
once. Collect the result later: by polling, by a stream that resumes, by a signed callback, or from a queue.

An unknown path is a 404, and a method that a path does not have is a 405 with `Allow`. White space in a path is an
empty 404 of the platform. Every answer of the service has an `x-request-id`.
"""
_SECURITY: dict[str, Schema] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "The API key of a caller."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "api-key", "description": "The same key."},
    "functionsKey": {"type": "apiKey", "in": "header", "name": "x-functions-key", "description": "The same key."},
}


def written(bases: tuple[str, ...]) -> bytes:
    """Return the document as JSON, for an API that is served under these bases."""
    return orjson.dumps(document(bases), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def document(bases: Sequence[str]) -> Schema:
    """Return the document of the API under these bases, such as `openai/v1`. Probes are also served at the root."""
    paths = _paths(bases)
    return {
        "openapi": "3.1.1",
        "info": {"title": "Background Responses", "version": VERSION, "description": _ABOUT},
        "servers": _servers(bases),
        "security": [{name: []} for name in _SECURITY],
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "paths": paths,
        "webhooks": {kind: {"post": _callback(kind)} for kind in EVENTS},
        "components": {
            "schemas": dict(sorted(_schemas().items())),
            "responses": _share_errors(paths),
            "headers": parameters.answer_headers(),
            "securitySchemes": _SECURITY,
        },
    }


def _servers(bases: Iterable[str]) -> list[Schema]:
    return [{"url": f"/{base}"} for base in bases]


def _paths(bases: Sequence[str]) -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    for one in OPERATIONS:
        path = found.setdefault(one.path, {})
        if one.is_at_root:
            path["servers"] = _servers([""])
        elif one.is_public:
            path["servers"] = _servers(["", *bases])
        path[one.method.lower()] = one.shown()
    return found


def _share_errors(paths: dict[str, Schema]) -> dict[str, Schema]:
    """Replace the error answers by references, and return them by name. Many operations have the same ones."""
    named: dict[bytes, str] = {}
    found: dict[str, Schema] = {}
    operations = (one for path in paths.values() for method, one in path.items() if method != "servers")
    for operation in operations:
        for status, shown in operation["responses"].items():
            if status.startswith(("4", "5")):
                name = named.setdefault(orjson.dumps(shown), f"Error{status}_{len(named) + 1}")
                found[name] = shown
                operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
    return found


def _schemas() -> dict[str, Schema]:
    return {
        "Response": response_schemas.response(),
        "ListedResponse": response_schemas.listed_response(),
        "CreateResponse": response_schemas.create_request(),
        "RelayedRequest": response_schemas.relayed_request(),
        "TokenUsage": response_schemas.USAGE,
        "Waiting": response_schemas.WAITING,
        "Redelivery": record({}, {"target": or_null(one_text_of(TARGETS))}, "Without a target, all are meant."),
        "ConversationRequest": record({}, {"items": or_null(list_of(OBJECT)), "metadata": or_null(OBJECT)}),
        "ConversationItems": record({}, {"items": list_of(OBJECT)}),
        "Document": {
            **record({"openapi": TEXT, "info": OBJECT, "paths": OBJECT}, about="An OpenAPI document."),
            "additionalProperties": True,
        },
        **event_schemas(),
        **object_schemas(),
        **operator_schemas(),
        **faults.error_schemas(),
    }


def _callback(kind: str) -> Schema:
    """Return the call that a receiver gets when a response ends."""
    schema = {"allOf": [ref("WebhookEvent"), {"properties": {"type": const(kind)}}]}
    return {
        "operationId": f"on_{kind.replace('.', '_')}",
        "summary": f"A response has ended: `{kind}`",
        "description": "Signed as Standard Webhooks says. Verify it with the bytes of the body.",
        "security": [],
        "parameters": [one.shown() for one in parameters.WEBHOOK],
        "requestBody": {"required": True, "content": {JSON: {"schema": schema}}},
        "responses": {
            "2XX": {"description": "The event is delivered. Answer within 15 s."},
            "410": {"description": "The receiver is gone. The event is sent again only if you redeliver it."},
            "413": {"description": "The event is too large for the receiver. It is not sent again."},
            "default": {"description": "The event is sent again later. `Retry-After` may say when."},
        },
    }
