"""What callers have used, on real storage: each response is counted once, before and after its purge."""

import asyncio
import random
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from shared.core.errors import StoreUnavailable
from shared.core.prices import Price
from shared.core.records import Record
from shared.lifecycle import retention
from shared.lists.queries import UsageQuery
from tests.support.proxies.fault_proxy import StorageRequest, is_transaction
from tests.support.stage import ANN, BOB, Stage

DAY_S = 86_400
FIRST, NEXT = date(2027, 1, 15), date(2027, 1, 16)  # the stage begins on the first at 08:00
ALL = UsageQuery(date(2027, 1, 1), date(2027, 12, 31))


async def total(stage: Stage, query: UsageQuery = ALL) -> dict[str, Any]:
    """Return the total of ann's usage."""
    return (await stage.engine.lists.usage(ANN, query))["total"]


async def purge(stage: Stage, record: Record) -> None:
    """Delete a response, and act on its alarms until it is gone."""
    await stage.engine.delete(ANN, record.id)
    await act_until_gone(stage, record)


async def act_until_gone(stage: Stage, record: Record) -> None:
    """Act on the alarms of a response until none is left."""
    while await stage.alarms(record.id):
        await stage.fire_alarms(record.id)
    assert await stage.ports.store.read(record.id) is None


def reads_entries(request: StorageRequest) -> bool:
    """Return whether a request reads entries of ended responses."""
    return "list%7C" in request.path and request.method == "GET"


# What is counted


async def test_usage_is_by_the_day_of_the_end_and_the_model(stage: Stage) -> None:
    """Responses that have not ended are not counted, and neither are those of other callers."""
    await stage.ended(model="m")
    await stage.ended(model="n")
    late = await stage.create(model="m")
    await stage.create()
    await stage.ended(BOB)
    stage.clock.advance(DAY_S)
    await stage.engine.cancel(ANN, late.id)
    lines = (await stage.engine.lists.usage(ANN, ALL))["data"]
    found = [(one["day"], one["model"], one["by_status"]["completed"], one["by_status"]["cancelled"]) for one in lines]
    assert found == [("2027-01-15", "m", 1, 0), ("2027-01-15", "n", 1, 0), ("2027-01-16", "m", 0, 1)]
    assert lines[2]["seconds"] == DAY_S


@pytest.mark.parametrize(("days", "count"), [((FIRST, FIRST), 1), ((NEXT, NEXT), 2), ((FIRST, NEXT), 3)])
@pytest.mark.parametrize("is_purged", [False, True])
async def test_days_are_whole_and_both_ends_are_included(
    stage: Stage, days: tuple[date, date], count: int, is_purged: bool
) -> None:
    """A response counts on the day of its end, however long ago it was created, and after its purge, too."""
    records = [await stage.create(), await stage.ended()]
    stage.clock.advance(DAY_S)
    await stage.engine.cancel(ANN, records[0].id)
    records.append(await stage.ended())
    for record in records if is_purged else ():
        await purge(stage, record)
    assert (await total(stage, UsageQuery(*days)))["responses"] == count


async def test_tokens_are_those_that_the_upstream_has_told(stage: Stage) -> None:
    """With the price of a model, the cost is shown, too."""
    stage.rule(prices={"m": Price(input=2.0, output=4.0, cached=1.0)})
    stage.upstream.usage = {
        "input_tokens": 1_000_000,
        "input_tokens_details": {"cached_tokens": 500_000},
        "output_tokens": 250_000,
        "output_tokens_details": {"reasoning_tokens": 200_000},
    }
    await stage.ended()
    (line,) = (await stage.engine.lists.usage(ANN, ALL))["data"]
    assert line == {
        "day": "2027-01-15",
        "model": "m",
        "responses": 1,
        "by_status": {"completed": 1, "failed": 0, "incomplete": 0, "cancelled": 0},
        "input_tokens": 1_000_000,
        "cached_tokens": 500_000,
        "output_tokens": 250_000,
        "reasoning_tokens": 200_000,
        "seconds": 0.0,
        "cost": 2.5,
    }
    assert (await total(stage))["cost"] == 2.5
    await stage.ended(model="without a price")
    assert (await total(stage))["cost"] is None


