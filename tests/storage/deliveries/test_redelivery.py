"""Deliveries as callers see and request them: redelivery, recovery, and the choice of events."""

import asyncio

import orjson
import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.errors import BadRequest, NotFound
from shared.core.outcomes import SendError
from shared.core.records import Delivery, Target
from shared.core.states import DeliveryState, Status
from shared.deliveries import redelivery
from shared.deliveries.delivery_log import DeliveryView
from shared.deliveries.retry_policy import MAX_ATTEMPTS
from tests.support.failed_deliveries import failed
from tests.support.stage import ANN, BOB, CALLBACK_URL, Stage


async def redelivered(stage: Stage, response_id: str, target: str | None = None) -> list[DeliveryView]:
    """Request a redelivery and make its attempt. Return the listing of the request's answer."""
    listing = await stage.engine.redeliver(ANN, response_id, target)
    await stage.deliver()
    return listing["data"]


async def deliver_alarms(response_id: str, stage: Stage) -> list[Alarm]:
    """Return the alarms of a response's deliveries."""
    return [alarm for alarm in await stage.alarms(response_id) if alarm.kind is Kind.DELIVER]


@pytest.mark.parametrize(("answer", "state"), [(413, "failed"), (410, "gone"), (SendError.ADDRESS_REFUSED, "blocked")])
async def test_a_failed_delivery_is_made_again_on_request(stage: Stage, answer: int | SendError, state: str) -> None:
    """A redelivery is made at once, whatever ended the delivery before it, and has the same webhook id."""
    record = await failed(stage, answer)
    assert (await stage.delivery(record.id)).state == state
    (listed,) = await redelivered(stage, record.id)
    assert (listed["state"], listed["next_attempt_at"]) == ("pending", None)
    assert (await stage.delivery(record.id)).state == "delivered"
    assert len({post.headers["webhook-id"] for post in stage.receiver.posts}) == 1
    assert await deliver_alarms(record.id, stage) == []


async def test_a_delivered_event_can_be_delivered_again(stage: Stage) -> None:
    """An event that was delivered can be delivered again any number of times."""
    record = await stage.ended(callback_url=CALLBACK_URL)
    await stage.deliver()
    for _ in range(3):
        await redelivered(stage, record.id)
    assert len(stage.receiver.posts) == 4
    assert len({post.body for post in stage.receiver.posts}) == 1
    (listed,) = (await stage.engine.deliveries(ANN, record.id))["data"]
    numbers = [(attempt["schedule"], attempt["attempt"]) for attempt in listed["attempts"]]
    assert numbers == [(1, 1), (2, 1), (3, 1), (4, 1)]


async def test_a_redelivery_has_the_full_schedule(stage: Stage) -> None:
    """A redelivery gets the full schedule of ten attempts."""
    record = await failed(stage)
    stage.receiver.answers = [500]
    await redelivered(stage, record.id)
    while (await stage.delivery(record.id)).is_open:
        await stage.fire_alarms(record.id)
    assert len(stage.receiver.posts) == 1 + MAX_ATTEMPTS


async def test_a_delivery_that_waits_is_brought_forward(stage: Stage) -> None:
    """A redelivery sends at once. The alarm of the schedule before sends nothing, and goes when it fires."""
    stage.receiver.answers = [500, 500, 200]
    record = await stage.ended(callback_url=CALLBACK_URL)
    await stage.deliver()
    await stage.fire_alarms(record.id)
    await redelivered(stage, record.id)
    assert (await stage.delivery(record.id)).state == "delivered"
    (old,) = await deliver_alarms(record.id, stage)
    stage.clock.ms = old.due_ms
    await stage.sweep(record.id)
    assert (len(stage.receiver.posts), await deliver_alarms(record.id, stage)) == (3, [])


async def test_repeated_requests_for_a_redelivery_send_once(stage: Stage) -> None:
    """Redeliveries that are requested at once, or during a first attempt, send the event once."""
    record = await failed(stage)
    gate = stage.receiver.hold()
    await asyncio.gather(*(stage.engine.redeliver(ANN, record.id, None) for _ in range(5)))
    assert len(await deliver_alarms(record.id, stage)) == 1
    await gate.reached.wait()
    (listed,) = (await stage.engine.redeliver(ANN, record.id, None))["data"]
    assert (listed["state"], listed["next_attempt_at"]) == ("pending", None)
    gate.open()
    await stage.deliver()
    assert len(stage.receiver.posts) == 2


