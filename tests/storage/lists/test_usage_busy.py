"""What a caller with more responses than one call reads has used, on real storage."""

import asyncio
import itertools
from datetime import date

import pytest

from shared.core import ids
from shared.core.errors import BadRequest, Unavailable
from shared.core.records import Record
from shared.lists import usage
from shared.lists.lists import Lists
from shared.lists.queries import UsageQuery
from shared.lists.usage import Bounds
from shared.operators.operators import Operators
from tests.support.proxies.fault_proxy import StorageRequest
from tests.support.stage import ANN, BOB, Stage

FIRST = date(2027, 1, 15)  # the stage begins at 08:00
ALL = UsageQuery(date(2027, 1, 1), date(2027, 12, 31))
SHARD = "0"
COUNT = 8
ASKED = b'{"model":"m","input":"question","background":true}'
FEW_ROWS = Bounds(most_rows=1, rows_a_query=2)
NO_TIME = Bounds(within_s=0.0, rows_a_query=2)
ONE_DAY = UsageQuery(FIRST, FIRST)


async def busy(stage: Stage, count: int = COUNT) -> list[Record]:
    """Let ann end so many responses in one shard, and bob end one. Return those of ann."""
    await stage.ended(BOB)
    keys = (key for n in itertools.count() if ids.derived_id(b"ann", (key := f"{n}").encode(), ASKED)[5] == SHARD)
    return [await stage.ended(key=key) for key in itertools.islice(keys, count)]


def reads_entries(request: StorageRequest) -> bool:
    """Return whether a request reads entries of ended responses in the busy shard."""
    return "list%7C" in request.path and f"PartitionKey%20eq%20%27{SHARD}%27" in request.path


@pytest.mark.parametrize("bounds", [FEW_ROWS, NO_TIME])
async def test_more_responses_than_one_call_of_several_days_reads_are_refused(stage: Stage, bounds: Bounds) -> None:
    """The error says what to do, and that it helps."""
    await busy(stage)
    lists = Lists(stage.ports, bounds)
    with pytest.raises(BadRequest, match=r"Ask for fewer\. One day is always answered") as refused:
        await lists.usage(ANN, ALL)
    assert (refused.value.param, refused.value.code) == ("from", "too_many")
    with pytest.raises(BadRequest):
        await Operators(stage.ports, bounds).usage(ALL, "ann")
    assert await lists.usage(ANN, UsageQuery(date(2027, 1, 18), date(2027, 1, 19)))


async def test_one_day_is_answered_however_many_responses_ended(stage: Stage) -> None:
    """It has no limit of rows."""
    await busy(stage)
    found = await Lists(stage.ports, FEW_ROWS).usage(ANN, ONE_DAY)
    assert (found["total"]["responses"], found["is_whole"]) == (COUNT, True)
    found = await Operators(stage.ports, FEW_ROWS).usage(ONE_DAY, "ann")
    assert (found["total"]["responses"], found["is_whole"], found["incomplete"]) == (COUNT, True, [])


async def test_one_day_for_which_the_time_is_too_short_is_marked(stage: Stage) -> None:
    """The sums have what was read until then."""
    await busy(stage)
    found = await Lists(stage.ports, NO_TIME).usage(ANN, ONE_DAY)
    assert (found["total"]["responses"], found["is_whole"]) == (2, False)


@pytest.mark.parametrize("query", [ONE_DAY, ALL])
async def test_purges_all_the_time_leave_one_day_answerable(stage: Stage, query: UsageQuery) -> None:
    """No response is counted twice, and the sums are marked. A call of several days is asked to come again."""
    records = await busy(stage)
    gates = [stage.proxy.pause(reads_entries, nth + 1) for nth in range(usage.TRIES)]
    reading = asyncio.create_task(stage.engine.lists.usage(ANN, query))
    for gate in gates:
        await gate.reached.wait()
        gone = records.pop()
        await stage.engine.delete(ANN, gone.id)
        while await stage.alarms(gone.id):
            await stage.fire_alarms(gone.id)
        gate.open()
    if query is ONE_DAY:
        found = await reading
        assert (found["total"]["responses"], found["is_whole"]) == (COUNT - 1, False)
    else:
        with pytest.raises(Unavailable, match="purged"):
            await reading
    found = await stage.engine.lists.usage(ANN, query)
    assert (found["total"]["responses"], found["is_whole"]) == (COUNT, True)


@pytest.mark.parametrize(("query", "count"), [(ONE_DAY, COUNT), (ALL, 2)])
async def test_one_busy_caller_does_not_fail_the_sum_of_all(stage: Stage, query: UsageQuery, count: int) -> None:
    """What is read of it is there, and it is named if that is not whole. One day is read to its end."""
    await busy(stage)
    found = await Operators(stage.ports, FEW_ROWS).usage(query, None)
    by_caller = {line["caller"]: line["responses"] for line in found["data"]}
    assert by_caller == {"ann": count, "bob": 1}
    assert (found["is_whole"], found["incomplete"]) == ((True, []) if query is ONE_DAY else (False, ["ann"]))


async def test_the_callers_with_few_responses_are_summed_first(stage: Stage) -> None:
    """A busy one takes no time from them."""
    await busy(stage)
    found = await Operators(stage.ports, NO_TIME).usage(ONE_DAY, None)
    assert {line["caller"]: line["responses"] for line in found["data"]} == {"ann": 2, "bob": 1}
    assert (found["is_whole"], found["incomplete"]) == (False, ["ann"])
