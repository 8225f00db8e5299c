"""Delivery attempts under crashes, outages and concurrency: at least once, and not twice without need."""

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
    """Return the status of each recorded attempt."""
    (delivery,) = (await stage.engine.deliveries(ANN, response_id))["data"]
    return [attempt["status"] for attempt in delivery["attempts"]]


async def test_a_crash_after_the_claim_is_repaired_after_a_minute(stage: Stage) -> None:
    """If a process crashes after its claim, no other process sends the event for 60 s.

    Then the event is sent again, and both count as attempts.
    """
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    gate = stage.receiver.hold()
    attempt = asyncio.create_task(stage.deliver())
    await gate.reached.wait()
    attempt.cancel()
    await asyncio.wait([attempt])
    stage.receiver.gate = None
    await stage.deliver()
    assert len(stage.receiver.posts) == 1

    await stage.fire_alarms(response_id)
    assert stage.clock.ms == START_MS + 60_000
    first, second = stage.receiver.posts
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    assert await stage.delivery(response_id) == Delivery(Target.CALLBACK, DeliveryState.DELIVERED, 2)


async def test_a_live_process_repeats_the_record_and_not_the_event(stage: Stage) -> None:
    """If storage fails after a 2xx, the process tries to record the attempt until storage is back.

    It does not send the event again.
    """
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
    """If a claim expires while its process cannot record a 2xx, a sweep in that process does not send again."""
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
async def test_a_lost_answer_of_storage_sends_nothing_twice(stage: Stage, nth: int) -> None:
    """If storage loses the answer to a claim or a record, the write is recognised and the event is sent once."""
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id

    lost = stage.proxy.drop_answer(is_transaction, nth)
    await stage.deliver()
    assert lost.happened.is_set()
    assert len(stage.receiver.posts) == 1
    assert await statuses(stage, response_id) == [200]
    assert await stage.kinds(response_id) == [Kind.PURGE]


async def slow_and_overtaken(stage: Stage, slow: int, quick: int) -> str:
    """Let an attempt outlast its claim while another process makes a second one. Return the response's id.

    `slow` and `quick` are the statuses that the first and the second attempt get.
    """
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


async def test_a_late_success_is_final(stage: Stage) -> None:
    """A late 2xx of the first attempt ends the delivery as delivered, although the second attempt failed."""
    response_id = await slow_and_overtaken(stage, 200, 500)
    assert (await stage.delivery(response_id)).state == "delivered"
    while await stage.kinds(response_id) != [Kind.PURGE]:
        await stage.fire_alarms(response_id)
    assert len(stage.receiver.posts) == 2


async def test_a_late_failure_changes_nothing(stage: Stage) -> None:
    """A late failure of the first attempt does not change a delivery that the second attempt has made."""
    response_id = await slow_and_overtaken(stage, 500, 200)
    assert (await stage.delivery(response_id)).state == "delivered"
    assert await stage.kinds(response_id) == [Kind.PURGE]
