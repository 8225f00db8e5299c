"""Queued requests: each message starts one response, and its reply queue receives the event or a refusal."""

import asyncio
from typing import Any

import orjson
import pytest

from shared.core.errors import StoreUnavailable, UpstreamRefused, UpstreamUnavailable
from shared.core.ids import derived_id
from shared.core.records import Target
from shared.core.states import Status
from shared.starts.queue_intake import REQUEUE_DELAY_S, QueueMessage, requeue
from shared.storage.messages import POISON, REQUESTS, QueuedRequest
from tests.support.stage import ANN, CALLBACK_URL, Stage

ASK = {"model": "m", "input": "question"}


def message(name: str = "m-1", **fields: Any) -> QueueMessage:
    """Return a message as a sender puts it on the queue."""
    return QueueMessage(
        name, orjson.dumps({"request": ASK, "reply_to": "replies-1", "correlation_id": "order 7", **fields})
    )


def id_of(name: str) -> str:
    """Return the id of the response that a message with this id starts."""
    return derived_id(REQUESTS.encode(), name.encode())


async def event_of(stage: Stage) -> dict[str, Any]:
    """Make all deliveries. Return the one event on the reply queue."""
    await stage.deliver()
    (reply,) = stage.replies.posts
    assert reply.address == "replies-1"
    event: dict[str, Any] = orjson.loads(reply.body)
    return event


async def poison(stage: Stage) -> list[dict[str, Any]]:
    """Return the messages in the poison queue of requests."""
    dead_letters = await stage.ports.requests.receive(REQUESTS + POISON)
    return [orjson.loads(dead_letter.body or b"null") for dead_letter in dead_letters]


async def test_a_message_starts_a_response_and_gets_its_event(stage: Stage) -> None:
    """A message starts a response of the configured caller. Its event repeats the sender's correlation id."""
    await stage.engine.take_request(message())
    record = await stage.finish(id_of("m-1"))
    assert (record.caller, record.request.background, record.status) == (ANN.name, True, Status.COMPLETED)
    event = await event_of(stage)
    assert (event["type"], event["correlation_id"]) == ("response.completed", "order 7")
    assert event["data"] == await stage.shown(record.id)


async def test_without_a_correlation_id_the_event_has_none(stage: Stage) -> None:
    """An event has a `correlation_id` only if its message has one."""
    await stage.engine.take_request(QueueMessage("m-1", orjson.dumps({"request": ASK, "reply_to": "replies-1"})))
    await stage.finish(id_of("m-1"))
    assert "correlation_id" not in await event_of(stage)


async def test_a_message_may_name_a_callback(stage: Stage) -> None:
    """The request in a message can name a callback as in HTTP.

    Both the callback and the reply queue receive the event.
    """
    await stage.engine.take_request(message(request={**ASK, "callback_url": CALLBACK_URL}))
    await stage.finish(id_of("m-1"))
    await stage.deliver()
    (callback,), (reply,) = stage.receiver.posts, stage.replies.posts
    assert callback.body == reply.body


async def test_copies_of_a_message_start_one_response(stage: Stage) -> None:
    """Queues deliver at least once. Copies of a message, at once or later, start one response."""
    await asyncio.gather(*(stage.engine.take_request(message()) for _ in range(3)))
    await stage.finish(id_of("m-1"))
    await stage.engine.take_request(message())
    assert stage.upstream.starts.total() == 1
    assert (await event_of(stage))["data"]["id"] == id_of("m-1")


async def test_messages_with_the_same_id_are_copies(stage: Stage) -> None:
    """Two messages with the same `id` are copies, even if the queue's ids differ."""
    for name in ("m-1", "m-2"):
        await stage.engine.take_request(message(name, id="order-7"))
    assert stage.upstream.starts.total() == 1
    assert (await stage.record(id_of("order-7"))).request.reply_to == "replies-1"


@pytest.mark.parametrize("wrong", [7, "", None, {"of": 7}])
async def test_messages_with_the_same_wrong_id_are_two_responses(stage: Stage, wrong: Any) -> None:
    """An `id` that is not as documented is refused, once for each message. A null is no id."""
    for name in ("m-1", "m-2"):
        await stage.engine.take_request(message(name, id=wrong))
    found = [await stage.record(id_of(name)) for name in ("m-1", "m-2")]
    refused = Status.QUEUED if wrong is None else Status.FAILED
    assert [record.status for record in found] == [refused] * 2
    shown = await stage.shown(found[0].id)
    assert wrong is None or "'id' must be a string" in shown["error"]["message"]


