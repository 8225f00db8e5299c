"""Deliveries: every target gets the terminal event at least once, always under the same id."""

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import Any

import orjson
import pytest

from shared import signing
from shared.alarms import Kind
from shared.callers import Callers
from shared.engine import Engine
from shared.records import CALLBACK, REPLY_QUEUE, Delivery
from shared.redelivery import SCHEDULE_MS, SendError
from shared.states import Status
from tests.fault_proxy import StorageRequest
from tests.worlds import ANN, CALLBACK_URL, SECRET, START_MS, Stage

pytestmark = pytest.mark.anyio


async def ended(stage: Stage, **fields: Any) -> str:
    """Return the id of a response that has just ended, with a callback unless the fields say otherwise."""
    stage.upstream.first = Status.COMPLETED
    return (await stage.create(**({"callback_url": CALLBACK_URL} | fields))).id


def asked_for(stage: Stage) -> list[str]:
    """Return the alarm keys of the deliveries that messages ask for."""
    return [sent.content["alarm"] for sent in stage.sent if sent.queue == "deliveries"]


async def deliver(stage: Stage) -> None:
    """Handle every message of the deliveries queue, all at once."""
    await asyncio.gather(*(stage.engine.deliver(key) for key in asked_for(stage)))


async def state(stage: Stage, response_id: str, target: str = CALLBACK) -> Delivery:
    """Return how far a delivery is."""
    delivery = (await stage.record(response_id)).delivery(target)
    assert delivery
    return delivery


async def listed(stage: Stage, response_id: str) -> dict[str, Any]:
    """Return a response's one delivery as its caller sees it."""
    (delivery,) = (await stage.engine.deliveries(ANN, response_id))["data"]
    found: dict[str, Any] = delivery
    return found


