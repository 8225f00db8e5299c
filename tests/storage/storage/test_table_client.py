"""The table's client: its methods have the same outcome as the library's own, at lower cost."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.data.tables import TableTransactionError, UpdateMode

from shared.storage.table_client import Table

NASTY = (
    'HTTP/1.1 404 Not Found\r\netag: W/"no"\r\n--batch_x--\r\n{"odata.error":{}} '
    "\u00e9\u4e16\U0001f642\u2028\u2029\x85'%/#?"
)


@pytest.fixture
async def table(connection_string: str) -> AsyncIterator[Table]:
    """Give a new table."""
    client = Table.from_connection_string(connection_string, "lean", retry_total=0)
    async with client:
        await client.create_table()
        assert isinstance(client, Table)
        yield client


def row(key: str, **properties: Any) -> dict[str, Any]:
    """Return an entity of the one partition that is used here."""
    return {"PartitionKey": "a", "RowKey": key, **properties}


async def test_a_row_is_read_as_it_was_written(table: Table) -> None:
    """A row is found with its text, bytes and ETag, whatever its key.

    Only selected properties are returned, and None for a row that does not exist.
    """
    key, data = "it's|a key, 100 \u00e9&=+", bytes(range(256))
    await table.create_entity(row(key, text=NASTY, data=data, empty=b""))
    found = await table.find("a", key)
    known = await table.get_entity("a", key)
    assert found
    assert (found["RowKey"], found["text"], found["data"], found["empty"]) == (key, NASTY, data, b"")
    assert found.etag == known.metadata["etag"]
    assert await table.find("a", key, ["text"]) == {"text": NASTY}
    assert await table.find("a", "it") is None


async def test_a_scan_returns_a_range_of_keys_in_order(table: Table) -> None:
    """A scan returns the rows of one partition in order, from the first key to below the last, up to its limit."""
    for start in range(0, 1_300, 100):
        await table.transact([("create", row(f"k|{n:04d}", n=str(n))) for n in range(start, start + 100)])
    await table.create_entity({"PartitionKey": "b", "RowKey": "k|0500"})
    assert [one["RowKey"] for one in await table.scan("a", "k|0002", "k|0005", 10)] == ["k|0002", "k|0003", "k|0004"]
    assert [one["n"] for one in await table.scan("a", "k|", "k|~", 2, ["n"])] == ["0", "1"]
    assert [one["n"] for one in await table.scan("a", "k|", "k|~", 50_000)] == [str(n) for n in range(1_300)]
    assert await table.scan("a", "l", "m", 10) == []


async def test_a_search_returns_what_one_request_finds(table: Table) -> None:
    """And how to go on, if there may be more. A text with a quote is only a text."""
    name = "o'hara eq 'x"
    for start in range(0, 1_300, 100):
        rows = [row(f"k|{n:04d}", caller=name if n % 100 else "other", n=str(n)) for n in range(start, start + 100)]
        await table.transact([("create", one) for one in rows])
    found, after, requests = list[str](), "", 0
    while after or not requests:
        some, after = await table.search("a", "k|", ("caller", name), ["n"], after)
        found += [one["n"] for one in some]
        requests += 1
        assert requests < 20
    assert found == [str(n) for n in range(1_300) if n % 100]
    assert requests > 1
    assert await table.search("a", "l|", ("caller", name), ["n"]) == ([], "")


async def test_a_read_that_storage_refuses_is_an_error(connection_string: str) -> None:
    """A scan with a wrong key raises an error. A table that does not exist has no rows."""
    async with Table.from_connection_string(connection_string, "absent", retry_total=0) as absent:
        assert isinstance(absent, Table)
        assert await absent.scan("a", "k", "l", 1) == []
    strange = re.sub("AccountKey=[^;]+", "AccountKey=AAAA", connection_string)
    async with Table.from_connection_string(strange, "absent", retry_total=0) as barred:
        assert isinstance(barred, Table)
        with pytest.raises(HttpResponseError) as refused:
            await barred.scan("a", "k", "l", 1)
    assert refused.value.status_code == 403


async def test_each_operation_returns_the_etag_of_its_row(table: Table) -> None:
    """A transaction returns the ETags of created and updated rows, in order, and None for a deleted row."""
    await table.create_entity(row("old"))
    await table.create_entity(row("gone"))
    results = await table.transact(
        [("create", row("new", text="x")), ("delete", row("gone")), ("update", row("old", text="y"))]
    )
    etags = [(await table.get_entity("a", key)).metadata["etag"] for key in ("new", "old")]
    assert [result["etag"] for result in results] == [etags[0], None, etags[1]]


async def test_text_and_bytes_arrive_as_they_were_sent(table: Table) -> None:
    """No value is taken for multipart framing, even one that looks like an answer."""
    data = bytes(range(256)) * 200
    await table.transact([("create", row("nasty", text=NASTY, data=data)), ("create", row("plain"))])
    read = await table.get_entity("a", "nasty")
    assert (read["text"], read["data"]) == (NASTY, data)


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        (("create", row("there")), 409),
        (("delete", row("absent")), 404),
        (("update", row("there"), {"etag": 'W/"old"', "match_condition": MatchConditions.IfNotModified}), 412),
        (("delete", row("there"), {"etag": 'W/"old"', "match_condition": MatchConditions.IfNotModified}), 412),
    ],
)
async def test_a_failed_operation_is_named_and_nothing_is_written(table: Table, operation: Any, status: int) -> None:
    """The error has the status and the index of the operation that failed. The other operations have no effect."""
    await table.create_entity(row("there", n=1))
    with pytest.raises(TableTransactionError) as failed:
        await table.transact([("create", row("one")), ("create", row("two")), operation])
    assert (failed.value.index, failed.value.status_code) == (2, status)
    with pytest.raises(ResourceNotFoundError):
        await table.get_entity("a", "one")


async def test_a_merge_leaves_the_properties_it_does_not_name(table: Table) -> None:
    """An update has an If-Match condition, and merges."""
    await table.create_entity(row("r", body=b"kept", status="queued"))
    etag = (await table.get_entity("a", "r")).metadata["etag"]
    condition = {"etag": etag, "match_condition": MatchConditions.IfNotModified, "mode": UpdateMode.MERGE}
    await table.transact([("update", row("r", status="completed"), condition)])
    read = await table.get_entity("a", "r")
    assert (read["body"], read["status"]) == (b"kept", "completed")


async def test_a_row_is_deleted_or_gone(table: Table) -> None:
    """A deletion needs no ETag, and a row that is not there is no error."""
    await table.create_entity(row("it's|a key, 100 \u00e9&=+"))
    for _ in range(2):
        await table.delete("a", "it's|a key, 100 \u00e9&=+")
    assert await table.scan("a", "", "~", 10) == []


async def test_a_hundred_operations_and_nearly_three_megabytes_fit_in_one_transaction(table: Table) -> None:
    """Storage accepts 100 operations, and nearly 3 MB, in one transaction. The store's limits are below these."""
    await table.transact([("create", row(f"{n:03d}")) for n in range(100)])
    part = b"\xff" * 65_536
    large = [("create", row(f"large{n}", **{f"p{m}": part for m in range(10)})) for n in range(4)]
    assert len(await table.transact(large)) == 4


async def test_a_refusal_of_the_whole_transaction_names_no_operation(connection_string: str) -> None:
    """A transaction on a table that does not exist raises HttpResponseError, which names no operation."""
    async with Table.from_connection_string(connection_string, "absent", retry_total=0) as absent:
        assert isinstance(absent, Table)
        with pytest.raises(HttpResponseError) as refused:
            await absent.transact([("create", row("x"))])
    assert refused.value.status_code == 404
