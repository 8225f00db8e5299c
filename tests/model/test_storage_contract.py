"""Storage in memory, on which the model check runs, does what Azurite does: the same tests on both."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.data.tables import TableTransactionError
from azure.storage.queue.aio import QueueServiceClient

from local.azurite import Azurite
from shared.storage import operations
from shared.storage.table_client import Table, error_code
from tests.support.conditions import until
from tests.support.fakes.queue_service import FakeQueues, QueueService
from tests.support.fakes.table_service import Operation, Refused, TableService
from tests.support.fakes.table_wire import Direct, FakeTable
from tests.support.storage_transport import direct_transport

Queues = FakeQueues | QueueServiceClient
BOTH = ["azurite", "memory"]
_UNTIL = "~"


@pytest.fixture(params=BOTH)
async def table(request: pytest.FixtureRequest) -> AsyncIterator[Table]:
    """Give a new table, of Azurite and in memory."""
    if request.param == "memory":
        client = cast("Table", FakeTable(TableService(page_rows=7), Direct(), "rows", retries=0))
    else:
        storage: Azurite = request.getfixturevalue("azurite")
        client = cast("Table", Table.from_connection_string(storage.account(), "rows", retry_total=0))
    async with client:
        yield client


@pytest.fixture(params=BOTH)
async def queues(request: pytest.FixtureRequest) -> AsyncIterator[Queues]:
    """Give the queues of a new account, of Azurite and in memory."""
    if request.param == "memory":
        yield FakeQueues(QueueService(time.monotonic))
        return
    storage: Azurite = request.getfixturevalue("azurite")
    async with QueueServiceClient.from_connection_string(storage.account(), transport=direct_transport()) as client:
        yield client


async def refused(table: Table, *sent: Any) -> tuple[int, str, int | None]:
    """Return the status, the code and the operation of the refusal of a transaction."""
    with pytest.raises(TableTransactionError) as caught:
        await table.transact(sent)
    return int(caught.value.status_code or 0), error_code(caught.value), caught.value.index


async def keys_in(table: Table, partition: str = "a") -> list[str]:
    """Return the row keys of a partition."""
    return [row["RowKey"] for row in await table.scan(partition, "", _UNTIL, 1_000, ("RowKey",))]


async def test_a_table_is_missing_until_it_is_created(table: Table) -> None:
    """Reads find nothing then, a transaction is told TableNotFound, and to create it twice is no error."""
    assert not await table.exists()
    assert await table.find("a", "k") is None
    assert await keys_in(table) == []
    assert (await refused(table, operations.create("a", "k", {})))[:2] == (404, "TableNotFound")
    await table.create()
    await table.create()
    assert await table.exists()


async def test_a_row_is_read_as_it_was_written(table: Table) -> None:
    """Texts and bytes are as they were. A merge changes only what it names, and every write changes the ETag."""
    await table.create()
    key = "it's a|key, 100 %é"
    row = {"PartitionKey": "a", "RowKey": key, "text": 'line\r\n--changeset_\u2028"', "data": bytes(range(256))}
    (first,) = await table.transact([("create", row)])
    found = await table.find("a", key)
    assert found is not None
    assert (found["text"], found["data"], found.etag) == (row["text"], row["data"], first["etag"])
    (second,) = await table.transact([operations.update("a", key, {"text": "new"}, found.etag)])
    merged = await table.find("a", key)
    assert merged is not None
    assert (merged["text"], merged["data"], merged.etag) == ("new", row["data"], second["etag"])
    assert second["etag"] != first["etag"]
    assert await table.find("a", key, ("text",)) == {"text": "new"}


@pytest.mark.parametrize(
    ("failing", "meaning"),
    [
        (operations.create("a", "there", {}), (409, "EntityAlreadyExists")),
        (operations.update("a", "none", {}, "W/\"datetime'2020'\""), (404, "ResourceNotFound")),
        (operations.update("a", "there", {}, "W/\"datetime'2020'\""), (412, "UpdateConditionNotSatisfied")),
        (operations.delete("a", "none"), (404, "ResourceNotFound")),
        (operations.delete("a", "there", "W/\"datetime'2020'\""), (412, "UpdateConditionNotSatisfied")),
    ],
    ids=["insert", "update-missing", "update-changed", "delete-missing", "delete-changed"],
)
async def test_a_transaction_is_all_or_nothing(table: Table, failing: Any, meaning: tuple[int, str]) -> None:
    """If one operation fails, none has an effect, and the error names the operation, from 0."""
    await table.create()
    await table.transact([operations.create("a", "there", {"n": "1"}), operations.create("a", "old", {})])
    sent = [operations.create("a", "new", {}), operations.delete("a", "old"), failing]
    assert await refused(table, *sent) == (*meaning, 2)
    assert await keys_in(table) == ["old", "there"]


async def test_a_transaction_is_about_at_most_100_rows(table: Table) -> None:
    """100 rows are written. With 101, or with one row twice, nothing is."""
    await table.create()
    await table.transact([operations.create("a", f"k{n:03d}", {}) for n in range(100)])
    for sent in (
        [operations.create("b", f"k{n:03d}", {}) for n in range(101)],
        [operations.create("b", "k", {}), operations.delete("b", "k")],
    ):
        with pytest.raises(Exception, match=r".") as caught:
            await table.transact(sent)
        assert int(getattr(caught.value, "status_code", 0)) == 400
        assert await keys_in(table, "b") == []
    assert len(await keys_in(table)) == 100


async def test_in_memory_a_transaction_is_about_one_partition() -> None:
    """Azure refuses another one, and Azurite does not."""
    service = TableService()
    service.create_table("rows")
    with pytest.raises(Refused, match="CommandsInBatchActOnDifferentPartitions"):
        service.transact("rows", [Operation("POST", "b", "k"), Operation("POST", "c", "k")])
    assert not service.rows("rows", "b").rows


async def test_a_query_is_followed_over_its_continuations(table: Table) -> None:
    """It gives the rows of a range in order, up to its limit, whatever the size of a page."""
    await table.create()
    await table.transact([operations.create("a", f"k{n:02d}", {"n": str(n % 3)}) for n in range(40)])
    assert [row["n"] for row in await table.scan("a", "k05", "k09", 10)] == ["2", "0", "1", "2"]
    assert len(await table.scan("a", "k", _UNTIL, 25)) == 25
    assert len(await table.scan("a", "k", _UNTIL, 1_000)) == 40
    assert await table.scan("b", "k", _UNTIL, 10) == []
    found, after = list[str](), ""
    while True:
        rows, after = await table.search("a", "k", ("n", "1"), ("RowKey",), after)
        found += [row["RowKey"] for row in rows]
        if not after:
            break
    assert found == [f"k{n:02d}" for n in range(1, 40, 3)]


async def test_a_deletion_of_a_missing_row_is_no_error(table: Table) -> None:
    """It is without a condition, and the other rows stay."""
    await table.create()
    await table.transact([operations.create("a", "k", {}), operations.create("a", "l", {})])
    await table.delete("a", "k")
    await table.delete("a", "k")
    assert await keys_in(table) == ["l"]


async def test_a_message_is_received_until_it_is_deleted(queues: Queues) -> None:
    """It is hidden from others meanwhile. Only the last receipt deletes it, and only once."""
    async with cast("Any", queues).get_queue_client("letters") as queue:
        await _raises(ResourceNotFoundError, lambda: queue.send_message("lost", time_to_live=60))
        await _raises(ResourceNotFoundError, queue.get_queue_properties)
        await queue.create_queue()
        await _raises(ResourceExistsError, queue.create_queue)
        await queue.send_message("now", time_to_live=60)
        await queue.send_message("later", visibility_timeout=50, time_to_live=60)
        (first,) = await _received(queue, 1)
        found = list[Any]()

        async def is_visible() -> bool:
            found.extend(await _received(queue, 30))
            return bool(found)

        await until(is_visible)
        (again,) = found
        assert (first.content, again.content, again.dequeue_count) == ("now", "now", 2)
        assert await _received(queue, 30) == []
        await _raises(HttpResponseError, lambda: queue.delete_message(first.id, first.pop_receipt))
        await queue.delete_message(again.id, again.pop_receipt)
        await _raises(ResourceNotFoundError, lambda: queue.delete_message(again.id, again.pop_receipt))


async def _received(queue: Any, hidden_s: int) -> list[Any]:
    """Return what can be received now."""
    found = queue.receive_messages(messages_per_page=32, max_messages=32, visibility_timeout=hidden_s)
    return [one async for one in found]


async def _raises(kind: type[Exception], act: Callable[[], Any]) -> None:
    with pytest.raises(kind):
        await act()
