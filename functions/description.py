"""The HTTP trigger that describes the API: its OpenAPI document, for tools. No key is needed."""

from functools import cache

from azurefunctions.extensions.http.fastapi import Request, Response

from functions.versioned import Versioned, as_version, versioned

BASES = {"": "openai/v1", "_v1": "v1", "_azure": "openai"}
"""The base paths of the API, by what is added to the names of functions."""


@cache
def document() -> Versioned:
    """Return the document as JSON. It is made with the first request, so that a start costs nothing."""
    from shared.openapi.document import written  # noqa: PLC0415 - only this request needs it

    return versioned(written(tuple(BASES.values())), "application/json")


async def openapi(req: Request) -> Response:
    """GET /openapi.json. 304 if the client has this version."""
    return as_version(req, document(), {"Cache-Control": "public, max-age=3600"})
