"""The engine as its callers see it: the life of a response, waiting, continuing, and access to responses."""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from shared.contract.callers import Caller
from shared.contract.pages import Page
from shared.contract.requests import parse_request
from shared.core.errors import NotFound, StoreIncomplete, StoreUnavailable, TooLarge
from shared.core.ids import new_id, shard_of, tag, token_for
from shared.core.keys import LAST_MS
from shared.core.states import Status
from shared.engine import Engine
from shared.storage.messages import REQUESTS
from tests.support.clocks import START_MS, Clock
from tests.support.foreground_calls import called
from tests.support.stage import ANN, BOB, CALLBACK_URL, Stage

# The two queries that a sweep makes once for a whole shard: which alarms are due, and when the next one is.
SHARED = Counter({"GET responses()": 2})


async def created(stage: Stage, wait_s: float | None, **fields: Any) -> dict[str, Any]:
    """Create a response and wait up to `wait_s` seconds for its end. Return the response object of the answer."""
    body = orjson.dumps({"model": "m", "input": "question", **fields})
    new = parse_request(body)
    is_call = wait_s is None and not new.background
    _, answer = await (called(stage.engine, ANN, new) if is_call else stage.engine.create(ANN, new, None, wait_s or 0))
    found: dict[str, Any] = orjson.loads(answer)
    return found


async def test_the_life_of_a_response_takes_seven_storage_requests(stage: Stage) -> None:
    """A response that sweeps poll twice, with one callback, takes six transactions and one read.

    The transactions accept it, record its start, move its alarm for each poll, end it, and note the attempt. Only the
    end reads the record.
    """
    before = stage.proxy.counts.copy()
    made = await stage.create(callback_url=CALLBACK_URL)
    for _ in range(2):
        stage.clock.advance(1)
        await stage.sweep(made.id)
    await stage.deliver()
    spent = stage.proxy.counts - before - SHARED - SHARED

    assert len(stage.receiver.posts) == 1
    assert spent == {"POST $batch": 6, "GET responses(key)": 1}


# Waiting


async def test_background_work_is_answered_at_once(stage: Stage) -> None:
    """The answer to a background request is a queued response with a continuation token. The upstream is not polled."""
    shown = await created(stage, None, background=True)
    assert (shown["status"], shown["output"]) == ("queued", [])
    assert shown["continuation_token"] == token_for(shown["id"])
    assert stage.upstream.polls == 0


@pytest.mark.parametrize(("background", "wait_s"), [(False, None), (True, 30)])
async def test_waiting_ends_with_the_response(stage: Stage, background: bool, wait_s: float | None) -> None:
    """A foreground request, or one that says how long it waits, is answered with the ended response."""
    stage.upstream.course = [Status.COMPLETED]
    shown = await created(stage, wait_s, background=background)
    assert (shown["status"], shown["background"]) == ("completed", background)
    assert shown["continuation_token"] is None


async def test_waiting_ends_after_its_time(stage: Stage) -> None:
    """A response that has not ended within the wait is answered as unfinished work with a token, not as a time-out."""
    stage.upstream.course = [Status.IN_PROGRESS]
    shown = await created(stage, 0.2, background=False)
    assert (shown["status"], shown["background"]) == ("in_progress", False)
    assert shown["continuation_token"]


async def test_waiting_outlasts_an_outage_of_storage(stage: Stage) -> None:
    """If storage fails while a creator waits for an accepted response, the creator still gets its token."""
    stage.upstream.course = [Status.IN_PROGRESS]
    waiting = asyncio.Event()

    class WatchedClock(Clock):
        async def sleep(self, seconds: float) -> None:
            waiting.set()
            await super().sleep(seconds)

    stage.change(clock=WatchedClock())
    create = asyncio.create_task(created(stage, 0.2))
    await waiting.wait()
    async with stage.proxy.refusing():
        shown = await create
    assert shown["continuation_token"]


async def test_a_get_may_wait_too(stage: Stage) -> None:
    """A caller that retrieves a response can wait for its end."""
    stage.upstream.course = [Status.IN_PROGRESS, Status.COMPLETED]
    made = await stage.create()
    record, _ = await stage.engine.retrieve(ANN, made.id, 30)
    assert record.status is Status.COMPLETED