async def test_the_event_is_sent_at_once_and_signed(stage: Stage) -> None:
    """The message asks for the first attempt: the whole response, in OpenAI's shape, signed as Standard Webhooks."""
    response_id = await ended(stage)
    await deliver(stage)
    (post,) = stage.receiver.posts
    event = orjson.loads(post.body)
    assert post.address == CALLBACK_URL
    assert post.headers == signing.headers([SECRET], event["id"], START_MS // 1000, post.body)
    assert (event["object"], event["type"]) == ("event", "response.completed")
    assert (event["created_at"], event["timestamp"]) == (START_MS // 1000, "2027-01-15T08:00:00.000Z")
    assert event["data"] == await stage.shown(response_id)
    assert await state(stage, response_id) == Delivery(CALLBACK, "delivered", 1)
    assert await stage.kinds(response_id) == [Kind.PURGE]


async def test_the_attempts_are_listed(stage: Stage) -> None:
    """The caller sees each attempt with what it brought, and when the next one is."""
    stage.receiver.answers = [500, SendError.TIMEOUT, 204]
    response_id = await ended(stage)
    await deliver(stage)
    await stage.ring(response_id)
    delivery = await listed(stage, response_id)
    begin_s = START_MS / 1000
    assert (delivery["target"], delivery["state"]) == ("callback", "pending")
    assert delivery["next_attempt_at"] == begin_s + 305
    row = {"attempt": 1, "at": begin_s, "status": 500, "error": None, "duration_ms": 1, "next_at": begin_s + 5}
    assert delivery["attempts"][0] == row
    assert delivery["attempts"][1]["error"] == "timeout"

    await stage.ring(response_id)
    delivery = await listed(stage, response_id)
    assert (delivery["state"], delivery["next_attempt_at"]) == ("delivered", None)
    assert [attempt["status"] for attempt in delivery["attempts"]] == [500, None, 204]
    assert delivery["webhook_id"] == stage.receiver.posts[0].headers["webhook-id"]


async def test_a_lost_message_costs_fifteen_seconds(stage: Stage) -> None:
    """The alarm is the message's safety net."""
    response_id = await ended(stage)
    await stage.ring(response_id)
    assert stage.clock.ms == START_MS + 15_000
    assert (await state(stage, response_id)).state == "delivered"


async def test_a_repeated_message_sends_nothing_again(stage: Stage) -> None:
    """Messages come twice, at once or later: the claim is taken once."""
    response_id = await ended(stage)
    await asyncio.gather(deliver(stage), deliver(stage), deliver(stage))
    await deliver(stage)
    assert len(stage.receiver.posts) == 1
    assert (await state(stage, response_id)).attempt == 1


async def test_a_message_and_a_sweep_at_once_send_once(stage: Stage) -> None:
    """A message that was late by just the time of its alarm does not double the attempt."""
    response_id = await ended(stage)
    stage.clock.advance(15)
    await asyncio.gather(deliver(stage), stage.sweep(response_id))
    assert len(stage.receiver.posts) == 1


async def test_two_targets_of_one_response_do_not_collide(stage: Stage) -> None:
    """Callback and reply queue are due in the same millisecond, each with its own alarm, and both arrive."""
    response_id = await ended(stage, reply_to="replies-1")
    first, second = (alarm for alarm in await stage.alarms(response_id) if alarm.kind is Kind.DELIVER)
    assert first.due_ms == second.due_ms
    await deliver(stage)
    assert {(await state(stage, response_id, target)).state for target in (CALLBACK, REPLY_QUEUE)} == {"delivered"}
    (callback,), (reply,) = stage.receiver.posts, stage.replies.posts
    assert (reply.address, reply.headers) == ("replies-1", {})
    assert reply.body == callback.body
    listing = (await stage.engine.deliveries(ANN, response_id))["data"]
    assert [delivery["target"] for delivery in listing] == ["callback", "reply_queue"]


async def test_one_targets_trouble_is_not_the_others(stage: Stage) -> None:
    """A callback that fails keeps its schedule while the reply is delivered."""
    stage.receiver.answers = [500]
    response_id = await ended(stage, reply_to="replies-1")
    await deliver(stage)
    assert (await state(stage, response_id)).state == "pending"
    assert (await state(stage, response_id, REPLY_QUEUE)).state == "delivered"
    assert await stage.kinds(response_id) == [Kind.DELIVER, Kind.PURGE]


async def test_the_whole_schedule_takes_75_hours(stage: Stage) -> None:
    """Ten attempts at the times of Standard Webhooks, each signed anew, with the same id and the same bytes."""
    stage.receiver.answers = [500]
    response_id = await ended(stage)
    await deliver(stage)
    while (await state(stage, response_id)).is_open:
        await stage.ring(response_id)

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
    """What is final ends at once, what may be corrected has a short budget, and nothing is sent after that."""
    stage.receiver.answers = answers
    response_id = await ended(stage)
    await deliver(stage)
    while (await state(stage, response_id)).is_open:
        await stage.ring(response_id)
    assert (await state(stage, response_id)).state == final
    assert len(stage.receiver.posts) == count


async def test_no_attempt_is_made_after_the_response_has_gone(stage: Stage) -> None:
    """A wait that would outlast the retention is the end of the delivery."""
    stage.limit(retention_ms=600_000)
    stage.receiver.answers = [500]
    response_id = await ended(stage)
    await deliver(stage)
    for _ in range(2):
        await stage.ring(response_id)
    assert len(stage.receiver.posts) == 3
    assert (await state(stage, response_id)).state == "failed"


async def test_a_caller_without_a_secret_gets_nothing_unsigned(stage: Stage) -> None:
    """A secret that was taken away makes failed attempts, not unsigned events."""
    response_id = await ended(stage)
    unsigned = replace(stage.world, callers=Callers(()))
    await Engine(unsigned).deliver(asked_for(stage)[0])
    assert stage.receiver.posts == []
    assert (await listed(stage, response_id))["attempts"][0]["error"] == "unsigned"


# Deaths and outages


async def test_a_death_after_the_claim_is_made_good_after_a_minute(stage: Stage) -> None:
    """The claim keeps everybody else away for 60 s; then the event is sent again, and both count as attempts."""
    response_id = await ended(stage)
    gate = stage.receiver.hold()
    attempt = asyncio.create_task(deliver(stage))
    await gate.reached.wait()
    attempt.cancel()
    await asyncio.wait([attempt])
    stage.receiver.gate = None
    await deliver(stage)
    assert len(stage.receiver.posts) == 1

    await stage.ring(response_id)
    assert stage.clock.ms == START_MS + 60_000
    first, second = stage.receiver.posts
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    assert await state(stage, response_id) == Delivery(CALLBACK, "delivered", 2)


async def test_a_living_process_repeats_the_record_not_the_event(stage: Stage) -> None:
    """After a 2xx storage goes away: what is tried again is the note of it, until storage is back."""
    response_id = await ended(stage)
    gate = stage.receiver.hold()
    attempt = asyncio.create_task(deliver(stage))
    await gate.reached.wait()
    async with stage.proxy.refusing():
        gate.open()
        done, _ = await asyncio.wait([attempt], timeout=1.0)
        assert not done
    await attempt
    assert len(stage.receiver.posts) == 1
    assert await state(stage, response_id) == Delivery(CALLBACK, "delivered", 1)
    assert [one["status"] for one in (await listed(stage, response_id))["attempts"]] == [200]


@pytest.mark.parametrize("nth", [1, 2], ids=["claim", "record"])
async def test_an_answer_of_storage_that_is_lost_sends_nothing_twice(stage: Stage, nth: int) -> None:
    """Claim and record recognise their own write."""
    response_id = await ended(stage)

    def is_transaction(request: StorageRequest) -> bool:
        return request.kind == "POST $batch"

    lost = stage.proxy.drop_answer(is_transaction, nth)
    await deliver(stage)
    assert lost.happened.is_set()
    assert len(stage.receiver.posts) == 1
    assert len((await listed(stage, response_id))["attempts"]) == 1
    assert await stage.kinds(response_id) == [Kind.PURGE]


async def slow_and_overtaken(stage: Stage, slow: int, quick: int) -> str:
    """Let an attempt outlast its claim, so that a sweep makes another; return the response."""
    response_id = await ended(stage)
    stage.receiver.answers = [slow, quick, 200]
    gate = stage.receiver.hold()
    attempt = asyncio.create_task(deliver(stage))
    await gate.reached.wait()
    stage.receiver.gate = None
    await stage.ring(response_id)
    gate.open()
    await attempt
    return response_id


async def test_a_success_that_comes_late_is_final(stage: Stage) -> None:
    """The overtaken attempt was received: nothing more is sent, whatever the other one brought."""
    response_id = await slow_and_overtaken(stage, 200, 500)
    assert (await state(stage, response_id)).state == "delivered"
    while await stage.kinds(response_id) != [Kind.PURGE]:
        await stage.ring(response_id)
    assert len(stage.receiver.posts) == 2


async def test_a_failure_that_comes_late_takes_nothing_back(stage: Stage) -> None:
    """The overtaken attempt has lost its word: the delivery stays delivered."""
    response_id = await slow_and_overtaken(stage, 500, 200)
    assert (await state(stage, response_id)).state == "delivered"
    assert await stage.kinds(response_id) == [Kind.PURGE]


async def test_an_event_too_large_for_a_message_goes_by_name(stage: Stage) -> None:
    """A reply over 48 KiB says which response to fetch; the callback holds it whole."""
    stage.upstream.output = "x" * 60_000
    response_id = await ended(stage, reply_to="replies-1")
    await deliver(stage)
    (reply,), (callback,) = stage.replies.posts, stage.receiver.posts
    assert orjson.loads(reply.body)["data"] == {"id": response_id, "object": "response"}
    assert orjson.loads(reply.body)["truncated"] is True
    assert orjson.loads(callback.body)["data"] == await stage.shown(response_id)
