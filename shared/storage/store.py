"""The table, which is the truth. Only this module and its helpers in this package use Table Storage.

A change set is one entity group transaction. Storage may commit it and lose the answer. If the SDK or this module then
repeats it, the repeat conflicts with our own write. So after a conflict or an unknown outcome the row is read again. If
it has our `write_id`, the write succeeded. Otherwise another write came first.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

from shared.core import keys
from shared.core.alarms import Alarm
from shared.core.changesets import ChangeSet
from shared.core.entries import entry_of
from shared.core.errors import StoreRefused, StoreUnavailable, UnreadableRow
from shared.core.ids import shard_of, tag
from shared.core.records import Record
from shared.core.usage import UsageSums, usage_of
from shared.storage import codec, operations
from shared.storage.agenda import Agenda, RemovedAlarms, first_due, read_agenda
from shared.storage.faults import reaching
from shared.storage.table_client import Entity, Table
from shared.storage.table_reader import TableReader
from shared.storage.transactions import DEADLINE_S, TransactionFailed, submit
from shared.telemetry.logs import logger
from shared.transitions import listing

MOVES_PER_TRANSACTION = 50
CHILDREN_PER_TRANSACTION = 100
# Removed or written with the last children: the record, its alarm, what lists say of it, and the sums of its day.
_BESIDE_CHILDREN = 8
_COUNTING_TRIES, _COUNTING_PAUSE_S = 10, 0.05
_TRIES = 3

_log = logger(__name__)


class Store(TableReader):
    """Records, the rows beside them, and their alarms.

    Every method raises StoreUnavailable if storage fails, and StoreRefused if storage would refuse the same again.
    """

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self.removed = RemovedAlarms()
        self._counting: dict[str, asyncio.Lock] = {}  # by shard: one writer of sums at a time

    async def prepare(self) -> None:
        """Create the table if it does not exist. A write does so too."""
        async with reaching(DEADLINE_S):
            await self._table.create()

    async def missing(self) -> list[str]:
        """Return the name of the table if it does not exist. Raises StoreUnavailable if it does not answer."""
        async with reaching(DEADLINE_S):
            return [] if await self._table.exists() else [self._table.table_name]

    async def aclose(self) -> None:
        """Close the connections."""
        await self._table.close()

    # Records

    async def commit(self, change: ChangeSet, write_id: str = "") -> Record:
        """Write a change set and return the record as it is now. `write_id` is new, or empty for one made here.

        Raises Conflict if the record, or an alarm to remove, is not as the change set assumed. Raises StoreUnavailable
        if storage did not answer three times. Its `was_sent` is false if nothing can have been written.
        """
        write_id, was_sent = write_id or uuid4().hex, False
        sent, row_keys = operations.of_change_set(change, write_id)
        for _ in range(_TRIES):
            try:
                etag: str = (await submit(self._table, sent))[0]["etag"]
            except TransactionFailed as failed:
                was_sent = was_sent or failed.was_sent
                there = await self._written_or_unknown(change.record.id, was_sent=was_sent)
                if there is None or there["write_id"] != write_id:
                    if failed.refusal or failed.index is not None:
                        raise failed.meaning(row_keys) from failed
                    continue
                etag = there.etag
            self.removed.add(change.alarms_out)
            return replace(change.record, write_id=write_id, etag=etag)
        raise StoreUnavailable

    async def _written_or_unknown(self, response_id: str, *, was_sent: bool) -> Entity | None:
        """Do as `_written`. The StoreUnavailable of that says whether the write may have arrived."""
        try:
            return await self._written(response_id)
        except StoreUnavailable as error:
            error.was_sent = was_sent
            raise

    # Alarms

    async def agenda(self, shard: str, now_ms: int, limit: int) -> Agenda:
        """Return the alarms of a shard that are due at `now_ms`, in unix milliseconds, and when the next one is due.

        At most `limit` alarms are returned.
        """
        return await read_agenda(partial(self._rows, shard), now_ms, limit)

    async def first_due(self, shard: str) -> int | None:
        """Return when the first alarm of a shard is due, in unix milliseconds, or None."""
        return await first_due(partial(self._rows, shard, select=("RowKey",)))

    async def move(self, shard: str, moves: Sequence[tuple[Alarm, Alarm]]) -> list[Alarm]:
        """Move alarms, up to 50 in a transaction, and return those whose move was committed, as they are now.

        `moves` are pairs of the alarm as read and the alarm to write. A transaction that fails names one operation.
        That alarm is dropped, with all others that are gone, and the rest is sent again. So two sweeps of one shard at
        the same time lose no alarm. Raises StoreRefused only for an alarm that is moved alone.
        """
        moved: list[Alarm] = []
        for start in range(0, len(moves), MOVES_PER_TRANSACTION):
            moved += await self._move(shard, list(moves[start : start + MOVES_PER_TRANSACTION]))
        return moved

    async def _move(self, shard: str, batch: list[tuple[Alarm, Alarm]]) -> list[Alarm]:
        write_id, unanswered = uuid4().hex, 0
        while batch and unanswered < _TRIES:
            sent = [one for old, new in batch for one in operations.of_move(shard, old, new, write_id)]
            try:
                results = await submit(self._table, sent)
            except TransactionFailed as failed:
                there = await self._row(shard, batch[0][1].key)
                if there and there["write_id"] == write_id:
                    self.removed.move(batch)
                    return [new for _, new in batch]
                if failed.refusal:
                    return await self._move_apart(shard, batch, failed.refusal)
                if failed.index is None:
                    unanswered += 1
                    continue
                del batch[failed.index // 2]
                batch = await self._still_there(shard, batch)
            else:
                self.removed.move(batch)
                etags = [result["etag"] for result in results[1::2]]
                return [replace(new, etag=etag) for (_, new), etag in zip(batch, etags, strict=True)]
        if batch:
            raise StoreUnavailable
        return []

    async def _move_apart(self, shard: str, batch: list[tuple[Alarm, Alarm]], refusal: StoreRefused) -> list[Alarm]:
        """Move the halves of a batch that storage refuses, so that one alarm holds up no others.

        An old and a new alarm of one delivery, for example, may go to the same key, and a transaction has a key once.
        """
        if len(batch) == 1:
            raise refusal
        moved, middle = list[Alarm](), len(batch) // 2
        for part in (batch[:middle], batch[middle:]):
            try:
                moved += await self._move(shard, part)
            except StoreRefused:
                _log.error("alarm.immovable", extra={"key": part[0][0].key, "alarms": len(part)})
        return moved

    async def _still_there(self, shard: str, batch: list[tuple[Alarm, Alarm]]) -> list[tuple[Alarm, Alarm]]:
        if not batch:
            return batch
        first, last = min(old.key for old, _ in batch), max(old.key for old, _ in batch)
        rows = await self._rows(shard, first, last + keys.AFTER, 1_000, select=("RowKey",))
        etags = {row["RowKey"]: row.etag for row in rows}
        return [(old, new) for old, new in batch if old.key in etags and old.etag in ("", etags[old.key])]

    async def remove(self, alarm: Alarm) -> None:
        """Remove an alarm whose key the caller owns. It is not an error if the alarm is gone."""
        await self.discard(alarm.id, alarm.key)
        self.removed.add([alarm.key])

    # Removal

    async def remove_all(self, record: Record, alarm_key: str) -> bool:
        """Remove up to 100 rows of a response, and return whether those were the last ones.

        The last call also removes the record, as it was read, and the alarm, and adds what the response has used to the
        sums of its day. So each response is counted once: by its entry, or in the sums. Before the last call nothing is
        removed of a response that callers can see. Raises Conflict if the record has changed or the alarm is gone.
        """
        shard, prefix = shard_of(record.id), keys.children_from(record.id)
        rows = await self._rows(shard, prefix, prefix + keys.END, CHILDREN_PER_TRANSACTION, select=("RowKey",))
        children = [operations.delete(shard, row["RowKey"]) for row in rows]
        if len(children) > CHILDREN_PER_TRANSACTION - _BESIDE_CHILDREN:
            if record.deleted:
                await self._submit_or_leave(children)
            return False
        record_out = operations.delete(shard, keys.record_key(record.id), record.etag)
        index = [operations.delete(shard, key) for key in listing.index_keys(record)]
        sent = [record_out, operations.delete(shard, alarm_key), *index, *children]
        async with self._counting.setdefault(shard, asyncio.Lock()):
            await self._remove_last(record, sent)
        self.removed.add([alarm_key])
        return True

    async def _remove_last(self, record: Record, sent: list[Any]) -> None:
        """Remove the last rows, in one transaction with the sums of the day. Another writer of these may come first."""
        for attempt in range(_COUNTING_TRIES):
            counted = await self._counted(record)
            try:
                await submit(self._table, [*sent, *counted])
            except TransactionFailed as failed:
                if await self._written(record.id) is None:
                    return
                if failed.index != len(sent):
                    raise failed.meaning([one[1]["RowKey"] for one in sent]) from failed
                await asyncio.sleep(_COUNTING_PAUSE_S * attempt)
            else:
                return
        raise StoreUnavailable("others write the sums of this day all the time")

    async def _counted(self, record: Record) -> list[Any]:
        """Return the operation that adds a response to the sums of its day, or none if it has no entry.

        Sums that cannot be read stay as they are, because the response must go.
        """
        if not (record.listed and record.status.is_terminal):
            return []
        used, shard = usage_of(entry_of(record)), shard_of(record.id)
        key = keys.usage_key(tag(used.caller), used.day, tag(used.model))
        row = await self._row(shard, key)
        if row is None:
            return [operations.create(shard, key, {"facts": codec.encode_usage(_first(used))})]
        try:
            sums = codec.decode_usage(key, row.get("facts", "")).plus(used)
        except UnreadableRow as error:
            _log.error("row.unreadable", extra={"key": key, "reason": str(error)})
            return []
        return [operations.update(shard, key, {"facts": codec.encode_usage(sums)}, row.etag)]

    async def _submit_or_leave(self, sent: list[Any]) -> None:
        """Delete rows in one transaction. If some are gone already, the others are left for the next listing."""
        try:
            await submit(self._table, sent)
        except TransactionFailed as failed:
            if failed.index is None:
                raise failed.meaning(()) from failed

    # Rows without a record

    async def insert(self, owner: str, key: str, properties: dict[str, str], alarm: Alarm) -> bool:
        """Insert a row into the shard of the id `owner`, with the alarm that removes it.

        Returns False if the row exists, even if an earlier try of this call inserted it.
        """
        shard = shard_of(owner)
        try:
            await submit(self._table, operations.of_row(shard, key, properties, alarm))
        except TransactionFailed as failed:
            if failed.index is None:
                raise failed.meaning(()) from failed
            return False
        return True

    async def put(self, owner: str, key: str, properties: dict[str, str]) -> None:
        """Insert a row into the shard of the id `owner`, which stays until it is discarded. It may be there already."""
        try:
            await submit(self._table, operations.of_row(shard_of(owner), key, properties))
        except TransactionFailed as failed:
            if failed.status != 409:
                raise failed.refusal or StoreUnavailable from failed

    async def replace(self, owner: str, key: str, properties: dict[str, str], etag: str) -> None:
        """Change properties of a row. Raises Conflict if the row no longer has this ETag."""
        try:
            await submit(self._table, [operations.update(shard_of(owner), key, properties, etag)])
        except TransactionFailed as failed:
            raise failed.meaning([key]) from failed

    async def discard(self, owner: str, key: str) -> None:
        """Remove a row from the shard of the id `owner`. It is not an error if the row is gone."""
        async with reaching(DEADLINE_S):
            await self._table.delete(shard_of(owner), key)


def _first(used: UsageSums) -> UsageSums:
    return UsageSums(used.caller, used.day, used.model).plus(used)
