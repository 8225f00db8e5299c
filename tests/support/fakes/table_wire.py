"""The seam of the product's table client: what is sent to Table Storage, answered by a `TableService` in memory.

Only the sockets are replaced. The requests, the transactions, the repeats after faults, the queries and their
continuations are those of the product. A `Courier` carries each request, and may lose, repeat or delay it.
"""

import re
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import unquote

import orjson
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import ResourceExistsError
from yarl import URL

from shared.storage.table_client import Table
from shared.storage.wire import Answer, Wire
from tests.support.fakes.table_service import Operation, Refused, Row, TableService

ENDPOINT = "https://account.table.core.windows.net"
_ROW = re.compile(r"/(\w+)\(PartitionKey='(.*)',RowKey='(.*)'\)$")
_QUERY = re.compile(
    r"PartitionKey eq '(?P<partition>[^']*)' and RowKey ge '(?P<first>[^']*)' and RowKey lt '(?P<end>[^']*)'"
    r"(?: and (?P<column>\w+) eq '(?P<text>[^']*)')?"
)
_PART = re.compile(
    rb"\r\n(?P<verb>POST|PATCH|DELETE) (?P<url>\S+) HTTP/1\.1\r\n(?P<head>.*?)\r\n\r\n"
    rb"(?P<body>.*?)(?=\r\n--changeset_)",
    re.DOTALL,
)
_IF_MATCH = re.compile(rb"If-Match: (.+?)\r?(?:\n|$)")


class Courier(Protocol):
    """Carries requests to the service and answers back."""

    async def carry(self, request: "TableRequest") -> Answer:
        """Return the answer to a request. Raises an error of aiohttp if there is none."""


class TableRequest:
    """A request on its way. It can be carried out more than once."""

    def __init__(
        self, service: TableService, method: str, url: URL, headers: Mapping[str, str], content: bytes
    ) -> None:
        self._service, self._method, self._url, self._headers, self._content = service, method, url, headers, content
        self.is_write = method != "GET"

    def carry_out(self) -> Answer:
        """Let the service act on it, and return its answer."""
        path = unquote(self._url.raw_path)
        try:
            if path.endswith("/$batch"):
                return self._transact()
            if row := _ROW.search(path):
                return self._on_row(row[1], _plain(row[2]), _plain(row[3]))
            return self._query(path.strip("/").removesuffix("()"))
        except Refused as refusal:
            return _answer(refusal.status, _error(refusal.code, refusal.code))

    def _on_row(self, table: str, partition: str, key: str) -> Answer:
        if self._method == "DELETE":
            self._service.transact(table, [Operation("DELETE", partition, key, {}, self._headers["If-Match"])])
            return Answer(204, {}, b"")
        return _answer(200, _selected(self._service.find(table, partition, key), self._url.query.get("$select")))

    def _query(self, table: str) -> Answer:
        query = self._url.query
        found = _QUERY.fullmatch(query.get("$filter", "PartitionKey eq '' and RowKey ge '' and RowKey lt ''"))
        assert found, f"a filter that this does not know: {query.get('$filter')}"
        column = (found["column"], _plain(found["text"])) if found["column"] else None
        first = query.get("NextRowKey", _plain(found["first"]))
        top = int(query.get("$top", "1000"))
        rows, following = self._service.query(
            table, _plain(found["partition"]), first, _plain(found["end"]), top, column
        )
        partition = found["partition"]
        names = ("x-ms-continuation-nextpartitionkey", "x-ms-continuation-nextrowkey")
        headers = dict(zip(names, (partition, following), strict=True)) if following is not None else {}
        return _answer(200, {"value": [_selected(row, query.get("$select")) for row in rows]}, headers)

    def _transact(self) -> Answer:
        parts = [_operation(match) for match in _PART.finditer(self._content)]
        table, operations = parts[0][0], [operation for _, operation in parts]
        try:
            etags = self._service.transact(table, operations)
        except Refused as refusal:
            failed = orjson.dumps(_error(refusal.code, f"{refusal.index}:{refusal.code}")).decode()
            return Answer(202, {}, f"HTTP/1.1 {refusal.status} Refused\r\n\r\n{failed}\r\n".encode())
        text = "".join(f"HTTP/1.1 204 No Content\r\n{f'ETag: {etag}' if etag else ''}\r\n\r\n" for etag in etags)
        return Answer(202, {}, text.encode())


class FakeWire(Wire):
    """The product's wire, whose requests go to a courier."""

    def __init__(self, service: TableService, courier: Courier, *, retries: int) -> None:
        super().__init__(_credential(), retries=retries)
        self._service, self._courier = service, courier

    async def _ask(self, method: str, url: URL, headers: Mapping[str, str], content: bytes) -> Answer:
        return await self._courier.carry(TableRequest(self._service, method, url, headers, content))


class FakeTable(Table):
    """The product's client of a table, on a service in memory."""

    def __init__(self, service: TableService, courier: Courier, name: str = "responses", *, retries: int = 3) -> None:
        super().__init__(ENDPOINT, name, credential=_credential(), retry_total=retries)
        self._service = service
        self._wire = FakeWire(service, courier, retries=retries)

    async def create_table(self, **_options: Any) -> Any:
        """Create the table, for which the library would send a request of its own."""
        try:
            self._service.create_table(self.table_name)
        except Refused as refusal:
            raise ResourceExistsError from refusal


class Direct:
    """A courier that carries every request, at once."""

    async def carry(self, request: TableRequest) -> Answer:
        """Return the answer."""
        return request.carry_out()


def _credential() -> AzureNamedKeyCredential:
    return AzureNamedKeyCredential("account", "a2V5")


def _operation(match: "re.Match[bytes]") -> tuple[str, Operation]:
    path, head = unquote(match["url"].decode()), match["head"]
    if match["verb"] == b"POST":
        row = orjson.loads(match["body"])
        table = path.rpartition("/")[2]
        return table, Operation("POST", row.pop("PartitionKey"), row.pop("RowKey"), row)
    named = _ROW.search(path)
    condition = _IF_MATCH.search(head)
    assert named, path
    assert condition, head
    properties = orjson.loads(match["body"]) if match["verb"] == b"PATCH" else {}
    own = {name: value for name, value in properties.items() if name not in ("PartitionKey", "RowKey")}
    verb, if_match = match["verb"].decode(), condition[1].decode()
    return named[1], Operation(verb, _plain(named[2]), _plain(named[3]), own, if_match)


def _selected(row: Row, names: str | None) -> Row:
    """Return the properties that a read asks for, with their types. One that the row lacks is null."""
    if names is None:
        return row
    wanted = names.split(",")
    there = {name: value for name, value in row.items() if name.partition("@")[0] in wanted}
    return {**dict.fromkeys(wanted), **there, "odata.etag": row["odata.etag"]}


def _plain(text: str) -> str:
    return text.replace("''", "'")


def _error(code: str, message: str) -> dict[str, Any]:
    return {"odata.error": {"code": code, "message": {"lang": "en-US", "value": message}}}


def _answer(status: int, content: object, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, dict(headers or {}), orjson.dumps(content))