async def test_a_copy_of_a_message_whose_process_crashed_starts_nothing(stage: Stage) -> None:
    """If the process of the first message crashes after accepting it, a copy starts nothing and the alarm goes on."""
    gate = stage.upstream.hold_starts()
    first = asyncio.create_task(stage.engine.take_request(message()))
    await gate.reached.wait()
    first.cancel()
    stage.upstream.start_gate = None
    await stage.engine.take_request(message())
    assert (await stage.finish(id_of("m-1"))).status is Status.COMPLETED
    assert stage.upstream.begun.total() == 1


async def test_a_message_is_accepted_while_the_upstream_is_unavailable(stage: Stage) -> None:
    """A message is accepted while the upstream is unavailable, and its work is started when its turn comes."""
    stage.upstream.start_errors = [UpstreamUnavailable("away")] * 3
    await stage.engine.take_request(message())
    waiting = await stage.record(id_of("m-1"))
    assert (waiting.status, waiting.wait.reason, waiting.wait.place) == (Status.QUEUED, "upstream_down", 1)
    assert [alarm.due_ms for alarm in await stage.alarms(waiting.id)] == [waiting.deadline_ms]
    assert (await stage.finish(waiting.id)).status is Status.COMPLETED
    assert stage.upstream.starts == {waiting.id: 4}


async def test_a_refusal_of_the_upstream_is_an_event(stage: Stage) -> None:
    """If the upstream refuses a queued request, the response fails with its error and the event is sent."""
    stage.upstream.start_errors = [UpstreamRefused(400, "no such model", code="model_not_found")]
    await stage.engine.take_request(message())
    event = await event_of(stage)
    assert event["type"] == "response.failed"
    error = event["data"]["error"]
    assert (error["code"], error["message"], error["type"]) == (
        *("model_not_found", "no such model"),
        "invalid_request_error",
    )
    assert (await stage.record(id_of("m-1"))).status is Status.FAILED


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("is_background", [False, True])
async def test_a_streamed_request_and_a_foreground_upstream_are_runs(
    stage: Stage, streams: bool, is_background: bool
) -> None:
    """A queued request is a run if it is streamed or its upstream is a foreground one.

    Its events are logged for later readers.
    """
    stage.upstream.is_background = is_background
    await stage.engine.take_request(message(request={**ASK, "stream": streams}))
    record = await stage.record(id_of("m-1"))
    assert record.run.mode == ("run" if streams or not is_background else "poll")
    assert record.request.stream is streams


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no request": ({"request": None}, "'request' must be an object."),
    "a request that is not an object": ({"request": "question"}, "'request' must be an object."),
    "a wrong field": ({"request": {**ASK, "background": "yes", "metadata": 7}}, "'metadata' must be an object."),
    "a callback that is not allowed": (
        {"request": {**ASK, "callback_url": "http://hooks.contoso.com"}},
        "The callback URL must start with https://.",
    ),
    "a previous response that does not exist": (
        {"request": {**ASK, "previous_response_id": "resp_1"}},
        "Previous response with id 'resp_1' not found.",
    ),
    "a correlation id that is not a string": (
        {"correlation_id": 7},
        "'correlation_id' must be a string of 1 to 256 characters.",
    ),
    "an id that is too long": ({"id": "x" * 257}, "'id' must be a string of 1 to 256 characters."),
}


@pytest.mark.parametrize(("fields", "reason"), BAD.values(), ids=BAD.keys())
async def test_a_bad_message_is_answered_on_its_reply_queue(stage: Stage, fields: dict[str, Any], reason: str) -> None:
    """A bad message gets one event of a failed response that says what is wrong, also for copies.

    Nothing is started.
    """
    for _ in range(2):
        await stage.engine.take_request(message(**fields))
    event = await event_of(stage)
    assert (event["type"], event["data"]["error"]["message"]) == ("response.failed", reason)
    assert event.get("correlation_id") == (None if "correlation_id" in fields else "order 7")
    assert (await stage.record(id_of("m-1"))).status is Status.FAILED
    assert (stage.upstream.starts.total(), await poison(stage)) == (0, [])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "The message is not valid JSON."),
        (b"[]", "The message must be a JSON object."),
        (orjson.dumps({"request": "question"}), "'request' must be an object."),
        (orjson.dumps({"request": ASK, "reply_to": "nudges"}), "'reply_to' names a queue that is not allowed."),
        (
            orjson.dumps({"request": ASK, "reply_to": "requests-poison"}),
            "'reply_to' names a queue that is not allowed.",
        ),
        (
            orjson.dumps({"request": ASK, "reply_to": ["replies-1"]}),
            "'reply_to' must be a string of 1 to 256 characters.",
        ),
        (message(request={"input": "x" * 46_000}, reply_to=None).body, "The message is over 46000 bytes."),
        (b'{"request": {}, "reply_to": "\\ud800"}', "The message is not valid JSON."),
    ],
)
async def test_a_bad_message_without_a_reply_queue_goes_to_poison(stage: Stage, body: bytes, reason: str) -> None:
    """A bad message without an allowed reply queue goes to the poison queue at once, with its reason."""
    await stage.engine.take_request(QueueMessage("m-1", body))
    (rejected,) = await poison(stage)
    assert (rejected["first_message"], rejected["rejected"]["reason"]) == ("m-1", reason)
    assert stage.upstream.starts.total() == 0


