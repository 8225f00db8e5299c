"""The table, the truth. The only module that speaks to Table Storage.

A write is one entity group transaction. Storage may commit it and lose the answer; whoever repeats it then, the SDK or
this module, meets a conflict with our own write. So on a conflict or an unknown outcome the row is read again, and our
own `write_id` in it means that the write succeeded. Only otherwise has somebody else come first.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.data.tables import TableTransactionError

from shared.core import alarms, blobs, event_log, records
from shared.core.alarms import Alarm
from shared.core.changesets import Write
from shared.core.errors import Conflict, StoreError, StoreUnavailable
from shared.core.event_log import Page
from shared.core.ids import shard_of
from shared.core.records import FAILURES, Record, child_key, record_key
from shared.storage import operations
from shared.storage.table_client import Entity, Table

DEADLINE_S = 20.0
MOVES_A_TRANSACTION = 50
CHILDREN_A_TRANSACTION = 100
CHILDREN_A_PAGE = 1_000
_OTHERS = 4  # rows that go with the last children: the record, its purge alarm, two failed deliveries
_TRIES = 3
_LOST = frozenset({404, 409, 412})
_WITHOUT_BODY = ("facts", "write_id")


class Store:
    """Records, their children and their alarms, in one table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def prepare(self) -> None:
        """Create the table if it is not there."""
        async with _reaching():
            try:
                await self._table.create_table()
            except ResourceExistsError:
                return

    async def check(self) -> None:
        """Raise StoreUnavailable if the table does not answer."""
        await self.first_due("0")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._table.close()

    # Records

    async def read(self, response_id: str, *, with_body: bool = True) -> Record | None:
        """Return the record, None if there is none. Without the body, nothing packed is touched."""
        async with _reaching():
            row = await self._table.find(
                shard_of(response_id), record_key(response_id), () if with_body else _WITHOUT_BODY
            )
        if row is None:
            return None
        return records.read(row["facts"], body=row.get("body", b""), write_id=row["write_id"], etag=row.etag)

    async def commit(self, write: Write) -> Record:
        """Carry out a write; return the record as it now is.

        Raises Conflict if the record, or an alarm that was to go, is not as the write assumed; StoreUnavailable if
        storage did not answer, three times.
        """
        write_id = uuid4().hex
        sent, keys = operations.of_write(write, write_id)
        for _ in range(_TRIES):
            try:
                results = await self._submit(sent)
            except _Failed as failed:
                there = await self.read(write.record.id, with_body=False)
                if there and there.write_id == write_id:
                    return replace(write.record, write_id=write_id, etag=there.etag)
                if failed.index is not None:
                    raise _meaning(failed, keys) from failed
            else:
                return replace(write.record, write_id=write_id, etag=results[0]["etag"])
        raise StoreUnavailable

    # Alarms

    async def due(self, shard: str, until_ms: int, limit: int) -> tuple[list[Alarm], list[str]]:
        """Return the alarms of a shard due by then, earliest first, and the keys of rows that are none."""
        found, bad = [], []
        for row in await self._rows(shard, alarms.PREFIX, alarms.bound(until_ms), limit):
            try:
                found.append(alarms.read(row["RowKey"], row["facts"], row.etag))
            except (ValueError, KeyError, TypeError):
                bad.append(row["RowKey"])
        return found, bad

    async def first_due(self, shard: str, after_ms: int = 0) -> int | None:
        """Return when the first alarm of a shard after that time is due, None if there is none."""
        first = alarms.bound(after_ms)
        while rows := await self._rows(shard, first, alarms.PREFIX + "~", 1, select=("RowKey",)):
            key = rows[0]["RowKey"]
            try:
                return alarms.read_key(key).due_ms
            except ValueError:
                first = key + "!"  # a row that is no alarm hides none
        return None

    async def move(self, shard: str, moves: Sequence[tuple[Alarm, Alarm]]) -> list[Alarm]:
        """Move alarms, up to 50 a transaction; return those whose move committed, as they now are.

        A transaction that fails names one operation. That alarm is dropped, and with it all others that are not there
        any more, and the rest is sent again: another sweep of the shard costs no one an alarm.
        """
        moved: list[Alarm] = []
        for start in range(0, len(moves), MOVES_A_TRANSACTION):
            moved += await self._move(shard, list(moves[start : start + MOVES_A_TRANSACTION]))
        return moved

    async def _move(self, shard: str, batch: list[tuple[Alarm, Alarm]]) -> list[Alarm]:
        write_id, unanswered = uuid4().hex, 0
        while batch and unanswered < _TRIES:
            sent = [one for old, new in batch for one in operations.of_move(shard, old, new, write_id)]
            try:
                results = await self._submit(sent)
            except _Failed as failed:
                there = await self._row(shard, batch[0][1].key)
                if there and there["write_id"] == write_id:
                    return [new for _, new in batch]
                if failed.index is None:
                    unanswered += 1
                    continue
                del batch[failed.index // 2]
                batch = await self._still_there(shard, batch)
            else:
                etags = [result["etag"] for result in results[1::2]]
                return [replace(new, etag=etag) for (_, new), etag in zip(batch, etags, strict=True)]
        if batch:
            raise StoreUnavailable
        return []

    async def _still_there(self, shard: str, batch: list[tuple[Alarm, Alarm]]) -> list[tuple[Alarm, Alarm]]:
        if not batch:
            return batch
        first, last = min(old.key for old, _ in batch), max(old.key for old, _ in batch)
        etags = {
            row["RowKey"]: row.etag for row in await self._rows(shard, first, last + "!", 1_000, select=("RowKey",))
        }
        return [(old, new) for old, new in batch if old.key in etags and old.etag in ("", etags[old.key])]

    async def remove(self, alarm: Alarm) -> None:
        """Remove an alarm whose key the caller of this holds; it is not an error if it is gone."""
        await self.discard(alarm.id, alarm.key)

    # Children

    async def children(self, response_id: str, name: str, after: str = "") -> list[Entity]:
        """Return the child rows whose suffix starts with the name, in order: the first 1,000 above that row key."""
        prefix = child_key(response_id, name + "|")
        return await self._rows(shard_of(response_id), after + "!" if after else prefix, prefix + "~", CHILDREN_A_PAGE)

    async def request(self, response_id: str) -> bytes | None:
        """Return the packed request of a response, None if its rows are gone."""
        rows = await self.children(response_id, "input")
        return blobs.from_rows(rows) if rows else None

    async def body(self, record: Record) -> bytes:
        """Return the packed object of a response, from its record or from the rows beside it."""
        if record.body or not record.body_rows:
            return record.body
        return blobs.from_rows(await self.children(record.id, "body"))

    async def log(self, response_id: str, from_key: str) -> Page:
        """Return whole batches of the event log from a row key on, as many as a page holds."""
        last = event_log.last_key(response_id)
        return event_log.read(await self._rows(shard_of(response_id), from_key, last, event_log.ROWS_A_PAGE))

    async def remove_all(self, record: Record, alarm_key: str) -> bool:
        """Remove a response: its rows in batches, the record as read and the alarm with the last of them.

        Returns whether that was the last batch. Raises Conflict if the record has changed or the alarm is not there.
        """
        shard, prefix = shard_of(record.id), child_key(record.id, "")
        rows = await self._rows(shard, prefix, prefix + "~", CHILDREN_A_TRANSACTION, select=("RowKey",))
        children = [operations.delete(shard, row["RowKey"]) for row in rows]
        if len(children) > CHILDREN_A_TRANSACTION - _OTHERS:
            await self._submit_or_leave(children)
            return False
        record_out = operations.delete(shard, record_key(record.id), record.etag)
        failures = [operations.delete(shard, one.failed) for one in record.deliveries if one.failed]
        sent = [record_out, operations.delete(shard, alarm_key), *failures, *children]
        try:
            await self._submit(sent)
        except _Failed as failed:
            if await self.read(record.id, with_body=False) is None:
                return True
            raise _meaning(failed, [one[1]["RowKey"] for one in sent]) from failed
        return True

    # Beside the records

    async def failures(self, shard: str, first: str, limit: int) -> list[str]:
        """Return the keys of a caller's failed deliveries from a key on, in the order of their time."""
        end = first[: first.index("|", len(FAILURES)) + 1] + "~"
        return [row["RowKey"] for row in await self._rows(shard, first, end, limit, select=("RowKey",))]

    async def insert(self, owner: str, key: str, properties: dict[str, str], alarm: Alarm) -> bool:
        """Insert a row in the shard of an id, with the alarm that removes it; False if the row is there already."""
        shard = shard_of(owner)
        try:
            await self._submit(operations.of_row(shard, key, properties, alarm))
        except _Failed as failed:
            if failed.index is None:
                raise StoreUnavailable from failed
            return False
        return True

    async def find(self, owner: str, key: str) -> Entity | None:
        """Return a row of the shard of an id, None if there is none."""
        return await self._row(shard_of(owner), key)

    async def replace(self, owner: str, key: str, properties: dict[str, str], etag: str) -> None:
        """Change a row as it was read; raise Conflict if it is not that any more."""
        try:
            await self._submit([operations.update(shard_of(owner), key, properties, etag)])
        except _Failed as failed:
            raise _meaning(failed, [key]) from failed

    async def discard(self, owner: str, key: str) -> None:
        """Remove a row of the shard of an id; it is not an error if it is gone."""
        async with _reaching():
            try:
                await self._table.delete_entity(shard_of(owner), key)
            except ResourceNotFoundError:
                return

    # The wire

    async def _row(self, shard: str, key: str) -> Entity | None:
        async with _reaching():
            return await self._table.find(shard, key)

    async def _rows(self, shard: str, first: str, end: str, limit: int, *, select: Sequence[str] = ()) -> list[Entity]:
        async with _reaching():
            return await self._table.scan(shard, first, end, limit, select)

    async def _submit_or_leave(self, sent: list[Any]) -> None:
        """Carry out deletions; if another has taken some of them, what is left is for the next listing."""
        try:
            await self._submit(sent)
        except _Failed as failed:
            if failed.index is None:
                raise StoreUnavailable from failed

    async def _submit(self, sent: list[Any]) -> Sequence[Any]:
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._table.submit_transaction(sent)
        except TableTransactionError as error:
            known = error.status_code in _LOST
            raise _Failed(error.index if known else None, error.status_code) from error
        except (AzureError, TimeoutError) as error:
            raise _Failed(None, None) from error


class _Failed(Exception):
    """A transaction failed: at the operation named by `index`, or with an unknown outcome if that is None."""

    def __init__(self, index: int | None, status: int | None) -> None:
        super().__init__(f"transaction failed with status {status} at operation {index}")
        self.index = index
        self.status = status


def _meaning(failed: _Failed, keys: Sequence[str]) -> StoreError:
    """Return what a failure means once our own write is known not to be there; the record is operation 0."""
    if failed.index is None:
        return StoreUnavailable("storage did not confirm a write")
    return Conflict(keys[failed.index] if failed.status == 404 and failed.index else None)


@asynccontextmanager
async def _reaching() -> AsyncIterator[None]:
    """Put a deadline on a call and turn every fault of storage but "not found" and "exists" into StoreUnavailable."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield
    except (ResourceNotFoundError, ResourceExistsError):
        raise
    except (AzureError, HttpResponseError, TimeoutError) as error:
        raise StoreUnavailable from error
