"""Notes of attempts under crashes, outages and concurrency: at least once, and not twice without need."""

import asyncio

import pytest

from shared.core.alarms import Kind
from shared.core.ids import shard_of
from shared.core.records import Delivery, Target
from shared.core.states import DeliveryState
from shared.scheduler.sweeps import sweep
from tests.support.clocks import START_MS
from tests.support.fakes.peers import Gate
from tests.support.log_capture import WrittenLines, log_events
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.stage import ANN, CALLBACK_HOST, CALLBACK_URL, Stage


async def statuses(stage: Stage, response_id: str) -> list[int]:
    """Return the status of each recorded attempt."""
    (delivery,) = (await stage.engine.deliveries(ANN, response_id))["data"]
    return [attempt["status"] for attempt in delivery["attempts"]]


async def held_attempt(stage: Stage) -> tuple[str, Gate]:
    """End a response, and hold its first attempt when the receiver has the event. Return the response's id, too."""
    gate = stage.receiver.hold()
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await gate.reached.wait()
    return response_id, gate


async def test_a_crash_during_an_attempt_is_repaired_after_twenty_seconds(stage: Stage) -> None:
    """If a process crashes after its claim, no other process sends the event for 20 s.

    Then the event is sent again, and both count as attempts.
    """
    response_id, _ = await held_attempt(stage)
    await stage.crash()
    stage.receiver.gate = None
    await stage.fire_alarms(response_id)
    assert stage.clock.ms == START_MS + 20_000
    first, second = stage.receiver.posts
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    assert await stage.delivery(response_id) == Delivery(
        Target.CALLBACK, DeliveryState.DELIVERED, attempt=2, host=CALLBACK_HOST
    )


async def test_a_live_process_repeats_the_note_and_not_the_event(stage: Stage) -> None:
    """If storage fails after a 2xx, the process tries to note the attempt until storage is back.

    It does not send the event again.
    """
    response_id, gate = await held_attempt(stage)
    async with stage.proxy.refusing():
        gate.open()
        done, _ = await asyncio.wait(stage.ports.background.tasks, timeout=1.0)
        assert not done
    await stage.deliver()
    assert len(stage.receiver.posts) == 1
    assert await stage.delivery(response_id) == Delivery(
        Target.CALLBACK, DeliveryState.DELIVERED, attempt=1, host=CALLBACK_HOST
    )
    assert await statuses(stage, response_id) == [200]


async def test_a_note_that_storage_refuses_is_not_repeated(stage: Stage, written: WrittenLines) -> None:
    """The alarm of the attempt goes on. The attempts of other targets do not wait for it."""
    response_id, gate = await held_attempt(stage)
    stage.proxy.refuse(is_transaction, 400)
    gate.open()
    async with asyncio.timeout(5):
        await asyncio.gather(*stage.ports.background.tasks)
    assert log_events(written, "error") == ["delivery.unrecorded"]
    assert Kind.DELIVER in await stage.kinds(response_id)


async def test_a_long_outage_of_storage_sends_nothing_again(stage: Stage) -> None:
    """While a process cannot note a 2xx, its sweeps put the delivery off, also when the lease is past."""
    response_id, gate = await held_attempt(stage)
    stage.receiver.gate = None
    async with stage.proxy.refusing():
        gate.open()
        await asyncio.wait(stage.ports.background.tasks, timeout=0.5)
    stage.clock.advance(61)
    await stage.sweep(response_id)
    await stage.deliver()
    assert len(stage.receiver.posts) == 1
    assert (await stage.delivery(response_id)).state == "delivered"


@pytest.mark.parametrize("nth", [1, 2], ids=["end", "note"])
async def test_a_lost_answer_of_storage_sends_nothing_twice(stage: Stage, nth: int) -> None:
    """If storage loses the answer to an end or a note, the write is recognised and the event is sent once."""
    response_id = (await stage.unfinished(callback_url=CALLBACK_URL)).id
    lost = stage.proxy.drop_answer(is_transaction, nth)
    await stage.shown(response_id)
    await stage.deliver()
    assert lost.happened.is_set()
    assert len(stage.receiver.posts) == 1
    assert await statuses(stage, response_id) == [200]


async def test_two_targets_are_noted_one_after_the_other(stage: Stage) -> None:
    """The second note uses the record that the first has written. So neither conflicts, and nothing is read."""
    record = await stage.ended(callback_url=CALLBACK_URL, reply_to="replies-1")
    before = stage.proxy.counts.total()
    await stage.deliver()
    assert stage.proxy.counts.total() - before == 2
    assert not any(one.is_open for one in (await stage.record(record.id)).deliveries)


async def slow_and_overtaken(stage: Stage, slow: int, quick: int) -> str:
    """Let an attempt outlast its lease while another process makes a second one. Return the response's id.

    `slow` and `quick` are the statuses that the first and the second attempt get.
    """
    stage.receiver.answers = [slow, quick, 200]
    response_id, gate = await held_attempt(stage)
    stage.receiver.gate = None
    stage.clock.advance(61)
    await sweep(await stage.new_ports(stage.clock), shard_of(response_id), 0)
    gate.open()
    await stage.deliver()
    return response_id


async def test_a_late_success_is_final(stage: Stage) -> None:
    """A late 2xx of the first attempt ends the delivery as delivered, although the second attempt failed."""
    response_id = await slow_and_overtaken(stage, 200, 500)
    assert (await stage.delivery(response_id)).state == "delivered"
    await stage.run_out(response_id)
    assert len(stage.receiver.posts) == 2


async def test_a_late_failure_changes_nothing(stage: Stage) -> None:
    """A late failure of the first attempt does not change a delivery that the second attempt has made."""
    response_id = await slow_and_overtaken(stage, 500, 200)
    assert (await stage.delivery(response_id)).state == "delivered"
    assert await stage.kinds(response_id) == [Kind.PURGE]
