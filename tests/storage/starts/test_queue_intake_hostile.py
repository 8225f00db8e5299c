"""Hostile queued requests: none goes round for ever, each is answered or parked, and those behind it are handled."""

from typing import Any

import orjson
import pytest

from shared.core.errors import StoreRefused
from shared.core.states import Status
from shared.starts.queue_intake import QueueMessage
from shared.storage.messages import REQUESTS
from tests.storage.starts.test_queue_intake import ASK, event_of, id_of, message, poison
from tests.support.proxies.fault_proxy import StorageRequest, is_transaction
from tests.support.stage import Stage

LARGE = "m" * 33_000
HOSTILE: dict[str, bytes] = {
    "nesting of 255 levels": b'{"request":{"input":' + b"[" * 255 + b"]" * 255 + b"}%b}",
    "nesting of 1,000 levels": b'{"request":{"input":' + b'{"a":' * 1_000 + b"1" + b"}" * 1_000 + b"}%b}",
    "a model of 33,000 characters": b'{"request":{"input":"q","model":"' + LARGE.encode() + b'"}%b}',
    "numbers that grow": b'{"request":{"metadata":7,"input":[' + b",".join([b"1e15"] * 9_000) + b"]}%b}",
    "control characters": b'{"request":{"input":"' + b"\\u0001" * 7_500 + b'","metadata":7}%b}',
    "a message of 48 KiB": b'{"request":{"input":"' + b"x" * 48_900 + b'"}%b}',
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_request_is_answered_where_it_names_a_reply_queue(stage: Stage, body: bytes) -> None:
    """The event is that of a failed response, which says what is wrong. Nothing is parked."""
    await stage.engine.take_request(QueueMessage("m-1", body % b',"reply_to":"replies-1"'))
    event = await event_of(stage)
    assert event["data"]["error"]["code"] in ("invalid_value", "invalid_type", "too_large")
    assert len(event["data"]["error"]["message"]) < 200
    assert (await stage.record(id_of("m-1"))).status is Status.FAILED
    assert (stage.upstream.starts.total(), await poison(stage)) == (0, [])


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_request_without_a_reply_queue_is_parked_and_fails(stage: Stage, body: bytes) -> None:
    """It is moved to the poison queue with its reason, and the next visit there makes it a failed response."""
    await stage.engine.take_request(QueueMessage("m-1", body % b""))
    await stage.engine.drain_dead_letters()
    shown = await stage.shown(id_of("m-1"))
    assert shown["status"] == "failed"
    assert shown["error"]["code"] in ("invalid_value", "invalid_type", "too_large")
    assert await poison(stage) == []


async def test_a_model_that_is_too_long_is_cut_in_the_failed_response(stage: Stage) -> None:
    """A row has no room for it."""
    await stage.engine.take_request(message(request={**ASK, "model": LARGE}))
    assert (await stage.shown(id_of("m-1")))["model"] == LARGE[:256]


@pytest.mark.parametrize("name", ["a/b", "replies_1", "x" * 64, "-replies", "azure-webjobs-host-1", "replies-1-poison"])
async def test_a_reply_queue_needs_a_name_that_a_queue_can_have(stage: Stage, name: str) -> None:
    """Not even a pattern for every name permits another one, or a queue of the platform."""
    stage.rule(reply_queues=("*",))
    await stage.engine.take_request(message(reply_to=name, request=7))
    ((rejected,), posts) = await poison(stage), stage.replies.posts
    assert (rejected["first_message"], posts) == ("m-1", [])


def is_insert(request: StorageRequest) -> bool:
    """Return whether a request is the transaction that accepts the response of `m-1`."""
    return is_transaction(request) and id_of("m-1").encode() in request.body and b"|start|" in request.body


@pytest.mark.parametrize("status", [400, 413])
async def test_a_request_that_storage_does_not_take_is_refused(stage: Stage, status: int) -> None:
    """No outage is seen in that, and no copy comes again. Its sender gets the event."""
    stage.proxy.refuse(is_insert, status)
    await stage.engine.take_request(message())
    event: dict[str, Any] = await event_of(stage)
    assert event["data"]["error"]["code"] == "request_too_large"
    assert [one for one in stage.sent if one.queue == REQUESTS] == []


@pytest.mark.parametrize("is_last", [False, True])
async def test_a_message_that_storage_refuses_at_every_step_does_not_go_round(stage: Stage, is_last: bool) -> None:
    """The trigger gets the error, also at the last try. So the platform moves the message to the poison queue."""
    stage.proxy.refuse(is_transaction, 413)
    with pytest.raises(StoreRefused):
        await stage.engine.take_request(message(), is_last=is_last)
    assert stage.sent == []


async def test_a_code_is_never_the_word_none(stage: Stage) -> None:
    """A refusal without a code has that of a wrong request, and so it stays on the way through the poison queue."""
    both = {**ASK, "previous_response_id": "x", "conversation": "y"}
    await stage.engine.take_request(QueueMessage("m-1", orjson.dumps({"request": both})))
    await stage.engine.drain_dead_letters()
    assert (await stage.shown(id_of("m-1")))["error"]["code"] == "invalid_request"


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_reply_queue_in_the_request_itself_gets_the_answer_too(stage: Stage, body: bytes) -> None:
    """That is where an HTTP request names it, and where the intake finds it."""
    inside = body.replace(b'"request":{', b'"request":{"reply_to":"replies-1",') % b""
    await stage.engine.take_request(QueueMessage("m-1", inside))
    assert (await event_of(stage))["type"] == "response.failed"
    assert await poison(stage) == []


@pytest.mark.parametrize(
    ("outer", "request_", "is_answered"),
    [
        ({}, {"reply_to": "replies-1"}, True),
        ({}, {"metadata": {"reply_to": "replies-1"}}, True),
        ({"reply_to": 7}, {"reply_to": "replies-1"}, True),
        ({"reply_to": "other"}, {"reply_to": "replies-1"}, False),
        ({}, {"reply_to": "other", "metadata": {"reply_to": "replies-1"}}, False),
        ({}, {"reply_to": "requests"}, False),
        ({}, {"reply_to": 7, "metadata": {"reply_to": "replies-1"}}, False),
        ({}, {"metadata": {"reply_to": ["replies-1"]}}, False),
        ({}, {"metadata": "replies-1"}, False),
    ],
)
async def test_a_refusal_goes_where_the_event_would_have_gone(
    stage: Stage, outer: dict[str, Any], request_: dict[str, Any], is_answered: bool
) -> None:
    """The queue beside the request counts more than that inside, and that more than the metadata."""
    await stage.engine.take_request(QueueMessage("m-1", orjson.dumps({"request": {"input": 5, **request_}, **outer})))
    await stage.deliver()
    assert [one.address for one in stage.replies.posts] == (["replies-1"] if is_answered else [])
    assert len(await poison(stage)) == (0 if is_answered else 1)
