"""A cheaper client of a table: azure-data-tables, with its own way of sending transactions, reads and deletions.

The library builds a request for each row, with headers, types and a copy of each, and encodes a transaction with the
standard library's email package. Here the bytes are joined and split directly (batches), and sent directly (wire). The
library creates the table, and reads the connection string.
"""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import orjson
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.data.tables.aio import TableClient

from shared.core import keys
from shared.storage import batches

if TYPE_CHECKING:
    from shared.storage.wire import Answer

_RETRIES = 3
_MOST_A_QUERY = 1_000  # storage refuses a query for more
_BEING_DELETED = "TableBeingDeleted"
_READ = {"Accept": "application/json;odata=minimalmetadata", "DataServiceVersion": "3.0"}
_NEXT = {"NextPartitionKey": "x-ms-continuation-nextpartitionkey", "NextRowKey": "x-ms-continuation-nextrowkey"}


class Entity(dict[str, Any]):
    """The properties of a row by name, with binary ones as bytes, and its ETag."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        super().__init__((name, _value(raw, name)) for name in raw if "." not in name)
        self.etag = str(raw["odata.etag"])


class Table(TableClient):
    """The library's asynchronous client of a table, with cheaper transactions, reads and deletions."""

    def __init__(self, endpoint: str, table_name: str, *, credential: Any, **options: Any) -> None:
        from shared.storage.wire import Wire

        super().__init__(endpoint, table_name, credential=credential, **options)
        self._wire = Wire(credential, retries=options.get("retry_total", _RETRIES))
        self._base = self.url.partition("?")[0].rstrip("/")
        self._headers = {**_READ, "x-ms-version": self.api_version}

    async def close(self) -> None:
        """Close the connections."""
        await self._wire.aclose()
        await super().close()

    async def __aexit__(self, *error: Any) -> None:
        """Close the connections."""
        await self._wire.aclose()
        await super().__aexit__(*error)

    async def find(self, partition: str, key: str, select: Sequence[str] = ()) -> Entity | None:
        """Return a row, or None if it does not exist. Raises AzureError if the read fails.

        `select` names the properties to read. Without names, all are read.
        """
        answer = await self._read(self._row(partition, key), {"$select": ",".join(select)} if select else {})
        if answer.status == 404:
            return None
        return Entity(orjson.loads(_content(answer)))

    async def delete(self, partition: str, key: str) -> None:
        """Delete a row. It is not an error if the row is gone. Raises AzureError if that fails."""
        headers = {**self._headers, "If-Match": "*"}
        answer = await self._wire.ask("DELETE", f"{self._base}/{self._row(partition, key)}", headers)
        if answer.status not in (204, 404):
            raise _refusal(answer, "a deletion")

    async def scan(self, partition: str, first: str, end: str, limit: int, select: Sequence[str] = ()) -> list[Entity]:
        """Return up to `limit` rows with keys from `first` on and below `end`, in order.

        A table that does not exist has none. Raises AzureError if a read fails. Storage may answer with fewer rows and
        a continuation, which is followed:
        https://learn.microsoft.com/rest/api/storageservices/query-timeout-and-pagination
        """
        query = {"$filter": _between(partition, first, end)} | ({"$select": ",".join(select)} if select else {})
        found: list[Entity] = []
        following: dict[str, str] = {}
        while len(found) < limit:
            top = str(min(limit - len(found), _MOST_A_QUERY))
            answer = await self._read(f"{self.table_name}()", {**query, "$top": top, **following})
            if answer.status == 404:
                break
            found += map(Entity, orjson.loads(_content(answer))["value"])
            following = {name: answer.headers[header] for name, header in _NEXT.items() if header in answer.headers}
            if not following:
                break
        return found

    async def search(
        self, partition: str, prefix: str, column: tuple[str, str], select: Sequence[str], after: str = ""
    ) -> tuple[list[Entity], str]:
        """Return rows with a key prefix that have a text in a column, as many as one request finds.

        Also returns what the next call takes as `after`, or nothing if there is no more. Storage looks at every row of
        the prefix, and may stop before it has found any. Raises AzureError if the read fails.
        """
        name, text = column
        bounds = f"{_between(partition, prefix, prefix + keys.END)} and {name} eq '{_escaped(text)}'"
        query = {"$filter": bounds, "$select": ",".join(select), **(orjson.loads(after) if after else {})}
        answer = await self._read(f"{self.table_name}()", query)
        if answer.status == 404:
            return [], ""
        following = {name: answer.headers[header] for name, header in _NEXT.items() if header in answer.headers}
        rows = list(map(Entity, orjson.loads(_content(answer))["value"]))
        return rows, orjson.dumps(following).decode() if following else ""

    async def create(self) -> None:
        """Create the table unless it exists. Raises AzureError, also while a deletion of the table is under way."""
        try:
            await self.create_table()
        except ResourceExistsError as error:
            if error_code(error) == _BEING_DELETED:
                raise HttpResponseError("the table is being deleted") from error

    async def exists(self) -> bool:
        """Return whether the table exists. Raises AzureError if the read fails."""
        answer = await self._read(f"{self.table_name}()", {"$select": "RowKey", "$top": "1"})
        return answer.status != 404 and bool(_content(answer))

    async def transact(self, operations: Sequence[batches.Operation]) -> list[Mapping[str, Any]]:
        """Carry out operations on rows of one partition, all or none. Return the ETag of each row, in order.

        Raises TableTransactionError if an operation fails, and AzureError if storage refuses the whole or is silent.
        """
        boundary, content = batches.encode(f"{self._base}/{self.table_name}", operations)
        headers = {**self._headers, "Content-Type": f"multipart/mixed; boundary={boundary}"}
        answer = await self._wire.ask("POST", f"{self._base}/$batch", headers, content)
        if answer.status != 202:
            raise _refusal(answer, "a transaction")
        return batches.decode(answer.content)

    async def _read(self, path: str, query: Mapping[str, str]) -> "Answer":
        url = f"{self._base}/{path}?{urlencode(query, quote_via=quote)}".rstrip("?")
        return await self._wire.ask("GET", url, self._headers)

    def _row(self, partition: str, key: str) -> str:
        return f"{self.table_name}{batches.row_path(partition, key)}"


def error_code(error: HttpResponseError) -> str:
    """Return the code that storage gave a refusal, or nothing."""
    return str(getattr(error, "error_code", None) or "")


def _content(answer: "Answer") -> bytes:
    if answer.status != 200:
        raise _refusal(answer, "a read")
    return answer.content


def _refusal(answer: "Answer", what: str) -> HttpResponseError:
    error = HttpResponseError(f"the table refused {what} with status {answer.status}")
    error.status_code = answer.status
    error.error_code = answer.headers.get("x-ms-error-code")  # type: ignore[attr-defined]  # as the library, undeclared
    return error


def _value(raw: Mapping[str, Any], name: str) -> Any:
    return b64decode(raw[name]) if raw.get(f"{name}@odata.type") == "Edm.Binary" else raw[name]


def _between(partition: str, first: str, end: str) -> str:
    return f"PartitionKey eq '{_escaped(partition)}' and RowKey ge '{_escaped(first)}' and RowKey lt '{_escaped(end)}'"


def _escaped(text: str) -> str:
    return text.replace("'", "''")
