"""Sending the event of one attempt: what each target gets, and how a callback is signed and checked at that time."""

import os
from dataclasses import replace

import orjson
import pytest

from shared.contract import signatures
from shared.contract.callers import Caller, Callers, SigningSecret
from shared.core.errors import StoreUnavailable
from shared.core.ids import event_id
from shared.core.outcomes import Answer, SendError
from shared.core.records import INLINE_BODY, Record, Target
from shared.core.states import Status
from shared.deliveries.delivery_log import DeliveryView
from shared.deliveries.sending import send_event
from shared.senders.callbacks import CallbackSender
from shared.telemetry import tracing
from tests.support.clocks import START_MS
from tests.support.stage import ANN, CALLBACK_URL, SECRET, Stage

OLD = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def listed(stage: Stage, response_id: str) -> DeliveryView:
    """Return a response's one delivery as its caller sees it."""
    (delivery,) = (await stage.engine.deliveries(ANN, response_id))["data"]
    return delivery


async def sent(stage: Stage, record: Record, target: Target = Target.CALLBACK) -> Answer:
    """Send the event of a response to a target once. Return the outcome."""
    delivery = record.delivery(target)
    assert delivery
    return await send_event(stage.ports, record, delivery, 1)


# What is sent


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.INCOMPLETE])
async def test_both_targets_get_the_same_event(stage: Stage, status: Status) -> None:
    """The event has the type of the response's end and the whole response, and its id belongs to response and type.

    The callback has signed headers, and the reply queue has none.
    """
    stage.upstream.first = status
    record = await stage.create(callback_url=CALLBACK_URL, reply_to="replies-1")
    for target in (Target.CALLBACK, Target.REPLY_QUEUE):
        await sent(stage, record, target)
    (callback,), (reply,) = stage.receiver.posts, stage.replies.posts
    event = orjson.loads(callback.body)
    assert (event["id"], event["type"]) == (event_id(record.id, f"response.{status}"), f"response.{status}")
    assert event["data"] == await stage.shown(record.id)
    assert callback.headers == signatures.signed_headers([SECRET], event["id"], START_MS // 1000, callback.body)
    assert (callback.address, reply.address, reply.headers, reply.body) == (
        CALLBACK_URL,
        "replies-1",
        {},
        callback.body,
    )


async def test_an_event_is_sent_again_with_the_same_id_and_a_new_signature(stage: Stage) -> None:
    """At a later attempt, only the time of the signature and the signature differ."""
    record = await stage.ended(callback_url=CALLBACK_URL)
    await sent(stage, record)
    stage.clock.advance(300)
    await sent(stage, record)
    first, second = stage.receiver.posts
    assert first.body == second.body
    differing = {name for name in first.headers if first.headers[name] != second.headers[name]}
    assert differing == {"webhook-timestamp", "webhook-signature"}
    assert second.headers["webhook-timestamp"] == str(START_MS // 1000 + 300)


async def test_a_callback_carries_the_trace_of_its_response(stage: Stage) -> None:
    """A callback has the traceparent beside the signed headers."""
    record = await stage.ended(callback_url=CALLBACK_URL)
    with tracing.under(TRACEPARENT):
        await sent(stage, record)
    (post,) = stage.receiver.posts
    assert post.headers["traceparent"] == TRACEPARENT
    assert (
        signatures.signed_headers([SECRET], post.headers["webhook-id"], START_MS // 1000, post.body).items()
        <= dict(post.headers).items()
    )


async def test_a_large_result_is_sent_whole(stage: Stage) -> None:
    """A result that does not fit into the record is read from the rows beside it."""
    stage.upstream.output = os.urandom(INLINE_BODY).hex()
    stage.receiver.is_busy = True
    record = await stage.ended(callback_url=CALLBACK_URL)
    read = await stage.record(record.id)
    assert (read.body, read.body_rows > 0) == (b"", True)
    await sent(stage, read)
    assert orjson.loads(stage.receiver.posts[0].body)["data"] == await stage.shown(record.id)


async def test_a_result_that_cannot_be_read_is_not_sent(stage: Stage) -> None:
    """If storage fails when the result is read, StoreUnavailable is raised and nothing is sent."""
    stage.upstream.output = os.urandom(INLINE_BODY).hex()
    stage.receiver.is_busy = True
    record = await stage.record((await stage.ended(callback_url=CALLBACK_URL)).id)
    async with stage.proxy.refusing():
        with pytest.raises(StoreUnavailable):
            await sent(stage, record)
    assert stage.receiver.posts == []


async def test_an_event_too_large_for_a_message_is_sent_as_an_id(stage: Stage) -> None:
    """A reply over 48 KiB has only the id of the response to fetch. The callback has the whole response."""
    stage.upstream.output = "x" * 60_000
    response_id = (await stage.ended(callback_url=CALLBACK_URL, reply_to="replies-1")).id
    await stage.deliver()
    (reply,), (callback,) = stage.replies.posts, stage.receiver.posts
    assert orjson.loads(reply.body)["data"] == {"id": response_id, "object": "response"}
    assert orjson.loads(reply.body)["truncated"] is True
    assert orjson.loads(callback.body)["data"] == await stage.shown(response_id)


@pytest.mark.parametrize("outcome", [204, 503, SendError.TIMEOUT])
@pytest.mark.parametrize("target", [Target.CALLBACK, Target.REPLY_QUEUE])
async def test_the_outcome_is_that_of_the_sender(stage: Stage, target: Target, outcome: int | SendError) -> None:
    """The answer of the sender is returned unchanged, with its Retry-After."""
    receiver = stage.receiver if target is Target.CALLBACK else stage.replies
    receiver.answers, receiver.retry_after = [outcome], "120"
    record = await stage.ended(callback_url=CALLBACK_URL, reply_to="replies-1")
    expected = Answer(None, outcome, None, 1) if isinstance(outcome, SendError) else Answer(outcome, None, "120", 1)
    assert await sent(stage, record, target) == expected


# Secrets


@pytest.mark.parametrize("callers", [(), (Caller("ann", (), (SigningSecret(SECRET, START_MS),)),)])
async def test_a_caller_without_a_secret_gets_nothing_unsigned(stage: Stage, callers: tuple[Caller, ...]) -> None:
    """If the caller's secret is removed or has expired, the attempt fails and no unsigned event is sent."""
    stage.change(callers=Callers(callers))
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await stage.deliver()
    assert stage.receiver.posts == []
    assert (await listed(stage, response_id))["attempts"][0]["error"] == "unsigned"


async def test_a_reply_needs_no_secret(stage: Stage) -> None:
    """A reply is not signed, so it is sent even if the caller has no secret, because its queue is our own."""
    record = await stage.ended(reply_to="replies-1")
    stage.change(callers=Callers(()))
    assert (await sent(stage, record, Target.REPLY_QUEUE)).status == 200
    assert len(stage.replies.posts) == 1


async def test_a_previous_secret_signs_until_it_expires(stage: Stage) -> None:
    """Until a previous secret expires, attempts carry its signature and the current one's.

    After that they carry one.
    """
    secrets = (SigningSecret(SECRET), SigningSecret(OLD, START_MS + 5_000))
    stage.change(callers=Callers((Caller("ann", (), secrets),)))
    stage.receiver.answers = [500, 204]
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await stage.deliver()
    await stage.fire_alarms(response_id)
    for post, signers in zip(stage.receiver.posts, ([SECRET, OLD], [SECRET]), strict=True):
        sent_s = int(post.headers["webhook-timestamp"])
        assert post.headers == signatures.signed_headers(signers, post.headers["webhook-id"], sent_s, post.body)


# Hosts


async def test_every_attempt_uses_the_callers_current_hosts(stage: Stage) -> None:
    """Every attempt uses the callback hosts that the caller has at the time of sending, not those of the create."""
    stage.receiver.answers = [500, 200]
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await stage.deliver()
    stage.change(callers=Callers((replace(ANN, callback_hosts=("*.contoso.com",)),)))
    await stage.fire_alarms(response_id)
    assert [post.hosts for post in stage.receiver.posts] == [(), ("*.contoso.com",)]


async def test_a_host_removed_from_the_allow_list_gets_nothing(stage: Stage) -> None:
    """A host that was removed from the allow-list after the create is refused for good, without a DNS lookup."""
    asked = []

    async def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["93.184.216.34"]

    stage.change(senders={Target.CALLBACK: CallbackSender(resolve=resolve), Target.REPLY_QUEUE: stage.replies})
    response_id = (await stage.unfinished(callback_url=CALLBACK_URL)).id
    assert asked == ["hooks.contoso.com"]
    stage.change(callers=Callers((replace(ANN, callback_hosts=("other.contoso.com",)),)))
    await stage.shown(response_id)
    await stage.deliver()
    assert (await stage.delivery(response_id)).state == "blocked"
    (delivery,) = (await stage.engine.deliveries(ANN, response_id))["data"]
    assert [attempt["error"] for attempt in delivery["attempts"]] == [SendError.URL_REFUSED]
    assert asked == ["hooks.contoso.com"]
