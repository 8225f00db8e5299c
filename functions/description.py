"""The HTTP trigger that describes the API: its OpenAPI document, for tools. No key is needed."""

import hashlib
from functools import lru_cache

from azurefunctions.extensions.http.fastapi import Request, Response

BASES = {"": "openai/v1", "_v1": "v1", "_azure": "openai"}
"""The base paths of the API, by what is added to the names of functions."""


@lru_cache(1)
def document() -> tuple[bytes, str]:
    """Return the document as JSON, and its ETag. It is made with the first request, so that a start costs nothing."""
    from shared.openapi.document import written  # noqa: PLC0415 - only this request needs it

    text = written(tuple(BASES.values()))
    return text, f'"{hashlib.sha256(text).hexdigest()[:32]}"'


async def openapi(req: Request) -> Response:
    """GET /openapi.json. 304 if the client has this version."""
    text, etag = document()
    headers = {"ETag": etag, "Cache-Control": "public, max-age=3600"}
    if etag in req.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(text, headers=headers, media_type="application/json")
