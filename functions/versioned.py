"""Answers that a client may keep: it names the version that it has, and gets 304 if that is still the one.

https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2
"""

import hashlib
from typing import NamedTuple

from azurefunctions.extensions.http.fastapi import Request, Response


class Versioned(NamedTuple):
    """A body, as it is sent. Its ETag is made once."""

    body: bytes
    kind: str  # its media type
    tag: str  # its ETag


def versioned(body: bytes, kind: str) -> Versioned:
    """Return a body of this media type with an ETag, which changes with its bytes."""
    return Versioned(body, kind, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def as_version(req: Request, known: Versioned, headers: dict[str, str]) -> Response:
    """Return the answer with this body and these headers, or 304 if the request's `If-None-Match` names its version."""
    headers = {**headers, "ETag": known.tag}
    if known.tag in req.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(known.body, headers=headers, media_type=known.kind)
