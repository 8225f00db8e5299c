"""Dead letters: a message that no trigger could handle becomes a wake-up or a failed response, and is then deleted."""

import base64
from typing import Any

import orjson
import pytest
from azure.storage.queue.aio import QueueClient

from shared.contract.pages import Page
from shared.core.ids import derived_id
from shared.core.states import Status
from shared.starts.queue_intake import QueueMessage
from shared.storage.messages import DELIVERIES, POISON, REQUESTS, RUNS, WAKEUPS
from shared.storage.request_queue import DeadLetter
from tests.support.log_capture import WrittenLines, log_events, log_lines
from tests.support.stage import ANN, CALLBACK_URL, Stage

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ASK = {"model": "m", "input": "question"}


async def poisoned(stage: Stage, queue: str, *texts: str) -> list[DeadLetter]:
    """Put messages into a poison queue as the platform does. Return them as they lie there."""
    async with QueueClient.from_connection_string(stage._connection, queue + POISON) as client:
        if queue != REQUESTS:
            await client.create_queue()
        sent = [await client.send_message(text) for text in texts]
    return [DeadLetter(str(one.id), str(one.pop_receipt), text) for one, text in zip(sent, texts, strict=True)]


def encoded(content: Any) -> str:
    """Return a message as the queue holds it."""
    return base64.b64encode(orjson.dumps(content)).decode()


def id_of(name: str) -> str:
    """Return the id of the response that a queued request with this `id` starts."""
    return derived_id(REQUESTS.encode(), name.encode())


async def left(stage: Stage, queue: str) -> int:
    """Return how many messages a poison queue holds, including invisible ones."""
    async with QueueClient.from_connection_string(stage._connection, queue + POISON) as client:
        return int((await client.get_queue_properties()).approximate_message_count or 0)


async def test_a_hint_wakes_its_shard_again(stage: Stage) -> None:
    """A dead letter that was a hint becomes an immediate wake-up of its shard, where its alarm is."""
    record = await stage.ended(callback_url=CALLBACK_URL)
    shard, delivery = record.id[5], await stage.delivery(record.id)
    hints = {
        WAKEUPS: {"shard": shard, "at": 1},
        DELIVERIES: {"alarm": delivery.alarm_key},
        RUNS: {"response": record.id, "epoch": 1},
    }
    for queue, hint in hints.items():
        await poisoned(stage, queue, encoded(hint))
        stage.sent.clear()
        await stage.engine.drain_dead_letters()
        (wakeup,) = stage.wakeups(record.id)
        assert (wakeup.delay_s, await left(stage, queue)) == (0, 0)


@pytest.mark.parametrize("queue", [WAKEUPS, DELIVERIES, RUNS])
async def test_a_hint_that_cannot_be_read_is_logged_and_deleted(
    stage: Stage, queue: str, written: WrittenLines
) -> None:
    """A hint that cannot be read is logged and deleted, and the messages behind it are handled."""
    response_id = f"resp_{'a' * 32}"
    alarm_key = f"alarm|{1:013d}|deliver|{response_id}|c"
    good = {"shard": "a", "at": 1, "alarm": alarm_key, "response": response_id, "epoch": 1}
    bad = ["%%%", encoded(7), encoded({}), encoded({"shard": "ab", "alarm": "alarm|1", "id": "resp_1"}), encoded(None)]
    await poisoned(stage, queue, *bad, encoded(good))
    stage.sent.clear()
    await stage.engine.drain_dead_letters()
    assert log_events(written, "error").count("poison.unreadable") == len(bad)
    assert (await left(stage, queue), len(stage.wakeups(response_id))) == (0, 1)


async def test_a_request_that_was_not_refused_gets_another_chance(stage: Stage) -> None:
    """A request that was never refused is sent to its queue once more, with its id and marked as returned."""
    message = {"request": ASK, "reply_to": "replies-1", "correlation_id": "order 7"}
    (dead_letter,) = await poisoned(stage, REQUESTS, encoded(message))
    stage.sent.clear()
    await stage.engine.drain_dead_letters()
    (sent,) = [one for one in stage.sent if one.queue == REQUESTS]
    assert sent.content == {**message, "first_message": dead_letter.id, "returned": True}
    await stage.engine.take_request(QueueMessage("another", orjson.dumps(sent.content)))
    assert (await stage.finish(id_of(dead_letter.id))).status is Status.COMPLETED


async def test_a_request_keeps_the_id_its_sender_gave_it(stage: Stage) -> None:
    """A request that is sent again keeps the `id` of its sender, so that a copy of it starts no second response."""
    await poisoned(stage, REQUESTS, encoded({"request": ASK, "id": "order-7"}))
    stage.sent.clear()
    await stage.engine.drain_dead_letters()
    (sent,) = [one for one in stage.sent if one.queue == REQUESTS]
    assert sent.content["id"] == "order-7"


