"""Delivery attempts: every target gets the terminal event at least once, always under the same id."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import orjson
import pytest

from shared.contract import signatures
from shared.core.alarms import Kind
from shared.core.outcomes import SendError
from shared.core.records import INLINE_BODY, Delivery, Target
from shared.core.states import DeliveryState
from shared.deliveries.delivery_log import DeliveryView
from shared.deliveries.retry_policy import SCHEDULE_MS
from shared.senders.admission import Admission
from tests.support.clocks import START_MS
from tests.support.fakes.peers import Gate, ScriptedReceiver
from tests.support.stage import ANN, CALLBACK_HOST, CALLBACK_URL, SECRET, Stage


class LateReceiver(ScriptedReceiver):
    """A receiver whose first attempt waits for a slot until the test opens the door."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        super().__init__(now_ms=now_ms)
        self.door = Gate()

    @asynccontextmanager
    async def admit(self, address: str, caller: str, *, first: bool, patience_s: float) -> AsyncIterator[Admission]:
        """Admit an attempt when the door is open."""
        await self.door.wait()
        async with super().admit(address, caller, first=first, patience_s=patience_s) as admission:
            yield admission


async def listed(stage: Stage, response_id: str) -> DeliveryView:
    """Return a response's one delivery as its caller sees it."""
    (delivery,) = (await stage.engine.deliveries(ANN, response_id))["data"]
    return delivery


