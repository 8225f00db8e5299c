"""New responses of a caller that may have only so many that have not ended, on real storage."""

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest

from shared.contract.callers import CallerLimits, Callers
from shared.core.ids import shard_of
from shared.core.records import Record
from shared.core.states import Status
from shared.runtime.quotas import InFlight, TooManyRequests
from shared.starts.queue_intake import QueueMessage
from tests.support.stage import ANN, BOB, Stage

LIMIT = 3
LIMITED = replace(ANN, limits=CallerLimits(max_in_flight=LIMIT))
WAYS: dict[str, dict[str, Any]] = {
    "background": {},
    "stream": {"stream": True},
    "foreground": {"background": False},
}


@pytest.fixture
async def limited(stage: Stage) -> Stage:
    """Return a stage whose first caller is limited."""
    stage.change(callers=Callers((LIMITED, BOB)))
    return stage


async def full(stage: Stage) -> list[Record]:
    """Use up the limit."""
    return [await stage.create(LIMITED) for _ in range(LIMIT)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_background", [True, False], ids=["polled", "run"])
async def test_one_more_is_refused(limited: Stage, way: str, is_background: bool) -> None:
    """However it is made. Nothing of it is stored or started, and other callers are not affected."""
    limited.upstream.is_background = is_background
    await full(limited)
    with pytest.raises(TooManyRequests):
        await limited.create(LIMITED, **WAYS[way])
    assert len(await stored(limited)) == LIMIT
    assert await limited.create(BOB)


async def test_one_that_ends_makes_room(limited: Stage) -> None:
    """Another process counts anew, and so does this one after a second."""
    records = await full(limited)
    await limited.engine.cancel(LIMITED, records[0].id)
    limited.change(in_flight=InFlight())
    await limited.create(LIMITED)
    with pytest.raises(TooManyRequests):
        await limited.create(LIMITED)


async def test_a_burst_is_let_in_up_to_the_limit(limited: Stage) -> None:
    """At the same moment, in one process."""
    ends = await asyncio.gather(*(limited.create(LIMITED) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(end, Record) for end in ends) == LIMIT
    assert {type(end) for end in ends} == {Record, TooManyRequests}


async def test_a_repeat_of_a_response_that_is_there_is_answered(limited: Stage) -> None:
    """It makes no new one."""
    first = await limited.create(LIMITED, key="k")
    for _ in range(LIMIT - 1):
        await limited.create(LIMITED)
    assert (await limited.create(LIMITED, key="k")).id == first.id
    with pytest.raises(TooManyRequests):
        await limited.create(LIMITED, key="another")


async def test_a_queued_request_waits_in_the_queue(limited: Stage) -> None:
    """Its sender gets no refusal, because there will be room."""
    records = await full(limited)
    message = QueueMessage("m-1", orjson.dumps({"request": {"model": "m", "input": "q"}, "reply_to": "replies-1"}))
    await limited.engine.take_request(message)
    (sent,) = [one for one in limited.sent if one.queue == "requests"]
    assert sent.delay_s > 0
    assert len(await stored(limited)) == LIMIT
    for record in records:
        await limited.engine.cancel(LIMITED, record.id)
    limited.change(in_flight=InFlight())
    await limited.engine.take_request(QueueMessage("m-2", orjson.dumps(sent.content)))
    assert len(await stored(limited)) == LIMIT + 1


async def test_an_entry_that_an_older_release_has_left_does_not_count_for_ever(limited: Stage) -> None:
    """It purges responses, and knows no entries."""
    for record in await full(limited):
        await (await limited.table()).delete_entity(shard_of(record.id), f"resp|{record.id}")
    limited.clock.advance(4 * 3_600 + 86_401)
    limited.change(in_flight=InFlight())
    await limited.create(LIMITED)


async def test_ended_responses_do_not_count(limited: Stage) -> None:
    """However many there are."""
    for _ in range(LIMIT * 3):
        assert (await limited.ended(LIMITED)).status is Status.COMPLETED
        limited.change(in_flight=InFlight())


async def stored(stage: Stage) -> list[str]:
    """Return the keys of all records of the limited caller."""
    query = (await stage.table()).query_entities(f"caller eq '{LIMITED.name}'", select=["RowKey"])
    return [str(row["RowKey"]) async for row in query]
