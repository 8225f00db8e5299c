"""A cheaper client of the table: azure-data-tables, with transactions and reads that need less CPU time.

The library encodes and decodes the multipart bodies of transactions with the standard library's email package, and
reads entities through generated code. That took 2.5 ms of CPU for a transaction of three rows and 0.55 ms for a query
of one. Here the bytes are joined and split directly, which takes 0.6 and 0.4 ms (CPython 3.11, against Azurite,
measured in 2026).

Authentication, retries (of bodies up to 1 MiB), the encoding of entities and everything else stay the library's. Three
of its private names are used: `_batch_send`, which `submit_transaction` calls, `_client.send_request`, and
`_configure_policies`.
tests/storage/storage/test_table_client.py fails if a later version drops them.
"""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.data.tables.aio import TableClient

from shared.storage import batches, pipelines

_LARGE = 1_048_576  # bytes. Above that aiohttp warns unless it gets a file, which it sends in pieces.
_BEING_DELETED = "TableBeingDeleted"
_READ = {"Accept": "application/json;odata=minimalmetadata", "DataServiceVersion": "3.0"}
_NEXT = {"NextPartitionKey": "x-ms-continuation-nextpartitionkey", "NextRowKey": "x-ms-continuation-nextrowkey"}


class Entity(dict[str, Any]):
    """The properties of a row by name, with binary ones as bytes, and its ETag."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        super().__init__((name, _value(raw, name)) for name in raw if "." not in name)
        self.etag = str(raw["odata.etag"])


class Table(TableClient):
    """The library's asynchronous client of a table, with cheaper transactions and reads."""

    def _configure_policies(self, **options: Any) -> list[Any]:
        return pipelines.lean(super()._configure_policies(**options))

    async def find(self, partition: str, key: str, select: Sequence[str] = ()) -> Entity | None:
        """Return a row, or None if it does not exist. Raises AzureError if the read fails.

        `select` names the properties to read. Without names, all are read.
        """
        path = f"{self.table_name}(PartitionKey='{_quoted(partition)}',RowKey='{_quoted(key)}')"
        response = await self._read(path, {"$select": ",".join(select)} if select else {})
        if response.status_code == 404:
            return None
        return Entity(orjson.loads(_content(response)))

    async def scan(self, partition: str, first: str, end: str, limit: int, select: Sequence[str] = ()) -> list[Entity]:
        """Return up to `limit` rows with keys from `first` on and below `end`, in order.

        A table that does not exist has none. Raises AzureError if a read fails. Storage may answer with fewer rows and
        a continuation, which is followed:
        https://learn.microsoft.com/rest/api/storageservices/query-timeout-and-pagination
        """
        bounds = (
            f"PartitionKey eq '{_escaped(partition)}' and RowKey ge '{_escaped(first)}' and RowKey lt '{_escaped(end)}'"
        )
        query = {"$filter": bounds} | ({"$select": ",".join(select)} if select else {})
        found: list[Entity] = []
        following: dict[str, str] = {}
        while len(found) < limit:
            response = await self._read(f"{self.table_name}()", {**query, "$top": str(limit - len(found)), **following})
            if response.status_code == 404:
                break
            found += map(Entity, orjson.loads(_content(response))["value"])
            following = {name: response.headers[header] for name, header in _NEXT.items() if header in response.headers}
            if not following:
                break
        return found

    async def create(self) -> None:
        """Create the table unless it exists. Raises AzureError, also while a deletion of the table is under way."""
        try:
            await self.create_table()
        except ResourceExistsError as error:
            if error_code(error) == _BEING_DELETED:
                raise HttpResponseError("the table is being deleted") from error

    async def exists(self) -> bool:
        """Return whether the table exists. Raises AzureError if the read fails."""
        response = await self._read(f"{self.table_name}()", {"$select": "RowKey", "$top": "1"})
        return response.status_code != 404 and bool(_content(response))

    async def _read(self, path: str, query: Mapping[str, str]) -> AsyncHttpResponse:
        url = f"{self.scheme}://{self._primary_hostname}/{path}?{urlencode(query, quote_via=quote)}".rstrip("?")
        request = HttpRequest("GET", url, headers={**_READ, "x-ms-version": self.api_version})
        # as a stream, because otherwise the library would decode the body as well
        response = await self._client.send_request(request, stream=True)
        await response.read()
        return response

    async def _batch_send(self, table_name: str, *reqs: HttpRequest, **kwargs: Any) -> list[Mapping[str, Any]]:
        batch, content = batches.encode(reqs)
        request = HttpRequest(
            "POST",
            f"{self.scheme}://{self._primary_hostname}/$batch",
            headers={
                "x-ms-version": self.api_version,
                "DataServiceVersion": "3.0",
                "MaxDataServiceVersion": "3.0;NetFx",
                "Content-Type": f"multipart/mixed; boundary={batch}",
                "Accept": "application/json",
            },
            content=content if len(content) < _LARGE else BytesIO(content),
        )
        # as a stream, because the library reads multipart answers in no other way
        response = await self._client.send_request(request, stream=True, **kwargs)
        content = await response.read()
        if response.status_code != 202:
            raise HttpResponseError(f"transaction on {table_name} was refused", response=response)
        return batches.decode(content)


def error_code(error: HttpResponseError) -> str:
    """Return the code that storage gave a refusal, or nothing."""
    return str(getattr(error, "error_code", None) or "")


def _content(response: AsyncHttpResponse) -> bytes:
    if response.status_code != 200:
        raise HttpResponseError("the table refused a read", response=response)
    return response.content


def _value(raw: Mapping[str, Any], name: str) -> Any:
    return b64decode(raw[name]) if raw.get(f"{name}@odata.type") == "Edm.Binary" else raw[name]


def _escaped(text: str) -> str:
    return text.replace("'", "''")


def _quoted(text: str) -> str:
    return quote(_escaped(text), safe="")
