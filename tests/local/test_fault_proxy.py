"""The fault proxy, on which other tests rely."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import ResourceModifiedError, ServiceRequestError
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient
from azure.storage.queue.aio import QueueClient

from local.azurite import Azurite
from tests.support.proxies.fault_proxy import FaultProxy, StorageRequest


@pytest.fixture
async def proxy(azurite: Azurite) -> AsyncIterator[FaultProxy]:
    """Run a proxy in front of the table service."""
    async with FaultProxy("table", azurite.ports["table"]) as proxy:
        yield proxy


@pytest.fixture
async def table(proxy: FaultProxy, connection_string: str) -> AsyncIterator[TableClient]:
    """Create a table through the proxy, with a client that does not retry."""
    client = TableClient.from_connection_string(proxy.through(connection_string), "responses", retry_total=0)
    async with client:
        await client.create_table()
        yield client


def _is_insert(request: StorageRequest) -> bool:
    return request.kind == "POST responses"


def _row(key: str) -> dict[str, str]:
    return {"PartitionKey": "a", "RowKey": key}


async def test_counts_requests_by_method_and_shape_of_path(proxy: FaultProxy, table: TableClient) -> None:
    """Row keys and query strings do not change the kind of a request."""
    await table.create_entity(_row("1|x"))
    await table.get_entity("a", "1|x")
    await table.submit_transaction([("create", _row("2")), ("delete", _row("1|x"))])
    assert [entity["RowKey"] async for entity in table.list_entities()] == ["2"]

    assert proxy.counts == {
        "POST Tables": 1,
        "POST responses": 1,
        "GET responses(key)": 1,
        "POST $batch": 1,
        "GET responses()": 1,
    }


async def test_passes_queue_messages(azurite: Azurite, connection_string: str) -> None:
    """One proxy serves one service. The ids of messages are not part of a request's kind."""
    async with FaultProxy("queue", azurite.ports["queue"]) as proxy:
        client = QueueClient.from_connection_string(proxy.through(connection_string), "nudges")
        async with client:
            await client.create_queue()
            await client.send_message("a")
            message = await client.receive_message()
            assert message is not None
            await client.delete_message(message)

    assert message.content == "a"
    assert proxy.counts == {
        "PUT nudges": 1,
        "POST nudges/messages": 1,
        "GET nudges/messages": 1,
        "DELETE nudges/messages/id": 1,
    }


async def test_drops_the_answer_after_azurite_committed(proxy: FaultProxy, table: TableClient) -> None:
    """The caller sees a broken connection, although the row is written. No other request is affected."""
    fault = proxy.drop_answer(_is_insert, nth=2)
    await table.create_entity(_row("1"))
    with pytest.raises(ServiceRequestError):
        await table.create_entity(_row("2"))
    await table.create_entity(_row("3"))

    assert fault.happened.is_set()
    assert {entity["RowKey"] async for entity in table.list_entities()} == {"1", "2", "3"}


async def test_a_client_that_retries_conflicts_with_its_own_write(
    proxy: FaultProxy, table: TableClient, connection_string: str
) -> None:
    """An SDK that retries an update whose answer was lost reports a conflict, which its own write caused."""
    etag = (await table.create_entity(_row("1")))["etag"]
    proxy.drop_answer(lambda request: request.method == "PUT")
    client = TableClient.from_connection_string(
        proxy.through(connection_string), "responses", retry_backoff_factor=0.01
    )
    async with client:
        with pytest.raises(ResourceModifiedError):
            await client.update_entity(
                _row("1"), UpdateMode.REPLACE, etag=etag, match_condition=MatchConditions.IfNotModified
            )
    assert proxy.counts["PUT responses(key)"] == 2


async def test_drops_an_answer_by_the_body_of_its_request(proxy: FaultProxy, table: TableClient) -> None:
    """A predicate sees the body too, so a test can select one response from a load."""
    proxy.drop_answer(lambda request: b"wanted" in request.body)
    await table.submit_transaction([("create", _row("other"))])
    with pytest.raises(ServiceRequestError):
        await table.submit_transaction([("create", _row("wanted"))])
    assert (await table.get_entity("a", "wanted"))["RowKey"] == "wanted"


async def test_refuses_connections_for_a_while(proxy: FaultProxy, table: TableClient) -> None:
    """During an outage, open connections are cut and new ones are refused. Afterwards the port is the same."""
    async with proxy.refusing():
        with pytest.raises(ServiceRequestError):
            await table.create_entity(_row("1"))
    await table.create_entity(_row("1"))
    assert proxy.counts["POST responses"] == 1


async def test_delays_answers(proxy: FaultProxy, table: TableClient) -> None:
    """Azurite has written the row long before its answer arrives. Healing the proxy ends the delay."""
    fault = proxy.delay(_is_insert, 0.3)
    began = time.monotonic()
    await table.create_entity(_row("1"))
    assert time.monotonic() - began >= 0.3
    assert fault.happened.is_set()

    proxy.heal()
    await asyncio.wait_for(table.create_entity(_row("2")), 0.3)


# The SDK passes such a body to its HTTP client as bytes, for which the client has a warning.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_passes_a_large_transaction_unchanged(proxy: FaultProxy, table: TableClient) -> None:
    """A body above a megabyte, the default limit of the underlying library, passes completely."""
    rows = [("create", {**_row(str(number)), "Data": bytes(60_000)}) for number in range(30)]
    await table.submit_transaction(rows)
    assert proxy.counts["POST $batch"] == 1
    assert (await table.get_entity("a", "29"))["Data"] == bytes(60_000)
