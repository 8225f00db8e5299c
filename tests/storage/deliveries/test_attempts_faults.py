"""Deliveries through deaths, outages and rivals: at least once, and not twice without need."""

import asyncio

import pytest

from shared.core.alarms import Kind
from shared.core.ids import shard_of
from shared.core.records import Delivery, Target
from shared.core.states import DeliveryState
from shared.scheduler.sweeps import sweep
from tests.support.clocks import START_MS
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.stage import ANN, CALLBACK_URL, Stage


async def statuses(stage: Stage, response_id: str) -> list[int]:
    """Return what each attempt that was noted brought."""
    (delivery,) = (await stage.engine.deliveries(ANN, response_id))["data"]
    return [attempt["status"] for attempt in delivery["attempts"]]


async def test_a_death_after_the_claim_is_made_good_after_a_minute(stage: Stage) -> None:
    """The claim keeps everybody else away for 60 s; then the event is sent again, and both count as attempts."""
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    gate = stage.receiver.hold()
    attempt = asyncio.create_task(stage.deliver())
    await gate.reached.wait()
    attempt.cancel()
    await asyncio.wait([attempt])
    stage.receiver.gate = None
    await stage.deliver()
    assert len(stage.receiver.posts) == 1

    await stage.ring(response_id)
    assert stage.clock.ms == START_MS + 60_000
    first, second = stage.receiver.posts
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    assert await stage.delivery(response_id) == Delivery(Target.CALLBACK, DeliveryState.DELIVERED, 2)


async def test_a_living_process_repeats_the_record_not_the_event(stage: Stage) -> None:
    """After a 2xx storage goes away: what is tried again is the note of it, until storage is back."""
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    gate = stage.receiver.hold()
    attempt = asyncio.create_task(stage.deliver())
    await gate.reached.wait()
    async with stage.proxy.refusing():
        gate.open()
        done, _ = await asyncio.wait([attempt], timeout=1.0)
        assert not done
    await attempt
    assert len(stage.receiver.posts) == 1
    assert await stage.delivery(response_id) == Delivery(Target.CALLBACK, DeliveryState.DELIVERED, 1)
    assert await statuses(stage, response_id) == [200]


async def test_a_long_outage_of_storage_sends_nothing_again(stage: Stage) -> None:
    """The claim has run out when storage is back: a sweep of the process that has the 2xx leaves the rest to it."""
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    gate = stage.receiver.hold()
    attempt = asyncio.create_task(stage.deliver())
    await gate.reached.wait()
    stage.receiver.gate = None
    async with stage.proxy.refusing():
        gate.open()
        await asyncio.wait([attempt], timeout=0.5)
    stage.clock.advance(61)
    await stage.sweep(response_id)
    await attempt
    assert len(stage.receiver.posts) == 1
    assert (await stage.delivery(response_id)).state == "delivered"


@pytest.mark.parametrize("nth", [1, 2], ids=["claim", "record"])
async def test_an_answer_of_storage_that_is_lost_sends_nothing_twice(stage: Stage, nth: int) -> None:
    """Claim and record recognise their own write."""
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id

    lost = stage.proxy.drop_answer(is_transaction, nth)
    await stage.deliver()
    assert lost.happened.is_set()
    assert len(stage.receiver.posts) == 1
    assert await statuses(stage, response_id) == [200]
    assert await stage.kinds(response_id) == [Kind.PURGE]


async def slow_and_overtaken(stage: Stage, slow: int, quick: int) -> str:
    """Let an attempt outlast its claim, so that another process makes one more; return the response."""
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    stage.receiver.answers = [slow, quick, 200]
    gate = stage.receiver.hold()
    attempt = asyncio.create_task(stage.deliver())
    await gate.reached.wait()
    stage.receiver.gate = None
    stage.clock.advance(61)
    await sweep(await stage.new_ports(stage.clock), shard_of(response_id), 0)
    gate.open()
    await attempt
    return response_id


async def test_a_success_that_comes_late_is_final(stage: Stage) -> None:
    """The overtaken attempt was received: nothing more is sent, whatever the other one brought."""
    response_id = await slow_and_overtaken(stage, 200, 500)
    assert (await stage.delivery(response_id)).state == "delivered"
    while await stage.kinds(response_id) != [Kind.PURGE]:
        await stage.ring(response_id)
    assert len(stage.receiver.posts) == 2


async def test_a_failure_that_comes_late_takes_nothing_back(stage: Stage) -> None:
    """The overtaken attempt has lost its word: the delivery stays delivered."""
    response_id = await slow_and_overtaken(stage, 500, 200)
    assert (await stage.delivery(response_id)).state == "delivered"
    assert await stage.kinds(response_id) == [Kind.PURGE]
