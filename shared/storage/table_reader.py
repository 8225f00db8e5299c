"""Reads from the table: single rows, ranges of rows, and event logs."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from shared.core import event_log, keys
from shared.core.errors import UnreadableRow
from shared.core.event_log import Page
from shared.core.ids import shard_of
from shared.storage.faults import reaching
from shared.storage.table_client import Entity, Table
from shared.storage.transactions import DEADLINE_S
from shared.telemetry.logs import logger

_log = logger(__name__)
E = TypeVar("E")


class TableReader:
    """What only reads. Every method raises StoreUnavailable if storage fails."""

    def __init__(self, table: Table) -> None:
        self._table = table

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

    # Entries of the lists

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
