"""The upstream's webhooks: whatever their order and number, the response ends at once, once, and none is lost."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest

from shared.contract import signatures
from shared.core.alarms import Kind
from shared.core.errors import NotFound, Unauthorized, Unavailable, UpstreamMissing, UpstreamUnavailable
from shared.core.keys import record_key, upstream_key, upstream_owner
from shared.core.records import ExecutionMode, Record
from shared.core.states import Status
from shared.lifecycle import upstream_ids
from shared.lifecycle.upstream_ids import MARK_MS
from shared.storage.codec import encode_record
from shared.telemetry import tracing
from shared.upstreams.protocol import Progress
from tests.support.clocks import START_MS
from tests.support.fakes.peers import ScriptedUpstream
from tests.support.stage import CALLBACK_URL, SECRET, Stage, until

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


@pytest.fixture
async def received(stage: Stage) -> Stage:
    """Give a stage whose upstream tells of its ends, and does not end by itself."""
    stage.limit(upstream_webhooks_enabled=True)
    stage.rule(upstream_secrets=(SECRET,))
    stage.upstream.course = [Status.IN_PROGRESS]
    return stage


def event(upstream_id: str, kind: str = "response.completed", **fields: Any) -> bytes:
    """Return the body of a webhook as OpenAI sends it."""
    data = {"id": upstream_id}
    return orjson.dumps({"id": "evt_1", "object": "event", "type": kind, "created_at": 1, "data": data, **fields})


def signed(stage: Stage, body: bytes, secret: str = SECRET, *, age_s: int = 0) -> Mapping[str, str]:
    """Return the headers of a webhook."""
    return signatures.signed_headers([secret], "wh_1", stage.clock.ms // 1000 - age_s, body)


async def tell(stage: Stage, body: bytes) -> None:
    """Let the upstream tell."""
    await stage.engine.receive_webhook(signed(stage, body), body)


def end(stage: Stage, token: str) -> None:
    """Let work end upstream."""
    stage.upstream.works[token].course = [Status.COMPLETED]


def token_of(record: Record) -> str:
    """Return what the upstream calls the response."""
    assert record.upstream.token
    return record.upstream.token


async def test_an_event_ends_the_response_at_once(received: Stage) -> None:
    """Its callback is on its way before any poll was due."""
    record = await received.create(callback_url=CALLBACK_URL)
    end(received, token_of(record))
    await tell(received, event(token_of(record)))
    ended = await received.record(record.id)
    assert (ended.status, ended.ended_ms) == (Status.COMPLETED, START_MS)
    await received.deliver()
    assert len(received.receiver.posts) == 1
    assert received.upstream.polls == 1


async def test_what_an_event_makes_us_ask_is_of_the_responses_trace(received: Stage) -> None:
    """The poll that sees the end is a piece of its life, not of the upstream's call."""
    traces: list[dict[str, str]] = []

    class Traced(ScriptedUpstream):
        async def poll(self, token: str) -> Progress:
            traces.append(tracing.trace_fields())
            return await super().poll(token)

    received.cast(Traced())
    with tracing.under(TRACEPARENT):
        record = await received.create()
    end(received, token_of(record))
    await tell(received, event(token_of(record)))
    assert traces == [{"trace_id": TRACEPARENT.split("-")[1]}]


async def test_the_callback_does_not_wait_for_its_message(received: Stage) -> None:
    """It is on its way when the upstream has its answer; the message that comes later finds it done."""
    record = await received.create(callback_url=CALLBACK_URL)
    end(received, token_of(record))
    await tell(received, event(token_of(record)))

    async def is_delivered() -> bool:
        return (await received.delivery(record.id)).state == "delivered"

    await until(is_delivered)
    await received.deliver()
    assert len(received.receiver.posts) == 1


async def test_polls_are_only_the_safety_net(received: Stage) -> None:
    """Without an event the upstream is asked once a minute, from the beginning to the end."""
    record = await received.create()
    for n in range(1, 4):
        await received.ring(record.id)
        assert received.clock.ms == START_MS + n * 60_000
    end(received, token_of(record))
    assert (await received.finish(record.id)).ended_ms == START_MS + 4 * 60_000


@pytest.mark.parametrize("times", [2, 5])
async def test_an_event_that_comes_again_changes_nothing(received: Stage, times: int) -> None:
    """At once or later: there is one end and one delivery, and the ended response is not asked for."""
    record = await received.create(callback_url=CALLBACK_URL)
    end(received, token_of(record))
    await asyncio.gather(*(tell(received, event(token_of(record))) for _ in range(times)))
    polls = received.upstream.polls
    await tell(received, event(token_of(record)))
    assert (await received.record(record.id)).status is Status.COMPLETED
    assert (len(received.deliveries()), received.upstream.polls) == (1, polls)


async def test_an_event_before_the_create_is_answered_is_not_lost(received: Stage) -> None:
    """The work has ended before its id is known here: the first poll is due at once."""
    gate = received.upstream.hold_starts()
    creating = asyncio.create_task(received.create())
    await gate.reached.wait()
    (token,) = received.upstream.works
    end(received, token)
    await tell(received, event(token))
    gate.open()
    record = await creating
    assert record.upstream.token == token
    await received.ring(record.id)
    ended = await received.record(record.id)
    assert (ended.status, received.clock.ms) == (Status.COMPLETED, START_MS)


