"""Reads from the table: records, the rows beside them, event logs, and the rows that lists read."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from shared.core import blobs, event_log, keys
from shared.core.errors import UnreadableRow
from shared.core.event_log import Page
from shared.core.ids import shard_of
from shared.core.outcomes import AttemptEntry
from shared.core.records import Record
from shared.storage import codec
from shared.storage.faults import reaching
from shared.storage.table_client import Entity, Table
from shared.storage.transactions import DEADLINE_S
from shared.telemetry.logs import logger

CHILDREN_PER_PAGE = 1_000
_WITHOUT_BODY = ("facts", "write_id")

_log = logger(__name__)
E = TypeVar("E")


class TableReader:
    """What only reads. Every method raises StoreUnavailable if storage fails."""

    def __init__(self, table: Table) -> None:
        self._table = table

    # Records

    async def read(self, response_id: str, *, with_body: bool = True) -> Record | None:
        """Return the record of a response, or None if it does not exist. Raises UnreadableRow.

        With `with_body` false, the packed response object is not read.
        """
        select = () if with_body else _WITHOUT_BODY
        async with reaching(DEADLINE_S):
            row = await self._table.find(shard_of(response_id), keys.record_key(response_id), select)
        if row is None:
            return None
        facts, body, write_id = row.get("facts", ""), row.get("body", b""), row.get("write_id", "")
        return codec.decode_record(facts, body=body, write_id=write_id, etag=row.etag)

    # Beside a record

    async def children(self, response_id: str, name: str, after: str = "") -> list[Entity]:
        """Return the rows of one name beside a record, in order: the first 1,000 above the row key `after`.

        `name` is one of the names in `keys`, such as `keys.INPUT`.
        """
        prefix = keys.children_from(response_id, name)
        first = after + keys.AFTER if after else prefix
        return await self._rows(shard_of(response_id), first, prefix + keys.END, CHILDREN_PER_PAGE)

    async def request(self, response_id: str) -> bytes | None:
        """Return the packed request of a response, or None if its rows are gone."""
        rows = await self.children(response_id, keys.INPUT)
        return blobs.joined(rows) if rows else None

    async def session(self, response_id: str) -> bytes | None:
        """Return the packed session that an agent left with this response, or None."""
        rows = await self.children(response_id, keys.SESSION)
        return blobs.joined(rows) if rows else None

    async def body(self, record: Record) -> bytes:
        """Return the packed response object, from the record or from the rows beside it."""
        if record.body or not record.body_rows:
            return record.body
        return blobs.joined(await self.children(record.id, keys.BODY))

    async def attempts(self, response_id: str) -> list[tuple[str, AttemptEntry]]:
        """Return the target and the entry of each delivery attempt. Unreadable ones are logged and left out."""
        found = []
        for row in await self.children(response_id, keys.ATTEMPTS):
            try:
                found.append((keys.attempt_target(row["RowKey"]), codec.decode_attempt(row.get("facts", ""))))
            except UnreadableRow as error:
                _log.error("row.unreadable", extra={"key": row["RowKey"], "reason": str(error)})
        return found

    # Event logs

    async def log(self, response_id: str, from_key: str) -> Page:
        """Return whole batches of the event log from the row key `from_key` on, as many as a page holds."""
        last = keys.events_end(response_id)
        return event_log.read_page(await self._rows(shard_of(response_id), from_key, last, event_log.ROWS_A_PAGE))

    async def batch_key(self, response_id: str, number: int) -> str:
        """Return a row key from which the log is read to begin with the event that has this number.

        A batch has at most 256 events, so its row is among the 256 keys up to that of the event. One query reads them.
        """
        first = event_log.batch_key_before(response_id, number - 1)
        if number <= 0:
            return first
        end = keys.events_from(response_id, number + 1)
        rows = await self._rows(shard_of(response_id), first, end, event_log.MAX_EVENTS, select=("RowKey",))
        return event_log.batch_key_at(response_id, [str(row["RowKey"]) for row in rows], number)

    # Rows without a record

    async def find(self, owner: str, key: str) -> Entity | None:
        """Return a row from the shard of the id `owner`, or None if it does not exist."""
        return await self._row(shard_of(owner), key)

    async def entries(
        self, shard: str, first: str, end: str, limit: int, decode: Callable[[str, str], E]
    ) -> tuple[list[E], str | None]:
        """Return the entries whose row keys are from `first` on and below `end`, from at most `limit` rows, in order.

        `decode` makes them of the key and the column `facts`. Rows that it cannot read are logged and left out. Also
        returns the key to read on from, or None if there is no more.
        """
        rows = await self._rows(shard, first, end, limit)
        following = str(rows[-1]["RowKey"]) + keys.AFTER if len(rows) == limit else None
        return [entry for row in rows if (entry := _decoded(row, decode))], following

    async def records_of(self, shard: str, caller: str, after: str) -> tuple[list[str], str]:
        """Return the ids of a caller's responses that no list has, as many as one request finds.

        Also returns what the next call takes as `after`, or nothing if there is no more. Storage looks at every row for
        this. Unreadable rows are logged and left out.
        """
        column, select = ("caller", caller), ("RowKey", "facts")
        async with reaching(DEADLINE_S):
            rows, following = await self._table.search(shard, keys.record_key(""), column, select, after)
        found = [_decoded(row, _record) for row in rows]
        return [record.id for record in found if record and not record.listed], following

    async def count(self, shard: str, first: str, end: str, most: int) -> int:
        """Return how many rows have keys from `first` on and below `end`, at most `most`."""
        return len(await self._rows(shard, first, end, most, select=("RowKey",)))

    # Access to the table

    async def _written(self, response_id: str) -> Entity | None:
        """Return only the `write_id` and the ETag of a record, or None if it does not exist."""
        async with reaching(DEADLINE_S):
            return await self._table.find(shard_of(response_id), keys.record_key(response_id), ("write_id",))

    async def _row(self, shard: str, key: str) -> Entity | None:
        async with reaching(DEADLINE_S):
            return await self._table.find(shard, key)

    async def _rows(self, shard: str, first: str, end: str, limit: int, *, select: Sequence[str] = ()) -> list[Entity]:
        async with reaching(DEADLINE_S):
            return await self._table.scan(shard, first, end, limit, select)


def _decoded(row: Entity, decode: Callable[[str, str], E]) -> E | None:
    try:
        return decode(row["RowKey"], row.get("facts", ""))
    except UnreadableRow as error:
        _log.error("row.unreadable", extra={"key": row["RowKey"], "reason": str(error)})
        return None


def _record(_key: str, facts: str) -> Record:
    return codec.decode_record(facts, body=b"", write_id="", etag="")
