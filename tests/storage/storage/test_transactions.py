"""Transactions: either all operations are carried out, or the error says which one failed or that this is unknown."""

import asyncio
from typing import Any

import pytest
from azure.core import MatchConditions

from shared.core.errors import Conflict, StoreRefused, StoreUnavailable
from shared.storage.table_client import Table
from shared.storage.transactions import TransactionFailed, submit
from shared.storage.wire import READ_S
from tests.support.conditions import until
from tests.support.fast_loop import BACKEND, skip
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.stage import Stage

STALE = {"etag": 'W/"old"', "match_condition": MatchConditions.IfNotModified}
KEYS = ("record", "alarm", "child")


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run the tests on a loop whose clock can be put forward."""
    return BACKEND


@pytest.fixture
async def table(stage: Stage) -> Table:
    """Return a client of the stage's table, which is reached through its proxy."""
    return await stage.table()


def row(key: str, **properties: Any) -> dict[str, Any]:
    """Return an entity of the one partition that is used here."""
    return {"PartitionKey": "a", "RowKey": key, **properties}


async def keys(table: Table) -> list[str]:
    """Return the keys of all rows."""
    return [one["RowKey"] async for one in table.list_entities(select=["RowKey"])]


async def failed(table: Table, *operations: Any) -> TransactionFailed:
    """Submit a transaction that must fail. Return its error."""
    with pytest.raises(TransactionFailed) as failed:
        await submit(table, list(operations))
    return failed.value


async def test_each_operation_has_its_result(table: Table) -> None:
    """A transaction that succeeds returns a result for each operation, in order, with the new ETag of its row."""
    await table.create_entity(row("old"))
    results = await submit(table, [("create", row("new")), ("update", row("old", n=1))])
    etags = [(await table.get_entity("a", key)).metadata["etag"] for key in ("new", "old")]
    assert [result["etag"] for result in results] == etags


@pytest.mark.parametrize("status", [400, 413])
async def test_a_refusal_that_would_come_again_is_no_outage(stage: Stage, table: Table, status: int) -> None:
    """Whoever repeats the operation is told the same."""
    await table.create_entity(row("old"))
    stage.proxy.refuse(is_transaction, status)
    error = await failed(table, ("create", row("new")))
    assert (type(error.meaning(KEYS)), error.index) == (StoreRefused, None)


async def test_a_row_that_is_too_large_is_refused(table: Table) -> None:
    """A property has room for 32,768 characters."""
    error = await failed(table, ("create", row("new", text="x" * 40_000)))
    assert type(error.meaning(KEYS)) is StoreRefused


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    ("operation", "status"),
    [
        (("delete", row("absent")), 404),
        (("update", row("absent", n=1)), 404),
        (("create", row("there")), 409),
        (("update", row("there", n=2), STALE), 412),
        (("delete", row("there"), STALE), 412),
    ],
    ids=["delete absent", "update absent", "create existing", "update changed", "delete changed"],
)
async def test_a_row_that_is_not_as_expected_is_named(table: Table, place: int, operation: Any, status: int) -> None:
    """If a row is missing, exists already or has changed, the error names its operation. Nothing is written."""
    await table.create_entity(row("there", n=1))
    operations: list[Any] = [("create", row("one")), ("create", row("two"))]
    operations.insert(place, operation)
    error = await failed(table, *operations)
    assert (error.index, error.status) == (place, status)
    assert await keys(table) == ["there"]


async def test_a_refusal_for_another_reason_names_no_operation(table: Table) -> None:
    """If storage refuses an operation for another reason than the state of a row, no row is blamed for it."""
    error = await failed(table, ("create", row("one")), ("create", row("a/b")))
    assert error.index is None
    assert await keys(table) == []


# Outcomes that are unknown


async def test_a_lost_answer_is_an_unknown_outcome(stage: Stage, table: Table) -> None:
    """If the answer is lost, the error names no operation, although the transaction was carried out."""
    lost = stage.proxy.drop_answer(is_transaction)
    error = await failed(table, ("create", row("one")))
    assert lost.happened.is_set()
    assert (error.index, error.status) == (None, None)
    assert await keys(table) == ["one"]


async def test_an_outage_is_an_unknown_outcome(stage: Stage, table: Table) -> None:
    """If storage cannot be reached, the error names no operation."""
    async with stage.proxy.refusing():
        error = await failed(table, ("create", row("one")))
    assert (error.index, error.status) == (None, None)
    assert await keys(table) == []


async def test_an_answer_that_takes_too_long_is_an_unknown_outcome(stage: Stage, table: Table) -> None:
    """A transaction that is not answered for 10 s is given up."""
    stage.proxy.delay(is_transaction, 600)
    submitting = asyncio.create_task(failed(table, ("create", row("one"))))

    async def is_sent() -> bool:
        return stage.proxy.counts["POST $batch"] == 1

    await until(is_sent)
    skip(READ_S - 1)
    await asyncio.sleep(0.05)
    assert not submitting.done()
    skip(1)
    error = await asyncio.wait_for(submitting, 5)
    assert (error.index, error.status) == (None, None)


# What a failure means


@pytest.mark.parametrize(
    ("index", "status", "gone"),
    [(0, 404, None), (1, 404, "alarm"), (2, 404, "child"), (0, 412, None), (0, 409, None), (1, 409, None)],
)
def test_a_failure_of_an_operation_is_a_conflict(index: int, status: int, gone: str | None) -> None:
    """Another write came first. If it removed a row beside the record, the conflict names that row."""
    meaning = TransactionFailed(index, status).meaning(KEYS)
    assert isinstance(meaning, Conflict)
    assert meaning.gone == gone


@pytest.mark.parametrize("status", [None, 500, 413])
def test_a_failure_without_an_operation_means_that_storage_is_unavailable(status: int | None) -> None:
    """If no operation is named, it is not known whether another write came first."""
    assert isinstance(TransactionFailed(None, status).meaning(KEYS), StoreUnavailable)


async def test_a_transaction_without_a_table_creates_it(table: Table) -> None:
    """It is then sent again, and has its usual results. An operation that fails then is named as usual."""
    await table.delete_table()
    results = await submit(table, [("create", row("new")), ("create", row("other"))])
    assert [bool(result["etag"]) for result in results] == [True, True]
    assert await keys(table) == ["new", "other"]
    await table.delete_table()
    assert (await failed(table, ("create", row("new")), ("update", row("none", n=1), STALE))).index == 1
