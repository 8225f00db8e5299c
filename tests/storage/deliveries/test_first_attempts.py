"""First attempts: whoever ends a response sends its events at once, and a crash leaves an alarm."""

import asyncio

from shared.core.records import Record
from shared.core.states import Status
from shared.deliveries import first_attempts
from shared.deliveries.delivery_log import DeliveryView
from tests.support.clocks import START_MS
from tests.support.conditions import until
from tests.support.stage import ANN, CALLBACK_URL, Stage


async def listed(stage: Stage, response_id: str) -> DeliveryView:
    """Return a response's one delivery as its caller sees it."""
    (delivery,) = (await stage.engine.deliveries(ANN, response_id))["data"]
    return delivery


async def test_a_crash_after_the_end_costs_twenty_seconds(stage: Stage) -> None:
    """The alarm of the claim makes the next attempt 20 s later. What the first one did is not known."""
    gate = stage.receiver.hold()
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await gate.reached.wait()
    await stage.crash()
    gate.open()
    stage.receiver.posts.clear()
    await stage.fire_alarms(response_id)
    assert stage.clock.ms == START_MS + 20_000
    delivery = await listed(stage, response_id)
    assert (delivery["state"], len(stage.receiver.posts)) == ("delivered", 1)
    assert [(one["attempt"], one["status"], one["error"]) for one in delivery["attempts"]] == [
        (1, None, "unknown"),
        (2, 200, None),
    ]


async def test_an_attempt_under_way_is_not_listed(stage: Stage) -> None:
    """While the first attempt may be under way, there is nothing to list, and no next attempt is announced."""
    gate = stage.receiver.hold()
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await gate.reached.wait()
    delivery = await listed(stage, response_id)
    assert (delivery["state"], delivery["attempts"], delivery["next_attempt_at"]) == ("pending", [], None)
    gate.open()
    await stage.deliver()


async def test_an_end_that_many_see_is_sent_once(stage: Stage) -> None:
    """If several processes see the end at the same moment, one of them ends the response, and only that one sends."""
    record = await stage.unfinished(callback_url=CALLBACK_URL)
    others = [await stage.process() for _ in range(2)]
    await asyncio.gather(*(engine.retrieve(ANN, record.id) for engine in (stage.engine, *others)))

    async def is_delivered() -> bool:
        return not (await stage.delivery(record.id)).is_open

    await until(is_delivered)
    assert len(stage.receiver.posts) == 1
    assert (await stage.delivery(record.id)).attempt == 1


async def test_a_process_that_must_not_work_between_its_invocations_leaves_the_send_to_a_sweep(stage: Stage) -> None:
    """Nothing is claimed. The alarm is due at once, and a wake-up asks for the sweep."""
    stage.limit(watch=False)
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await stage.deliver()
    assert (stage.receiver.posts, (await stage.delivery(response_id)).attempt) == ([], 0)
    assert stage.wakeups(response_id)[-1].delay_s == 0
    await stage.sweep(response_id)
    assert (await stage.delivery(response_id)).state == "delivered"


async def test_a_plan_puts_off_what_cannot_be_sent_now(stage: Stage) -> None:
    """A line that is too long puts a delivery off by 10 to 15 s. The delivery to another target begins at once."""
    record = await stage.create(callback_url=CALLBACK_URL, reply_to="replies-1")
    stage.receiver.is_busy = True
    planned = first_attempts.plan(stage.ports, record, Status.COMPLETED)
    assert {target.label: (one.host, one.later_ms) for target, one in planned.items()} == {
        "callback": ("hooks.contoso.com", START_MS + 10_000),
        "reply_queue": ("", None),
    }


async def test_a_plan_has_only_the_targets_that_want_the_event(stage: Stage) -> None:
    """A callback that has not asked for this event type is not among them."""
    record: Record = await stage.create(callback_url=CALLBACK_URL, callback_events=["response.failed"])
    assert not first_attempts.plan(stage.ports, record, Status.COMPLETED)
    assert len(first_attempts.plan(stage.ports, record, Status.FAILED)) == 1
