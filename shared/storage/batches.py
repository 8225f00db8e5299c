"""Entity group transactions on the wire. Pure: requests and answers in, bytes and results out.

https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions
"""

import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import orjson
from azure.data.tables import TableTransactionError, UpdateMode

_PART = b"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
_ACCEPT = "Accept: application/json;odata=minimalmetadata\r\nDataServiceVersion: 3.0\r\n"
_JSON = "Content-Type: application/json\r\nPrefer: return-no-content\r\n"
_RESPONSE = re.compile(rb"^HTTP/1\.1 (\d{3})", re.MULTILINE)
_ETAG = re.compile(rb"^etag: *(.+?)\r?$", re.MULTILINE | re.IGNORECASE)

Operation = tuple[str, Mapping[str, Any]] | tuple[str, Mapping[str, Any], Mapping[str, Any]]
"""A verb, a row, and for `update` and `delete` a condition, as azure-data-tables has them. An update is a merge."""


def encode(table_url: str, operations: Sequence[Operation]) -> tuple[str, bytes]:
    """Return the boundary and the body of a transaction of these operations. Storage returns no entities.

    Raises ValueError for an operation, and TypeError for a value of a row, that is not supported here.
    """
    batch, changeset = f"batch_{uuid4()}", f"changeset_{uuid4()}"
    opening = f"--{batch}\r\nContent-Type: multipart/mixed; boundary={changeset}\r\n\r\n".encode()
    between = f"--{changeset}\r\n".encode() + _PART
    closing = f"--{changeset}--\r\n\r\n--{batch}--\r\n".encode()
    return batch, b"".join([opening, *(between + _part(table_url, *one) for one in operations), closing])


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


def row_path(partition: str, key: str) -> str:
    """Return the end of the URL of a row, behind the name of its table."""
    return f"(PartitionKey='{_quoted(partition)}',RowKey='{_quoted(key)}')"


def _part(table_url: str, verb: str, row: Mapping[str, Any], condition: Mapping[str, Any] | None = None) -> bytes:
    condition = condition or {}
    if verb == "create":
        return _with_body(f"POST {table_url} HTTP/1.1\r\n{_ACCEPT}{_JSON}", row)
    line = f"{table_url}{row_path(row['PartitionKey'], row['RowKey'])} HTTP/1.1\r\n{_ACCEPT}"
    if_match = f"If-Match: {condition.get('etag', '*')}\r\n"
    if verb == "delete":
        return f"DELETE {line}{if_match}\r\n\r\n".encode()
    if verb == "update" and condition.get("mode", UpdateMode.MERGE) is UpdateMode.MERGE:
        return _with_body(f"PATCH {line}{_JSON}{if_match}", row)
    raise ValueError(f"unknown operation: {verb}")


def _with_body(head: str, row: Mapping[str, Any]) -> bytes:
    body = orjson.dumps(properties := _properties(row))
    if not body.isascii():  # a server may cut a transaction at line ends such as U+2028. Azurite does
        body = json.dumps(properties, separators=(",", ":")).encode()
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body + b"\r\n"


def _properties(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties of a row as storage reads them. Texts, Booleans and 32-bit numbers need no type."""
    properties: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, bytes):
            properties[f"{name}@odata.type"] = "Edm.Binary"
            properties[name] = b64encode(value).decode()
        elif isinstance(value, str | int) and (isinstance(value, str) or -(2**31) <= value < 2**31):
            properties[name] = value
        else:
            raise TypeError(f"the property '{name}' has a value that a row cannot have here")
    return properties


def _quoted(text: str) -> str:
    return quote(text.replace("'", "''"), safe="")


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