# Purges


async def test_a_purge_changes_no_sum(stage: Stage) -> None:
    """Neither does a delete, which hides the response from its lists."""
    stage.upstream.usage = {"input_tokens": 7, "output_tokens": 3}
    records = [await stage.ended(model=model) for model in ("m", "m", "n", "m")]
    before = await stage.engine.lists.usage(ANN, ALL)
    for record in records[:3]:
        await stage.engine.delete(ANN, record.id)
        assert await stage.engine.lists.usage(ANN, ALL) == before
        await act_until_gone(stage, record)
        assert await stage.engine.lists.usage(ANN, ALL) == before


async def test_purges_at_once_in_several_processes_count_each_response_once(stage: Stage) -> None:
    """They write the same sums, and storage lets one of them win at a time."""
    stage.upstream.usage = {"input_tokens": 1}
    records = [await stage.ended(key=f"{n}") for n in range(60)]
    of_one_shard = [record for record in records if record.id[5] == records[0].id[5]]
    before = await total(stage)
    for record in of_one_shard:
        await stage.engine.delete(ANN, record.id)
    stage.clock.advance(120)
    alarms = [alarm for record in of_one_shard for alarm in await stage.alarms(record.id)]
    processes = [await stage.new_ports(stage.clock) for _ in range(3)]
    rng = random.Random(1)
    twice = [(ports, alarm) for alarm in alarms for ports in rng.sample(processes, 2)]
    await asyncio.gather(*(retention.on_purge_alarm(*one) for one in twice), return_exceptions=True)
    for record in of_one_shard:
        assert await stage.ports.store.read(record.id) is None
    assert await total(stage) == before


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_purge_whose_answer_is_lost_counts_once(stage: Stage, arrives: bool) -> None:
    """Whether storage has carried the transaction out or not. It is the second one, after the move of the alarm."""
    stage.upstream.usage = {"input_tokens": 5}
    record = await stage.ended()
    before = await total(stage)
    await stage.engine.delete(ANN, record.id)
    stage.clock.advance(120)
    lose = stage.proxy.drop_answer if arrives else stage.proxy.lose
    lost = lose(is_transaction, 2)
    await stage.sweep(record.id)
    assert lost.happened.is_set()
    await act_until_gone(stage, record)
    assert await total(stage) == before


async def test_a_purge_while_the_usage_is_read_is_noticed(stage: Stage) -> None:
    """The reads begin anew, so what moved from the entries to the sums is in one of them."""
    records = [await stage.ended() for _ in range(3)]
    before = await total(stage)
    gate = stage.proxy.pause(reads_entries)
    reading = asyncio.create_task(total(stage))
    await gate.reached.wait()
    for record in records:
        await purge(stage, record)
    gate.open()
    assert await reading == before


async def test_sums_that_cannot_be_read_hold_up_no_purge(stage: Stage) -> None:
    """A response must go when its time is over. The sums are logged, and left out."""
    first, second = [await stage.ended(key=name) for name in ("a", "b")]
    await purge(stage, first)
    (key,) = [one for one in await all_keys(stage) if one.startswith("usage|")]
    await stage.put(first.id, key, facts="damaged")
    await stage.put(second.id, key, facts="damaged")
    await purge(stage, second)
    assert await total(stage) == {**await total(stage), "responses": 0}


async def all_keys(stage: Stage) -> list[str]:
    """Return the row keys of the table."""
    return [str(row["RowKey"]) async for row in (await stage.table()).list_entities(select=["RowKey"])]


async def test_what_an_older_release_has_ended_is_not_counted(stage: Stage) -> None:
    """It has no entry. Neither its purge nor its list counts it."""
    record = await stage.ended()
    old = await stage.ports.store.read(record.id)
    assert old
    await stage.ports.store.remove_all(replace(old, listed=""), old.purge_key)
    assert await stage.ports.store.read(record.id) is None


async def test_an_outage_is_an_error(stage: Stage) -> None:
    """No sum is better than a wrong one."""
    await stage.ended()
    stage.proxy.refuse(reads_entries)
    with pytest.raises(StoreUnavailable):
        await total(stage)
