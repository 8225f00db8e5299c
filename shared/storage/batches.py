"""Entity group transactions on the wire. Pure: requests and answers in, bytes and results out.

https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import orjson
from azure.core.rest import HttpRequest
from azure.data.tables import TableTransactionError

_PART = b"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
_KEPT = ("Content-Type", "DataServiceVersion", "If-Match")
_RESPONSE = re.compile(rb"^HTTP/1\.1 (\d{3})", re.MULTILINE)
_ETAG = re.compile(rb"^etag: *(.+?)\r?$", re.MULTILINE | re.IGNORECASE)


def encode(requests: Sequence[HttpRequest]) -> tuple[str, bytes]:
    """Return the boundary and the body of a transaction of these requests. Storage returns no entities."""
    batch, changeset = f"batch_{uuid4()}", f"changeset_{uuid4()}"
    opening = f"--{batch}\r\nContent-Type: multipart/mixed; boundary={changeset}\r\n\r\n".encode()
    between = f"--{changeset}\r\n".encode()
    closing = f"--{changeset}--\r\n\r\n--{batch}--\r\n".encode()
    return batch, b"".join([opening, *(between + _PART + _part(request) for request in requests), closing])


def decode(content: bytes) -> list[Mapping[str, Any]]:
    """Return the ETag of each operation, in order, from the body of an answer.

    Raises TableTransactionError if an operation failed.
    """
    starts = list(_RESPONSE.finditer(content))
    ends = [match.start() for match in starts[1:]] + [len(content)]
    parts = [(int(match[1]), content[match.end() : end]) for match, end in zip(starts, ends, strict=True)]
    for status, part in parts:
        if not 200 <= status < 300:
            raise _error(status, part)
    return [{"etag": found[1].decode() if (found := _ETAG.search(part)) else None} for _, part in parts]


def _part(request: HttpRequest) -> bytes:
    kept = [f"{name}: {request.headers[name]}" for name in _KEPT if name in request.headers]
    body = request.content or b""
    body = body.encode() if isinstance(body, str) else bytes(body)
    if body:
        kept += [f"Content-Length: {len(body)}", "Prefer: return-no-content"]
    line = f"{request.method} {request.url} HTTP/1.1"
    head = "\r\n".join([line, "Accept: application/json;odata=minimalmetadata", *kept])
    return head.encode() + b"\r\n\r\n" + body + b"\r\n"


def _error(status: int, part: bytes) -> TableTransactionError:
    """Return the error of the operation that failed. Storage puts its index before the message."""
    try:
        said = orjson.loads(part[part.index(b"{") : part.rindex(b"}") + 1])["odata.error"]
        code, message = said["code"], said["message"]["value"]
    except (ValueError, KeyError, TypeError):
        code, message = None, "0:the transaction failed"
    error = TableTransactionError(message=message)
    error.status_code = status
    error.error_code = code  # type: ignore[attr-defined]  # as the library sets it, undeclared
    return error