async def test_the_event_is_sent_at_once_and_signed(stage: Stage) -> None:
    """The process that ends a response makes the first attempt at once, without a message.

    It sends the whole response in OpenAI's format, signed by Standard Webhooks.
    """
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await stage.deliver()
    (post,) = stage.receiver.posts
    event = orjson.loads(post.body)
    assert post.address == CALLBACK_URL
    assert post.headers == signatures.signed_headers([SECRET], event["id"], START_MS // 1000, post.body)
    assert (event["object"], event["type"]) == ("event", "response.completed")
    assert (event["created_at"], event["timestamp"]) == (START_MS // 1000, "2027-01-15T08:00:00.000Z")
    assert event["data"] == await stage.shown(response_id)
    assert await stage.delivery(response_id) == Delivery(
        Target.CALLBACK, DeliveryState.DELIVERED, attempt=1, host=CALLBACK_HOST
    )
    assert await stage.kinds(response_id) == [Kind.PURGE]


async def test_the_attempts_are_listed(stage: Stage) -> None:
    """The caller sees the outcome of each attempt and when the next one is due."""
    stage.receiver.answers = [500, SendError.TIMEOUT, 204]
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await stage.deliver()
    await stage.fire_alarms(response_id)
    delivery = await listed(stage, response_id)
    begin_s = START_MS / 1000
    assert (delivery["target"], delivery["state"]) == ("callback", "pending")
    assert delivery["next_attempt_at"] == begin_s + 65
    assert delivery["attempts"][0] == {
        "attempt": 1,
        "schedule": 1,
        "at": begin_s,
        "status": 500,
        "error": None,
        "duration_ms": 1,
        "next_at": begin_s + 5,
    }
    assert delivery["attempts"][1]["error"] == "timeout"

    await stage.fire_alarms(response_id)
    delivery = await listed(stage, response_id)
    assert (delivery["state"], delivery["next_attempt_at"]) == ("delivered", None)
    assert [attempt["status"] for attempt in delivery["attempts"]] == [500, None, 204]
    assert delivery["webhook_id"] == stage.receiver.posts[0].headers["webhook-id"]


async def test_a_sweep_before_the_lease_is_over_sends_nothing(stage: Stage) -> None:
    """While the first attempt is under way, its alarm is not due."""
    gate = stage.receiver.hold()
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await gate.reached.wait()
    stage.clock.advance(19)
    assert await stage.sweep(response_id) == 0
    gate.open()
    await stage.deliver()
    assert len(stage.receiver.posts) == 1


async def test_a_send_that_would_begin_too_late_is_left_to_its_alarm(stage: Stage) -> None:
    """An attempt takes 15 s at most, so it begins only while its alarm is at least 16 s away. Else nothing is written.

    So no two attempts are ever under way at once. A wake-up asks for a sweep when the alarm is due.
    """
    receiver = stage.receiver = LateReceiver(now_ms=stage.clock.now_ms)
    stage.change(senders={**stage.ports.senders, Target.CALLBACK: receiver})
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await receiver.door.reached.wait()
    before = await stage.record(response_id)
    stage.clock.advance(4.5)
    receiver.door.open()
    await stage.deliver()
    assert (receiver.posts, await stage.record(response_id)) == ([], before)
    assert stage.wakeups(response_id)[-1].content["at"] == START_MS // 1000 + 20
    await stage.fire_alarms(response_id)
    assert (stage.clock.ms, len(receiver.posts)) == (START_MS + 20_000, 1)


async def test_two_targets_of_one_response_do_not_collide(stage: Stage) -> None:
    """The callback and the reply queue are due in the same millisecond. Each has its alarm, and both events arrive."""
    response_id = (await stage.ended(callback_url=CALLBACK_URL, reply_to="replies-1")).id
    first, second = (alarm for alarm in await stage.alarms(response_id) if alarm.kind is Kind.DELIVER)
    assert first.due_ms == second.due_ms
    await stage.deliver()
    assert {(await stage.delivery(response_id, target)).state for target in (Target.CALLBACK, Target.REPLY_QUEUE)} == {
        "delivered"
    }
    (callback,), (reply,) = stage.receiver.posts, stage.replies.posts
    assert (reply.address, reply.headers) == ("replies-1", {})
    assert reply.body == callback.body
    listing = (await stage.engine.deliveries(ANN, response_id))["data"]
    assert [delivery["target"] for delivery in listing] == ["callback", "reply_queue"]


async def test_a_failure_of_one_target_does_not_affect_the_other(stage: Stage) -> None:
    """A callback that fails keeps its schedule while the reply is delivered."""
    stage.receiver.answers = [500]
    response_id = (await stage.ended(callback_url=CALLBACK_URL, reply_to="replies-1")).id
    await stage.deliver()
    assert (await stage.delivery(response_id)).state == "pending"
    assert (await stage.delivery(response_id, Target.REPLY_QUEUE)).state == "delivered"
    assert await stage.kinds(response_id) == [Kind.DELIVER, Kind.PURGE]


async def test_the_whole_schedule_takes_75_hours(stage: Stage) -> None:
    """Ten attempts follow the schedule of Standard Webhooks, with the same id and bytes and a new signature each."""
    stage.receiver.answers = [500]
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await stage.deliver()
    while (await stage.delivery(response_id)).is_open:
        await stage.fire_alarms(response_id)

    posts = stage.receiver.posts
    sent_s = [int(post.headers["webhook-timestamp"]) for post in posts]
    waits_ms = [(later - earlier) * 1000 for earlier, later in pairwise(sent_s)]
    assert waits_ms == list(SCHEDULE_MS[1:])
    assert len({post.headers["webhook-id"] for post in posts}) == 1
    assert len({post.body for post in posts}) == 1
    assert len({post.headers["webhook-signature"] for post in posts}) == 10
    delivery = await listed(stage, response_id)
    assert delivery["state"] == "failed"
    assert [attempt["attempt"] for attempt in delivery["attempts"]] == list(range(1, 11))
    assert await stage.kinds(response_id) == [Kind.PURGE]


@pytest.mark.parametrize(
    ("answers", "final", "count"),
    [
        ([410], "gone", 1),
        ([413], "failed", 1),
        ([404], "failed", 4),
        ([SendError.URL_REFUSED], "blocked", 1),
        ([SendError.ADDRESS_REFUSED], "blocked", 2),
        ([500, 410], "gone", 2),
        ([SendError.ADDRESS_REFUSED, 500, SendError.ADDRESS_REFUSED, 200], "delivered", 4),
    ],
)
async def test_answers_end_a_delivery_as_the_policy_says(
    stage: Stage, answers: list[int | SendError], final: str, count: int
) -> None:
    """A final answer ends the delivery at once, and an error that may be corrected gets few attempts.

    Nothing is sent after the end.
    """
    stage.receiver.answers = answers
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await stage.deliver()
    while (await stage.delivery(response_id)).is_open:
        await stage.fire_alarms(response_id)
    assert (await stage.delivery(response_id)).state == final
    assert len(stage.receiver.posts) == count


async def test_no_attempt_is_made_after_the_response_is_purged(stage: Stage) -> None:
    """A delivery fails if its next attempt would be after the response's retention."""
    stage.limit(retention_ms=600_000)
    stage.receiver.answers = [500]
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await stage.deliver()
    for _ in range(2):
        await stage.fire_alarms(response_id)
    assert len(stage.receiver.posts) == 3
    assert (await stage.delivery(response_id)).state == "failed"


async def test_an_overload_gives_no_delivery_up(stage: Stage) -> None:
    """A retry that finds no slot in time is put off and not counted, however often that happens."""
    stage.receiver.answers = [500, 200]
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await stage.deliver()
    stage.receiver.is_full = True
    for _ in range(10):
        await stage.fire_alarms(response_id)
        (alarm,) = [one for one in await stage.alarms(response_id) if one.kind is Kind.DELIVER]
        assert alarm.attempt == 0
    stage.receiver.is_full = False
    await stage.fire_alarms(response_id)
    delivery = await stage.delivery(response_id)
    assert (delivery.state, delivery.attempt) == ("delivered", 2)


async def test_a_large_object_that_is_read_too_slowly_is_not_sent(stage: Stage) -> None:
    """The clock is looked at after the object is read, so that the send is over before the lease is."""
    stage.upstream.output = os.urandom(INLINE_BODY).hex()
    stage.receiver.answers = [500, 200]
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await stage.deliver()
    reading = stage.proxy.hold(lambda request: request.kind == "GET responses()", 3, carried_out=True)
    firing = asyncio.create_task(stage.fire_alarms(response_id))  # looks for the alarm, sweeps, and reads the object
    await asyncio.wait_for(reading.reached.wait(), 10)
    stage.clock.advance(4.5)
    reading.open()
    await firing
    assert len(stage.receiver.posts) == 1
    await stage.fire_alarms(response_id)
    assert (await stage.delivery(response_id)).state == "delivered"
