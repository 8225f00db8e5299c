"""Access to the rows of gates. Every change is one transaction that updates the row of its gate with If-Match."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from shared.core.errors import Conflict, StoreUnavailable, UnreadableRow
from shared.core.gates import gate_keys
from shared.core.gates.plans import Changes, Rows
from shared.core.gates.state import NEXT_OF_A_LINE, GateState, Hold, Place
from shared.core.keys import AFTER, END
from shared.storage import operations
from shared.storage.faults import reaching
from shared.storage.gates import rows
from shared.storage.gates.rows import StoredGate
from shared.storage.table_client import Entity, Table
from shared.storage.transactions import DEADLINE_S, TransactionFailed, submit
from shared.telemetry.logs import logger

ROWS_A_QUERY = 1_000
_READS_AT_ONCE = 16
_TRIES = 3
_UNCONDITIONAL = "*"

_log = logger(__name__)
T = TypeVar("T")


class NotAsPlanned(Exception):
    """A row beside that of the gate is not as the plan assumed. Nothing was written, and the gate has not changed."""


class GateTable:
    """The rows of all gates. Every method raises StoreUnavailable if storage fails."""

    def __init__(self, table: Table) -> None:
        self._table = table

    # One gate

    async def read(self, name: str) -> StoredGate | None:
        """Return the row of a gate, or None if it has none. Raises UnreadableRow."""
        async with reaching(DEADLINE_S):
            row = await self._table.find(gate_keys.gate_partition(name), gate_keys.GATE)
        return rows.read_gate(row) if row else None

    async def commit(
        self, name: str, old: StoredGate | None, state: GateState | None, changes: Changes, write_id: str
    ) -> StoredGate | None:
        """Write the row of a gate and the rows that change with it. Return the row of the gate as it is now.

        `old` is the row as read, or None to insert it. Without `state`, the row is deleted. `write_id` is new, and says
        later that this write has come about. Raises Conflict if the row of the gate has changed, which may have been
        this very write: its reader decides by the ids of its writes. Raises NotAsPlanned if another row is not as
        assumed, and StoreUnavailable if storage did not answer three times.
        """
        partition = gate_keys.gate_partition(name)
        writes = (write_id, *(old.writes if old else ()))[: rows.WRITES]
        sent = [_of_gate(partition, old, state, writes), *rows.of_changes(partition, changes)]
        for _ in range(_TRIES):
            try:
                etag = (await submit(self._table, sent))[0]["etag"]
            except TransactionFailed as failed:
                if failed.refusal:
                    raise failed.refusal from failed
                if failed.index is not None:
                    raise (NotAsPlanned() if failed.index else Conflict()) from failed
                there = await self.read(name)
                if (there.etag if there else None) != (old.etag if old else None):
                    raise Conflict from failed
            else:
                return StoredGate(state, str(etag), writes) if state else None
        raise StoreUnavailable("storage did not confirm a write")

    async def rows_of(self, name: str, places: Iterable[Place]) -> dict[str, Rows]:
        """Return which rows these responses have at a gate, by id."""
        partition, room = gate_keys.gate_partition(name), asyncio.Semaphore(_READS_AT_ONCE)

        async def exists(key: str) -> bool:
            async with room, reaching(DEADLINE_S):
                return await self._table.find(partition, key, ("RowKey",)) is not None

        async def look(place: Place) -> tuple[str, Rows]:
            hold, wait = await asyncio.gather(exists(gate_keys.hold_key(place.id)), exists(gate_keys.wait_key(place)))
            return place.id, Rows(hold=hold, wait=wait)

        return dict(await asyncio.gather(*(look(place) for place in {one.id: one for one in places}.values())))

    async def first_places(self, name: str, caller: str) -> list[Place]:
        """Return the first 16 places in the line of a caller. Unreadable rows are logged and left out."""
        first, end = gate_keys.line_from(caller), gate_keys.line_end(caller)
        found = await self._scan(gate_keys.gate_partition(name), first, end, NEXT_OF_A_LINE)
        return _readable(found, rows.read_wait)

    async def hold(self, name: str, response_id: str) -> Hold | None:
        """Return the permit of a response, or None if it has none. Raises UnreadableRow."""
        async with reaching(DEADLINE_S):
            row = await self._table.find(gate_keys.gate_partition(name), gate_keys.hold_key(response_id))
        return rows.read_hold(row) if row else None

    async def holds(self, name: str) -> list[Hold]:
        """Return all permits of a gate. Unreadable rows are logged and left out."""
        return _readable(await self._all(gate_keys.gate_partition(name), gate_keys.HOLDS), rows.read_hold)

    async def waiting(self, name: str) -> Counter[str]:
        """Return how many responses of each caller wait at a gate. Unreadable rows are logged and left out."""
        found = _readable(await self._all(gate_keys.gate_partition(name), gate_keys.WAITS), rows.read_wait)
        return Counter(place.caller for place in found)

    # The registry

    async def register(self, name: str) -> None:
        """Note that a gate has rows. If it was noted, its ETag changes, so that a removal under way fails."""
        partition, key = gate_keys.REGISTRY, gate_keys.registry_key(name)
        for _ in range(_TRIES):
            for operation in (
                operations.create(partition, key, {"name": name}),
                operations.update(partition, key, {"name": name}, _UNCONDITIONAL),
            ):
                try:
                    await submit(self._table, [operation])
                except TransactionFailed as failed:
                    if failed.index is None:
                        raise failed.refusal or StoreUnavailable from failed
                else:
                    return
        raise StoreUnavailable("others write the registry all the time")

    async def registration(self, name: str) -> str:
        """Return the ETag of a gate in the registry, or an empty text if it is not there."""
        async with reaching(DEADLINE_S):
            row = await self._table.find(gate_keys.REGISTRY, gate_keys.registry_key(name), ("name",))
        return row.etag if row else ""

    async def unregister(self, name: str, etag: str) -> None:
        """Remove a gate from the registry, unless it was noted again since this ETag was read."""
        try:
            await submit(self._table, [operations.delete(gate_keys.REGISTRY, gate_keys.registry_key(name), etag)])
        except TransactionFailed as failed:
            if failed.index is None:
                raise failed.refusal or StoreUnavailable from failed

    async def registered(self) -> list[str]:
        """Return the names of the gates that have rows."""
        found = await self._all(gate_keys.REGISTRY, f"{gate_keys.GATE}|")
        return [str(row["name"]) for row in found]

    # Queries

    async def _all(self, partition: str, prefix: str) -> list[Entity]:
        """Return all rows with a key prefix, page by page."""
        found: list[Entity] = []
        first = prefix
        while True:
            page = await self._scan(partition, first, prefix + END, ROWS_A_QUERY)
            found += page
            if len(page) < ROWS_A_QUERY:
                return found
            first = str(page[-1]["RowKey"]) + AFTER

    async def _scan(self, partition: str, first: str, end: str, limit: int) -> list[Entity]:
        async with reaching(DEADLINE_S):
            return await self._table.scan(partition, first, end, limit)


def _of_gate(partition: str, old: StoredGate | None, state: GateState | None, writes: tuple[str, ...]) -> Any:
    if state is None:
        return operations.delete(partition, gate_keys.GATE, old.etag if old else _UNCONDITIONAL)
    columns = rows.gate_columns(state, writes)
    if old is None:
        return operations.create(partition, gate_keys.GATE, columns)
    return operations.update(partition, gate_keys.GATE, columns, old.etag)


def _readable(found: Iterable[Entity], read: Callable[[Entity], T]) -> list[T]:
    values = []
    for row in found:
        try:
            values.append(read(row))
        except UnreadableRow as error:
            _log.error("row.unreadable", extra={"key": row["RowKey"], "reason": str(error)})
    return values
