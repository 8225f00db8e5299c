"""The upstream's webhooks: in any order and number, they end a response at once and only once, and none is lost."""

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
    """Give a stage whose upstream sends webhooks, and whose work ends only when the test says so."""
    stage.limit(upstream_webhooks_enabled=True)
    stage.rule(upstream_secrets=(SECRET,))
    stage.upstream.course = [Status.IN_PROGRESS]
    return stage


def event(upstream_id: str, kind: str = "response.completed", **fields: Any) -> bytes:
    """Return the body of a webhook as OpenAI sends it."""
    data = {"id": upstream_id}
    return orjson.dumps({"id": "evt_1", "object": "event", "type": kind, "created_at": 1, "data": data, **fields})


def signed(stage: Stage, body: bytes, secret: str = SECRET, *, age_s: int = 0) -> Mapping[str, str]:
    """Return the headers of a webhook that was signed `age_s` seconds ago."""
    return signatures.signed_headers([secret], "wh_1", stage.clock.ms // 1000 - age_s, body)


async def tell(stage: Stage, body: bytes) -> None:
    """Send a signed webhook of the upstream."""
    await stage.engine.receive_webhook(signed(stage, body), body)


def end(stage: Stage, token: str) -> None:
    """Let work end upstream."""
    stage.upstream.works[token].course = [Status.COMPLETED]


def token_of(record: Record) -> str:
    """Return the upstream's token of the response."""
    assert record.upstream.token
    return record.upstream.token


async def test_an_event_ends_the_response_at_once(received: Stage) -> None:
    """A webhook ends the response and its callback is sent, before any poll is due."""
    record = await received.create(callback_url=CALLBACK_URL)
    end(received, token_of(record))
    await tell(received, event(token_of(record)))
    ended = await received.record(record.id)
    assert (ended.status, ended.ended_ms) == (Status.COMPLETED, START_MS)
    await received.deliver()
    assert len(received.receiver.posts) == 1
    assert received.upstream.polls == 1


async def test_the_poll_of_an_event_belongs_to_the_responses_trace(received: Stage) -> None:
    """The poll that a webhook causes belongs to the response's trace, not to the webhook's."""
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
    """A webhook starts the callback itself. The delivery message that arrives later sends nothing."""
    record = await received.create(callback_url=CALLBACK_URL)
    end(received, token_of(record))
    await tell(received, event(token_of(record)))

    async def is_delivered() -> bool:
        return (await received.delivery(record.id)).state == "delivered"

    await until(is_delivered)
    await received.deliver()
    assert len(received.receiver.posts) == 1


async def test_polls_are_only_the_safety_net(received: Stage) -> None:
    """If webhooks are enabled, the upstream is polled only once a minute."""
    record = await received.create()
    for n in range(1, 4):
        await received.ring(record.id)
        assert received.clock.ms == START_MS + n * 60_000
    end(received, token_of(record))
    assert (await received.finish(record.id)).ended_ms == START_MS + 4 * 60_000


@pytest.mark.parametrize("times", [2, 5])
async def test_a_repeated_event_changes_nothing(received: Stage, times: int) -> None:
    """Copies of a webhook, at once or later, cause one end and one delivery. An ended response is not polled."""
    record = await received.create(callback_url=CALLBACK_URL)
    end(received, token_of(record))
    await asyncio.gather(*(tell(received, event(token_of(record))) for _ in range(times)))
    polls = received.upstream.polls
    await tell(received, event(token_of(record)))
    assert (await received.record(record.id)).status is Status.COMPLETED
    assert (len(received.deliveries()), received.upstream.polls) == (1, polls)


async def test_an_event_before_the_create_is_answered_is_not_lost(received: Stage) -> None:
    """If a webhook comes before the create's answer, the first poll is due at once."""
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
    """A webhook may come after the upstream's id is registered and before the record has it.

    The record is then marked, and its first poll is due at once.
    """
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


async def test_a_crash_between_the_two_writes_is_repaired(received: Stage) -> None:
    """If a process crashes between the two writes, the start is repeated and finds the id registered."""
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


async def test_an_event_about_unknown_work_is_forgotten_after_ten_minutes(received: Stage) -> None:
    """A webhook about unknown work leaves a mark that is removed after ten minutes.

    The upstream's account may have other users.
    """
    await tell(received, event("resp_of_somebody_else"))
    name = upstream_owner("resp_of_somebody_else")
    assert await received.ports.store.find(name, upstream_key(name))
    received.clock.ms += MARK_MS
    await received.sweep(name)
    assert await received.ports.store.find(name, upstream_key(name)) is None
    assert await received.alarms(name) == []


async def test_the_ids_of_ended_work_are_removed(received: Stage) -> None:
    """The row of an upstream's id is removed after the response's deadline, with its alarm."""
    record = await received.create()
    name = upstream_owner(token_of(record))
    assert await received.kinds(name) == [Kind.PURGE]
    received.clock.ms = (await received.alarms(name))[0].due_ms
    assert received.clock.ms > record.deadline_ms
    await received.sweep(name)
    assert await received.ports.store.find(name, upstream_key(name)) is None


async def test_an_end_that_is_not_visible_yet_must_be_announced_again(received: Stage) -> None:
    """If the upstream does not show the end yet, the webhook gets no 2xx, so that the upstream repeats it."""
    record = await received.create()
    with pytest.raises(Unavailable):
        await tell(received, event(token_of(record)))
    end(received, token_of(record))
    await tell(received, event(token_of(record)))
    assert (await received.record(record.id)).status is Status.COMPLETED


@pytest.mark.parametrize("error", [UpstreamMissing(), UpstreamUnavailable("away")])
async def test_an_event_whose_poll_fails_must_be_sent_again(received: Stage, error: Exception) -> None:
    """If the upstream cannot be polled, the webhook gets no 2xx. The response and its alarm do not change."""
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
async def test_an_event_that_is_not_an_end_is_accepted_and_ignored(received: Stage, body: bytes) -> None:
    """A signed webhook that does not announce an end gets a 2xx and is ignored."""
    await tell(received, body)
    assert received.upstream.polls == 0


async def test_an_event_that_is_not_verified_is_refused(received: Stage) -> None:
    """A webhook with a wrong secret, another body, a missing header or an old timestamp is refused without effect."""
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


async def test_both_secrets_of_a_rotation_are_accepted(received: Stage) -> None:
    """While a secret is rotated, a webhook that is signed with either secret is accepted."""
    received.rule(upstream_secrets=(OTHER_SECRET, SECRET))
    record = await received.create()
    end(received, token_of(record))
    await tell(received, event(token_of(record)))
    assert (await received.record(record.id)).status is Status.COMPLETED


async def test_without_the_setting_events_are_not_found(stage: Stage) -> None:
    """If webhooks are not configured, the path is not found, polls keep their usual times and no id is registered."""
    record = await stage.create()
    body = event(token_of(record))
    with pytest.raises(NotFound):
        await stage.engine.receive_webhook(signed(stage, body), body)
    name = upstream_owner(token_of(record))
    assert await stage.ports.store.find(name, upstream_key(name)) is None
    assert (await stage.alarms(record.id))[0].due_ms == START_MS + 1_000


async def test_a_run_is_ended_only_by_its_holder(received: Stage) -> None:
    """A webhook about a run causes no poll, because the run ends by its stream."""
    record = await received.create()
    run = replace(record, run=replace(record.run, mode=ExecutionMode.RUN))
    await received.put(record.id, record_key(record.id), facts=encode_record(run))
    end(received, token_of(record))
    await tell(received, event(token_of(record)))
    assert ((await received.record(record.id)).status, received.upstream.polls) == (Status.QUEUED, 0)