async def test_the_largest_message_can_be_sent_on(stage: Stage) -> None:
    """The largest message still fits the queue with the members that are added when it is rejected or sent back."""
    name, filled = "\N{GRINNING FACE}" * 256, {"input": "x" * 44_000, "metadata": 7}
    body = message(request=filled, id=name, reply_to=None, correlation_id=None).body
    assert len(body) > 45_000
    await stage.engine.take_request(QueueMessage("m-1", body))
    (rejected,) = await poison(stage)
    assert (rejected["first_message"], rejected["request"]) == (name, filled)
    await requeue(stage.ports, QueueMessage("m-1", body))


async def test_internal_queues_are_never_allowed_as_reply_queues(stage: Stage) -> None:
    """The triggers' queues and their poison queues are not allowed as reply queues, even if a pattern fits them."""
    stage.rule(reply_queues=("*",))
    ours = [f"{name}{end}" for name in ("nudges", "deliveries", "runs", "requests") for end in ("", "-poison")]
    for n, name in enumerate(ours):
        await stage.engine.take_request(message(f"m-{n}", reply_to=name))
    assert len(await poison(stage)) == len(ours)


async def test_an_accepted_message_is_not_checked_again(stage: Stage) -> None:
    """A copy of an accepted message finds its response, even after the rules have changed."""
    await stage.engine.take_request(message())
    stage.rule(reply_queues=())
    await stage.engine.take_request(message())
    assert (await stage.finish(id_of("m-1"))).status is Status.COMPLETED


async def test_a_message_waits_while_storage_is_unavailable(stage: Stage) -> None:
    """If storage fails, the trigger gets the error. At the last try the message goes to the end of its queue."""
    async with stage.proxy.refusing():
        with pytest.raises(StoreUnavailable):
            await stage.engine.take_request(message())
        await stage.engine.take_request(message(), is_last=True)
    (sent,) = [one for one in stage.sent if one.queue == REQUESTS]
    assert sent.delay_s == REQUEUE_DELAY_S
    await stage.engine.take_request(QueueMessage("another", orjson.dumps(sent.content)))
    assert (await stage.finish(id_of("m-1"))).status is Status.COMPLETED


def test_the_readable_members_of_a_bad_message_are_kept() -> None:
    """The id, reply queue and correlation id of a bad message are read, so that it can be answered."""
    sent = message(request=3, id="order-7")
    envelope = QueuedRequest.read(sent.id, sent.body)
    assert envelope.wrong
    assert (envelope.id, envelope.reply_to, envelope.correlation_id) == ("order-7", "replies-1", "order 7")


def test_a_message_that_is_not_an_object_has_the_queues_id() -> None:
    """A message that is not an object gets its id from the queue."""
    assert QueuedRequest.read("m-9", b"7").response_id == id_of("m-9")


async def test_the_reply_is_a_delivery_like_any_other(stage: Stage) -> None:
    """A reply is listed as a delivery, and sent again if its queue does not take it."""
    stage.replies.answers = [503, 201]
    await stage.engine.take_request(message())
    await stage.finish(id_of("m-1"))
    await stage.deliver()
    (listed,) = (await stage.engine.deliveries(ANN, id_of("m-1")))["data"]
    assert (listed["target"], listed["state"]) == ("reply_queue", "pending")
    await stage.fire_alarms(id_of("m-1"))
    assert (await stage.delivery(id_of("m-1"), Target.REPLY_QUEUE)).state == "delivered"