async def test_a_token_can_be_used_instead_of_the_id(stage: Stage) -> None:
    """A caller can retrieve and cancel a response by its continuation token instead of its id."""
    made = await stage.create()
    assert (await stage.shown(token_for(made.id)))["id"] == made.id
    assert (await stage.engine.cancel(ANN, token_for(made.id)))[0].id == made.id


# Access to responses


CALLS: list[Callable[[Engine, Caller, str], Awaitable[object]]] = [
    lambda engine, caller, named: engine.retrieve(caller, named),
    lambda engine, caller, named: engine.cancel(caller, named),
    lambda engine, caller, named: engine.delete(caller, named),
    lambda engine, caller, named: engine.input_items(caller, named, Page()),
    lambda engine, caller, named: engine.deliveries(caller, named),
]


@pytest.mark.parametrize("call", CALLS, ids=["retrieve", "cancel", "delete", "input_items", "deliveries"])
@pytest.mark.parametrize("status", [Status.QUEUED, Status.COMPLETED])
async def test_another_callers_response_is_not_found(
    stage: Stage, call: Callable[[Engine, Caller, str], Awaitable[object]], status: Status
) -> None:
    """Another caller's id gets the same answer as an id that never existed. The response does not change."""
    stage.upstream.first = status
    made = await stage.create()
    for named in (made.id, token_for(made.id), new_id(), "resp_1", "", "../x"):
        with pytest.raises(NotFound) as refused:
            await call(stage.engine, BOB, named)
        assert refused.value.message == f"Response with id '{named}' not found."
    assert await stage.record(made.id) == made
    assert stage.upstream.polls == 0


# What is accepted


async def test_the_input_can_be_listed(stage: Stage) -> None:
    """The input of a request can be listed as items."""
    made = await stage.create(input=[{"role": "user", "content": "one"}, {"role": "user", "content": "two"}])
    listing = await stage.engine.input_items(ANN, made.id, Page(descending=False))
    assert [item["content"][0]["text"] for item in listing["data"]] == ["one", "two"]


async def test_a_request_that_cannot_be_kept_is_too_large(stage: Stage) -> None:
    """A request that is over the limit when compressed is refused, and nothing is started."""
    with pytest.raises(TooLarge) as refused:
        await stage.create(input=os.urandom(3_000_000).hex())
    assert refused.value.code == "request_too_large"
    assert stage.upstream.starts == {}


async def test_readiness_needs_table_and_queues(stage: Stage) -> None:
    """The readiness check passes while storage answers, and raises StoreUnavailable while it does not."""
    await stage.engine.check()
    async with stage.proxy.refusing():
        with pytest.raises(StoreUnavailable):
            await stage.engine.check()


async def test_every_process_may_answer_for_readiness(stage: Stage) -> None:
    """Readiness asks storage and keeps nothing: a queue that another process has created is there."""
    async with stage.queue(REQUESTS) as queue:
        await queue.delete_queue()
        with pytest.raises(StoreIncomplete) as incomplete:
            await stage.engine.check()
        assert incomplete.value.missing == ["queue requests"]
        await (await stage.process()).heartbeat()
        await stage.engine.check()


async def test_all_rows_of_a_response_are_in_its_shard(stage: Stage) -> None:
    """All rows of a response are in the partition that its id names, so one transaction can change them together."""
    gate = stage.receiver.hold()
    made = await stage.ended(callback_url=CALLBACK_URL)
    await gate.reached.wait()
    rows = [row async for row in (await stage.table()).list_entities(select=["PartitionKey", "RowKey"])]
    assert {row["PartitionKey"] for row in rows} == {shard_of(made.id)}
    assert sorted(row["RowKey"] for row in rows) == [
        f"alarm|{START_MS + 20_000}|deliver|{made.id}|c",
        f"alarm|{START_MS + 30 * 86_400_000}|purge|{made.id}",
        f"list|{tag('ann')}|{LAST_MS - START_MS}|{made.id}",
        f"resp|{made.id}",
        f"resp|{made.id}|input|00",
    ]
