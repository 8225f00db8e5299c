"""Table Storage in memory: entity group transactions, ETags, queries with continuations, and their errors.

It has one account with any number of tables. tests/model/test_storage_contract.py runs the same tests on it and on
Azurite. It takes operations, and `table_wire` puts them behind the requests that the product sends.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

MAX_OPERATIONS = 100
MAX_BYTES = 4 * 1_048_576
MAX_PROPERTY = 65_536  # bytes of a text in UTF-16, or of a binary value

Row: TypeAlias = dict[str, Any]  # binary properties as base64, beside their type, as on the wire


class Refused(Exception):
    """Storage refuses a request. `index` is the operation that it names, if the request is a transaction."""

    def __init__(self, status: int, code: str, index: int = 0) -> None:
        super().__init__(f"{status} {code} at operation {index}")
        self.status, self.code, self.index = status, code, index


@dataclass(frozen=True)
class Operation:
    """An operation of a transaction. `if_match` is an ETag, `*`, or None for an insert."""

    verb: str  # POST inserts, PATCH merges, DELETE deletes
    partition: str
    key: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    if_match: str | None = None


@dataclass
class Partition:
    """The rows of one partition, and their keys in order."""

    rows: dict[str, Row] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)

    def put(self, key: str, row: Row) -> None:
        """Insert or replace a row."""
        if key not in self.rows:
            insort(self.keys, key)
        self.rows[key] = row

    def remove(self, key: str) -> None:
        """Delete a row, which must exist."""
        del self.rows[key]
        del self.keys[bisect_left(self.keys, key)]

    def between(self, first: str, end: str) -> list[str]:
        """Return the keys from `first` on and below `end`, in order."""
        return self.keys[bisect_left(self.keys, first) : bisect_left(self.keys, end)]


Listener: TypeAlias = Callable[[str, Mapping[str, Row | None]], None]
"""Is told of every transaction that was committed: its partition, and the rows that it changed as they were before."""


class TableService:
    """The tables of an account. `page_rows` is how many rows a query returns at most before its continuation."""

    def __init__(self, page_rows: int = 1_000) -> None:
        self.tables: dict[str, dict[str, Partition]] = {}
        self.page_rows = page_rows
        self.listeners: list[Listener] = []
        self._versions = 0

    def create_table(self, name: str) -> None:
        """Create a table. Raises Refused if it exists."""
        if name in self.tables:
            raise Refused(409, "TableAlreadyExists")
        self.tables[name] = {}

    def transact(self, table: str, operations: Sequence[Operation]) -> list[str]:
        """Carry out all operations, or none. Return the new ETag of each, empty for a deletion. Raises Refused."""
        partitions = self.tables.get(table)
        if partitions is None:
            raise Refused(404, "TableNotFound")
        _check_shape(operations)
        partition = partitions.setdefault(operations[0].partition, Partition())
        written: list[Row | None] = []
        for index, one in enumerate(operations):
            try:
                written.append(self._written(partition.rows.get(one.key), one))
            except Refused as refusal:
                raise Refused(refusal.status, refusal.code, index) from None
        before = {one.key: partition.rows.get(one.key) for one in operations}
        for one, row in zip(operations, written, strict=True):
            if row is None:
                partition.remove(one.key)
            else:
                partition.put(one.key, row)
        for listen in self.listeners:
            listen(operations[0].partition, before)
        return [str(row["odata.etag"]) if row else "" for row in written]

    def find(self, table: str, partition: str, key: str) -> Row:
        """Return a row. Raises Refused if it does not exist."""
        if table not in self.tables:
            raise Refused(404, "TableNotFound")
        row = self.rows(table, partition).rows.get(key)
        if row is None:
            raise Refused(404, "ResourceNotFound")
        return row

    def query(
        self, table: str, partition: str, first: str, end: str, top: int, column: tuple[str, str] | None = None
    ) -> tuple[list[Row], str | None]:
        """Return the rows whose keys are from `first` on and below `end`, and the key to go on from, or None.

        With a column, only rows that have this text there are returned. Storage looks at `page_rows` rows at most.
        """
        if table not in self.tables:
            raise Refused(404, "TableNotFound")
        there, found = self.rows(table, partition), list[Row]()
        for looked, key in enumerate(there.between(first, end)):
            if looked >= self.page_rows or len(found) == top:
                return found, key
            row = there.rows[key]
            if column is None or row.get(column[0]) == column[1]:
                found.append(row)
        return found, None

    def rows(self, table: str, partition: str) -> Partition:
        """Return the rows of a partition, which may have none."""
        return self.tables.get(table, {}).get(partition) or Partition()

    def _written(self, there: Row | None, one: Operation) -> Row | None:
        """Return what an operation makes of a row, or None for a deletion."""
        if one.verb == "POST":
            if there is not None:
                raise Refused(409, "EntityAlreadyExists")
        elif there is None:
            raise Refused(404, "ResourceNotFound")
        elif one.if_match not in ("*", there["odata.etag"]):
            raise Refused(412, "UpdateConditionNotSatisfied")
        if one.verb == "DELETE":
            return None
        self._versions += 1
        kept = _without_types_of(one.properties, there or {})
        return {**kept, **one.properties, "PartitionKey": one.partition, "RowKey": one.key, **self._version()}

    def _version(self) -> Row:
        return {"odata.etag": f"W/\"datetime'{self._versions:08d}'\""}


def _without_types_of(properties: Mapping[str, Any], there: Row) -> Row:
    """Return a row without the types of the properties that a merge replaces. The merge brings its own."""
    return {name: value for name, value in there.items() if name.partition("@")[0] not in properties}


def _check_shape(operations: Sequence[Operation]) -> None:
    if len(operations) > MAX_OPERATIONS:
        raise Refused(400, "InvalidInput", MAX_OPERATIONS - 1)
    seen = set[str]()
    for index, one in enumerate(operations):
        if one.partition != operations[0].partition:
            raise Refused(400, "CommandsInBatchActOnDifferentPartitions", index)
        if one.key in seen:
            raise Refused(400, "InvalidDuplicateRow", index)
        seen.add(one.key)
        for value in one.properties.values():
            if isinstance(value, str) and len(value) > 2 * MAX_PROPERTY:
                raise Refused(400, "PropertyValueTooLarge", index)