async def test_a_redelivery_whose_process_crashes_is_made_by_its_alarm(stage: Stage) -> None:
    """The redelivery is claimed in the table, so its alarm makes the next attempt 20 s later."""
    record = await failed(stage)
    gate = stage.receiver.hold()
    await stage.engine.redeliver(ANN, record.id, None)
    await gate.reached.wait()
    await stage.crash()
    gate.open()
    await stage.fire_alarms(record.id)
    delivery = await stage.delivery(record.id)
    assert (delivery.state, delivery.schedule, delivery.number) == ("delivered", 2, 2)


@pytest.mark.parametrize("answer", [200, 500, 413])
async def test_an_attempt_of_the_schedule_before_may_still_be_under_way(stage: Stage, answer: int) -> None:
    """If the receiver takes the event, the delivery is over, whichever attempt brought it.

    If not, only the new schedule decides what follows. The old one leaves no alarm behind.
    """
    stage.receiver.answers = [500, answer, 500, 200]
    record = await stage.ended(callback_url=CALLBACK_URL)
    await stage.deliver()
    gate = stage.receiver.hold()
    under_way = asyncio.create_task(stage.fire_alarms(record.id))
    await gate.reached.wait()
    stage.receiver.gate = None
    await redelivered(stage, record.id)
    gate.open()
    await under_way
    delivery = await stage.delivery(record.id)
    assert (delivery.schedule, delivery.state) == (2, "delivered" if answer == 200 else "pending")
    await stage.run_out(record.id)
    assert (await stage.delivery(record.id)).state == "delivered"
    assert len(stage.receiver.posts) == 3 if answer == 200 else 4


async def test_one_target_is_chosen_by_name(stage: Stage) -> None:
    """A redelivery to the reply queue does not repeat the callback."""
    record = await stage.ended(callback_url=CALLBACK_URL, reply_to="replies-1")
    await stage.deliver()
    await redelivered(stage, record.id, "reply_queue")
    assert (len(stage.receiver.posts), len(stage.replies.posts)) == (1, 2)


async def test_a_redelivery_before_the_end_or_without_a_target_is_refused(stage: Stage) -> None:
    """A redelivery is refused before the response's end and for a target without a delivery, with different codes."""
    unfinished = await stage.create(callback_url=CALLBACK_URL)
    with pytest.raises(BadRequest) as not_yet:
        await stage.engine.redeliver(ANN, unfinished.id, None)
    with pytest.raises(BadRequest) as nowhere:
        await stage.engine.redeliver(ANN, (await stage.ended()).id, None)
    with pytest.raises(BadRequest) as not_there:
        await stage.engine.redeliver(ANN, (await failed(stage)).id, "reply_queue")
    codes = [error.value.code for error in (not_yet, nowhere, not_there)]
    assert codes == ["response_not_finished", "no_delivery", "no_delivery"]


async def test_another_callers_event_cannot_be_redelivered(stage: Stage) -> None:
    """For another caller, the response of a redelivery does not exist."""
    record = await failed(stage)
    with pytest.raises(NotFound):
        await stage.engine.redeliver(BOB, record.id, None)


async def test_a_target_has_at_most_400_attempts(stage: Stage) -> None:
    """After 400 attempts, further ones are refused for a target, because a longer log could not be shown."""
    record = await failed(stage)
    full = record.with_delivery(Delivery(Target.CALLBACK, DeliveryState.GONE, attempt=redelivery.MAX_ATTEMPTS_LOGGED))
    with pytest.raises(BadRequest) as refused:
        await redelivery.redeliver(stage.ports, full, None)
    assert refused.value.code == "too_many_attempts"


# The choice of events


@pytest.mark.parametrize(
    ("wanted", "sent"), [(["response.completed"], True), (["response.failed", "response.incomplete"], False)]
)
async def test_a_callback_gets_the_events_its_caller_chose(stage: Stage, wanted: list[str], sent: bool) -> None:
    """A callback is sent only for the events that its caller chose. The reply queue receives every event."""
    record = await stage.ended(callback_url=CALLBACK_URL, callback_events=wanted, reply_to="replies-1")
    await stage.deliver()
    targets = [one.target for one in (await stage.record(record.id)).deliveries]
    assert targets == ([Target.CALLBACK] if sent else []) + [Target.REPLY_QUEUE]
    assert (len(stage.receiver.posts), len(stage.replies.posts)) == (int(sent), 1)


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.INCOMPLETE])
async def test_without_a_choice_every_end_is_sent(stage: Stage, status: Status) -> None:
    """Without a choice of events, the callback is sent however the response ends."""
    stage.upstream.first = status
    await stage.create(callback_url=CALLBACK_URL)
    await stage.deliver()
    assert orjson.loads(stage.receiver.posts[0].body)["type"] == f"response.{status}"