async def test_a_request_that_returns_to_the_poison_queue_fails_visibly(stage: Stage) -> None:
    """A request that reaches the poison queue again becomes a failed response. Its reply queue receives the event."""
    message = {"request": ASK, "reply_to": "replies-1", "id": "order-7", "returned": True}
    await poisoned(stage, REQUESTS, encoded(message))
    await stage.engine.drain_dead_letters()
    shown = await stage.shown(id_of("order-7"))
    assert (shown["status"], shown["error"]["code"]) == ("failed", "internal_error")
    await stage.deliver()
    assert orjson.loads(stage.replies.posts[0].body)["data"] == shown


async def test_a_request_that_has_started_is_not_failed(stage: Stage) -> None:
    """A dead letter does not fail a response that the same message has already started."""
    message = {"request": ASK, "id": "order-7", "returned": True}
    await stage.engine.take_request(QueueMessage("m-1", orjson.dumps(message)))
    await poisoned(stage, REQUESTS, encoded(message))
    await stage.engine.drain_dead_letters()
    assert (await stage.finish(id_of("order-7"))).status is Status.COMPLETED


async def test_a_message_that_is_not_base64_fails_with_invalid_encoding(stage: Stage) -> None:
    """A message that is not base64 fails with `invalid_encoding`, and its reply queue receives the event.

    This is the commonest mistake of senders. The platform moves such a message to the poison queue without reporting
    it.
    """
    text = orjson.dumps({"request": ASK, "reply_to": "replies-1", "correlation_id": "order 7"}).decode()
    await poisoned(stage, REQUESTS, text)
    await stage.engine.drain_dead_letters()
    await stage.deliver()
    event = orjson.loads(stage.replies.posts[0].body)
    assert event["correlation_id"] == "order 7"
    assert event["data"]["error"] == {
        "code": "invalid_encoding",
        "message": "The message is not base64, in which the messages of this queue must be sent.",
        "type": "server_error",
        "param": None,
    }


async def test_a_rejected_message_becomes_a_failed_response(stage: Stage, written: WrittenLines) -> None:
    """A rejected message without a reply queue becomes a failed response under the message's id.

    The reason is logged.
    """
    await stage.engine.take_request(QueueMessage("m-1", b"{\xff"))
    await stage.engine.drain_dead_letters()
    shown = await stage.shown(id_of("m-1"))
    error = shown["error"]
    assert (error["code"], error["message"]) == ("invalid_json", "The message is not valid JSON.")
    logged = [(line["event"], line["reason"]) for line in log_lines(written, "error")]
    assert logged == [(name, "The message is not valid JSON.") for name in ("request.rejected", "poison.failed")]
    (kept,) = (await stage.engine.input_items(ANN, id_of("m-1"), Page()))["data"]
    assert kept["content"][0]["text"] == "{\N{REPLACEMENT CHARACTER}"
    record = await stage.record(id_of("m-1"))
    assert (record.caller, record.deliveries, await left(stage, REQUESTS)) == (ANN.name, (), 0)


async def test_a_message_whose_record_is_unreadable_delays_no_other(stage: Stage, written: WrittenLines) -> None:
    """The message stays in its queue, the reason is logged, and the messages behind it are handled."""
    message = {"request": ASK, "id": "order-7", "returned": True}
    await stage.engine.take_request(QueueMessage("m-1", orjson.dumps(message)))
    await stage.put(id_of("order-7"), f"resp|{id_of('order-7')}", facts="damaged")
    await poisoned(stage, REQUESTS, encoded(message), encoded({"request": ASK, "id": "order-8"}))
    stage.sent.clear()
    await stage.engine.drain_dead_letters()
    assert "row.unreadable" in log_events(written)
    assert [one.content["id"] for one in stage.sent if one.queue == REQUESTS] == ["order-8"]
    assert await left(stage, REQUESTS) == 1


async def test_a_failed_dead_letter_belongs_to_the_trace_of_its_message(stage: Stage) -> None:
    """A response that fails because of a dead letter belongs to the trace that its message names.

    This holds for a request that could not be handled and for one that was rejected.
    """
    await poisoned(stage, REQUESTS, encoded({"id": "r-1", "request": ASK, "returned": True, "traceparent": TRACE}))
    await stage.engine.take_request(QueueMessage("r-2", orjson.dumps({"request": [], "traceparent": TRACE})))
    await stage.engine.drain_dead_letters()
    assert [(await stage.record(id_of(name))).trace for name in ("r-1", "r-2")] == [TRACE, TRACE]


async def test_more_than_one_batch_is_drained(stage: Stage) -> None:
    """One visit empties a poison queue that holds more than one batch."""
    await poisoned(stage, WAKEUPS, *(encoded({"shard": "a", "at": n}) for n in range(70)))
    await stage.engine.drain_dead_letters()
    assert await left(stage, WAKEUPS) == 0


async def test_a_dead_letter_that_storage_refuses_is_left_for_later(stage: Stage) -> None:
    """If the table fails, the request stays in its poison queue, and the other poison queues are still drained."""
    await poisoned(stage, WAKEUPS, encoded({"shard": "a", "at": 1}))
    await poisoned(stage, REQUESTS, encoded({"request": None}))
    async with stage.proxy.refusing():
        await stage.engine.drain_dead_letters()
    assert (await left(stage, WAKEUPS), await left(stage, REQUESTS)) == (0, 1)
