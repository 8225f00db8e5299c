"""Sending a transaction: what a failure says about its outcome."""

import asyncio
from collections.abc import Sequence
from typing import Any

from azure.core.exceptions import AzureError
from azure.data.tables import TableTransactionError

from shared.core.errors import Conflict, StoreError, StoreUnavailable
from shared.storage.table_client import Table

DEADLINE_S = 20.0
_LOST = frozenset({404, 409, 412})  # the row is gone, it exists, it has changed


class TransactionFailed(Exception):
    """A transaction failed: at the operation that `index` names, or with an unknown outcome if it is None."""

    def __init__(self, index: int | None, status: int | None) -> None:
        super().__init__(f"transaction failed with status {status} at operation {index}")
        self.index = index
        self.status = status

    def meaning(self, row_keys: Sequence[str]) -> StoreError:
        """Return what it means once it is known that our own write is not there. The record is operation 0."""
        if self.index is None:
            return StoreUnavailable("storage did not confirm a write")
        return Conflict(row_keys[self.index] if self.status == 404 and self.index else None)


async def submit(table: Table, operations: list[Any]) -> Sequence[Any]:
    """Send a transaction; return the result of each operation, or raise TransactionFailed."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await table.submit_transaction(operations)
    except TableTransactionError as error:
        known = error.status_code in _LOST
        raise TransactionFailed(error.index if known else None, error.status_code) from error
    except (AzureError, TimeoutError) as error:
        raise TransactionFailed(None, None) from error
