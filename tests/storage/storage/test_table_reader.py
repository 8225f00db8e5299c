"""Reads from the table: the batch of an event is found by one query of keys."""

import pytest

from shared.core import event_log, keys
from shared.core.ids import shard_of
from tests.support.stage import Stage

ID = f"resp_{'a' * 32}"
ONE = event_log.Event("a", b"{}")


async def logged(stage: Stage, *firsts: int) -> None:
    """Write batches of one event that begin at these numbers."""
    rows = [row for first in firsts for row in event_log.event_rows(first, [ONE])]
    table, owner = await stage.table(), {"PartitionKey": shard_of(ID)}
    for start in range(0, len(rows), 100):
        made = [
            owner | {"RowKey": keys.child_key(ID, row.suffix), **row.properties} for row in rows[start : start + 100]
        ]
        await table.submit_transaction([("create", row) for row in made])


@pytest.mark.parametrize(("number", "first"), [(0, 0), (1, 0), (399, 399), (400, 400), (401, 400), (655, 400)])
async def test_a_batch_is_found_by_one_query(stage: Stage, number: int, first: int) -> None:
    """One query of at most 256 keys finds the batch of an event, and none is needed for the first event."""
    await logged(stage, *range(1), *range(100, 401))
    before = stage.proxy.counts["GET responses()"]
    key = await stage.ports.store.batch_key(ID, number)
    assert stage.proxy.counts["GET responses()"] - before == int(number > 0)
    assert key == keys.events_from(ID, first)
    page = await stage.ports.store.log(ID, key)
    assert page.batches[0].first == first


async def test_a_log_beyond_its_end_has_no_batch(stage: Stage) -> None:
    """For an event that is out of reach of any batch, the log is read from the first key that may hold it."""
    await logged(stage, 0)
    key = await stage.ports.store.batch_key(ID, 5_000)
    assert key == event_log.batch_key_before(ID, 4_999)
    assert (await stage.ports.store.log(ID, key)).batches == []