async def test_an_event_between_the_two_writes_is_not_lost(received: Stage) -> None:
    """The upstream's id is noted, and the record does not know it yet: the record is marked, and polled at once."""
    gate = received.upstream.hold_starts()
    creating = asyncio.create_task(received.create())
    await gate.reached.wait()
    (token,) = received.upstream.works
    (accepted,) = received.upstream.starts
    await upstream_ids.register(received.ports, await received.record(accepted), token)
    end(received, token)
    await tell(received, event(token))
    assert (await received.record(accepted)).upstream.end_announced
    gate.open()
    record = await creating
    await received.ring(record.id)
    assert (await received.record(record.id)).ended_ms == START_MS


async def test_whoever_dies_between_the_two_writes_is_made_good(received: Stage) -> None:
    """The start is repeated with the same key, and finds the id noted."""
    gate = received.upstream.hold_starts()
    creating = asyncio.create_task(received.create())
    await gate.reached.wait()
    (token,) = received.upstream.works
    (accepted,) = received.upstream.starts
    await upstream_ids.register(received.ports, await received.record(accepted), token)
    creating.cancel()
    received.upstream.start_gate = None
    await received.ring(accepted)
    record = await received.record(accepted)
    assert record.upstream.token == token
    end(received, token)
    await tell(received, event(token))
    assert (await received.record(accepted)).status is Status.COMPLETED


async def test_an_event_about_anothers_work_is_forgotten_after_a_while(received: Stage) -> None:
    """The upstream's account may have other users: their events leave a mark that removes itself."""
    await tell(received, event("resp_of_somebody_else"))
    name = upstream_owner("resp_of_somebody_else")
    assert await received.ports.store.find(name, upstream_key(name))
    received.clock.ms += MARK_MS
    await received.sweep(name)
    assert await received.ports.store.find(name, upstream_key(name)) is None
    assert await received.alarms(name) == []


async def test_the_names_of_ended_work_are_removed(received: Stage) -> None:
    """The row goes after the response's deadline; its alarm goes with it."""
    record = await received.create()
    name = upstream_owner(token_of(record))
    assert await received.kinds(name) == [Kind.PURGE]
    received.clock.ms = (await received.alarms(name))[0].due_ms
    assert received.clock.ms > record.deadline_ms
    await received.sweep(name)
    assert await received.ports.store.find(name, upstream_key(name)) is None


async def test_an_end_that_cannot_be_seen_yet_is_told_again(received: Stage) -> None:
    """The upstream's own copies may lag: it gets no 2xx, and repeats its event."""
    record = await received.create()
    with pytest.raises(Unavailable):
        await tell(received, event(token_of(record)))
    end(received, token_of(record))
    await tell(received, event(token_of(record)))
    assert (await received.record(record.id)).status is Status.COMPLETED


@pytest.mark.parametrize("error", [UpstreamMissing(), UpstreamUnavailable("away")])
async def test_an_upstream_that_cannot_be_asked_tells_again(received: Stage, error: Exception) -> None:
    """The response is as it was, and its alarm too."""
    record = await received.create()
    received.upstream.poll_errors = [error]
    with pytest.raises(Unavailable):
        await tell(received, event(token_of(record)))
    assert (await received.record(record.id)).status is Status.QUEUED
    assert await received.kinds(record.id) == [Kind.POLL]


@pytest.mark.parametrize(
    "body",
    [event("resp_1", "response.created"), event("batch_1", "batch.completed"), b"{}", b"[]", b"not json", event("")],
)
async def test_what_is_no_end_of_a_response_is_taken_and_left(received: Stage, body: bytes) -> None:
    """Signed as it is, it is answered well: the upstream need not send it again."""
    await tell(received, body)
    assert received.upstream.polls == 0


async def test_only_the_upstreams_word_counts(received: Stage) -> None:
    """A wrong secret, another body, a missing header and an old message are refused, and change nothing."""
    record = await received.create()
    end(received, token_of(record))
    body = event(token_of(record))
    bad = [
        (signed(received, body, OTHER_SECRET), body),
        (signed(received, b"{}"), body),
        (signed(received, body, age_s=301), body),
        ({name: text for name, text in signed(received, body).items() if name != "webhook-id"}, body),
    ]
    for headers, sent in bad:
        with pytest.raises(Unauthorized) as refused:
            await received.engine.receive_webhook(headers, sent)
        assert refused.value.code == "invalid_signature"
    assert (await received.record(record.id)).status is Status.QUEUED


async def test_either_secret_of_a_rotation_is_the_upstreams(received: Stage) -> None:
    """While a secret is changed, both verify."""
    received.rule(upstream_secrets=(OTHER_SECRET, SECRET))
    record = await received.create()
    end(received, token_of(record))
    await tell(received, event(token_of(record)))
    assert (await received.record(record.id)).status is Status.COMPLETED


async def test_without_the_setting_there_is_nothing_to_tell(stage: Stage) -> None:
    """The path does not exist, polls go at their own pace, and no row is spent on names."""
    record = await stage.create()
    body = event(token_of(record))
    with pytest.raises(NotFound):
        await stage.engine.receive_webhook(signed(stage, body), body)
    name = upstream_owner(token_of(record))
    assert await stage.ports.store.find(name, upstream_key(name)) is None
    assert (await stage.alarms(record.id))[0].due_ms == START_MS + 1_000


async def test_a_run_is_its_holders(received: Stage) -> None:
    """What is streamed ends by its stream: an event about it only reads."""
    record = await received.create()
    run = replace(record, run=replace(record.run, mode=ExecutionMode.RUN))
    await received.put(record.id, record_key(record.id), facts=encode_record(run))
    end(received, token_of(record))
    await tell(received, event(token_of(record)))
    assert ((await received.record(record.id)).status, received.upstream.polls) == (Status.QUEUED, 0)
