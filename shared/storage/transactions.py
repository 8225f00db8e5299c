"""Sends transactions, and distinguishes failures from unknown outcomes."""

import asyncio
from collections.abc import Sequence
from typing import Any

from azure.core.exceptions import AzureError, ServiceRequestError
from azure.data.tables import TableTransactionError

from shared.core.errors import Conflict, StoreError, StoreRefused, StoreUnavailable
from shared.storage.faults import fault_of
from shared.storage.table_client import Table, error_code

DEADLINE_S = 20.0
_LOST = frozenset({404, 409, 412})  # the row is missing, exists already, or has changed


class TransactionFailed(Exception):
    """A transaction failed. `index` is the operation that failed, or None if the outcome is unknown.

    `refusal` is set if storage refuses the transaction, and would refuse it again. Then nothing was written.
    `was_sent` is whether it may have arrived.
    """

    def __init__(
        self, index: int | None, status: int | None, refusal: StoreRefused | None = None, *, was_sent: bool = True
    ) -> None:
        super().__init__(f"transaction failed with status {status} at operation {index}")
        self.index, self.status, self.refusal, self.was_sent = index, status, refusal, was_sent

    def meaning(self, row_keys: Sequence[str]) -> StoreError:
        """Return the error for the caller, once it is known that our write did not succeed.

        `row_keys` are the keys of the operations, in order. Operation 0 is the record. If another row was missing, its
        key is in `Conflict.gone`.
        """
        if self.refusal:
            return self.refusal
        if self.index is None:
            return StoreUnavailable("storage did not confirm a write")
        return Conflict(row_keys[self.index] if self.status == 404 and self.index else None)


async def submit(table: Table, operations: list[Any]) -> Sequence[Any]:
    """Send a transaction and return the result of each operation, in order. Raises TransactionFailed.

    If the table does not exist, it is created, and the transaction is sent again. The deadline is 20 s. A result has
    the new ETag as `etag`.
    """
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await _submit_or_create(table, operations)
    except TableTransactionError as error:
        known = error.status_code in _LOST and not error_code(error).startswith("Table")
        raise TransactionFailed(error.index if known else None, error.status_code, _refusal(error)) from error
    except (AzureError, TimeoutError) as error:
        was_sent = not isinstance(error, ServiceRequestError)
        raise TransactionFailed(None, None, _refusal(error), was_sent=was_sent) from error


def _refusal(error: BaseException) -> StoreRefused | None:
    fault = fault_of(error)
    return fault if isinstance(fault, StoreRefused) else None


async def _submit_or_create(table: Table, operations: list[Any]) -> Sequence[Any]:
    try:
        return await table.transact(operations)
    except TableTransactionError as error:
        if error_code(error) != "TableNotFound":
            raise
    await table.create()
    return await table.transact(operations)
