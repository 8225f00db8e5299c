"""The upstream's webhooks: in any order and number, they end a response at once and only once, and none is lost."""

import asyncio
from collections.abc import Mapping, Sequence
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
from shared.storage.codec import encode_record
from shared.telemetry import tracing
from shared.upstreams.protocol import Progress
from shared.upstreams.specs import UpstreamSpec
from tests.support.clocks import START_MS
from tests.support.conditions import until
from tests.support.fakes.peers import ScriptedUpstream
from tests.support.stage import CALLBACK_URL, SECRET, Stage

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


@pytest.fixture(autouse=True)
def webhooks_enabled(stage: Stage) -> None:
    """Let the upstream send webhooks, and let its work end only when the test says so."""
    stage.treat(webhook_secrets=(SECRET,))
    stage.upstream.course = [Status.IN_PROGRESS]


def event(upstream_id: str, kind: str = "response.completed", **fields: Any) -> bytes:
    """Return the body of a webhook as OpenAI sends it."""
    data = {"id": upstream_id}
    return orjson.dumps({"id": "evt_1", "object": "event", "type": kind, "created_at": 1, "data": data, **fields})


def signed(stage: Stage, body: bytes, secret: str = SECRET, *, age_s: int = 0) -> Mapping[str, str]:
    """Return the headers of a webhook that was signed `age_s` seconds ago."""
    return signatures.signed_headers([secret], "wh_1", stage.clock.ms // 1000 - age_s, body)


async def announce(stage: Stage, body: bytes) -> None:
    """Send a signed webhook of the upstream."""
    await stage.engine.receive_webhook(signed(stage, body), body)


def end(stage: Stage, token: str) -> None:
    """Let work end upstream."""
    stage.upstream.works[token].course = [Status.COMPLETED]


def token_of(record: Record) -> str:
    """Return the upstream's token of the response."""
    assert record.upstream.token
    return record.upstream.token


async def test_an_event_ends_the_response_at_once(stage: Stage) -> None:
    """A webhook ends the response and its callback is sent, before any poll is due."""
    record = await stage.create(callback_url=CALLBACK_URL)
    end(stage, token_of(record))
    await announce(stage, event(token_of(record)))
    ended = await stage.record(record.id)
    assert (ended.status, ended.ended_ms) == (Status.COMPLETED, START_MS)
    await stage.deliver()
    assert len(stage.receiver.posts) == 1
    assert stage.upstream.polls == 1


async def test_the_poll_of_an_event_belongs_to_the_responses_trace(stage: Stage) -> None:
    """The poll that a webhook causes belongs to the response's trace, not to the webhook's."""
    traces: list[dict[str, str]] = []

    class Traced(ScriptedUpstream):
        async def poll(self, token: str, include: Sequence[str] = ()) -> Progress:
            traces.append(tracing.trace_fields())
            return await super().poll(token, include)

    stage.cast(Traced())
    with tracing.under(TRACEPARENT):
        record = await stage.create()
    end(stage, token_of(record))
    await announce(stage, event(token_of(record)))
    assert traces == [{"trace_id": TRACEPARENT.split("-")[1]}]


async def test_the_callback_does_not_wait_for_its_message(stage: Stage) -> None:
    """A webhook starts the callback itself. The delivery message that arrives later sends nothing."""
    record = await stage.create(callback_url=CALLBACK_URL)
    end(stage, token_of(record))
    await announce(stage, event(token_of(record)))

    async def is_delivered() -> bool:
        return (await stage.delivery(record.id)).state == "delivered"

    await until(is_delivered)
    await stage.deliver()
    assert len(stage.receiver.posts) == 1


async def test_polls_are_only_the_safety_net(stage: Stage) -> None:
    """If webhooks are enabled, the upstream is polled only once a minute."""
    record = await stage.create()
    for n in range(1, 4):
        await stage.fire_alarms(record.id)
        assert stage.clock.ms == START_MS + n * 60_000
    end(stage, token_of(record))
    assert (await stage.finish(record.id)).ended_ms == START_MS + 4 * 60_000


@pytest.mark.parametrize("times", [2, 5])
async def test_a_repeated_event_changes_nothing(stage: Stage, times: int) -> None:
    """Copies of a webhook, at once or later, cause one end and one delivery. An ended response is not polled."""
    record = await stage.create(callback_url=CALLBACK_URL)
    end(stage, token_of(record))
    await asyncio.gather(*(announce(stage, event(token_of(record))) for _ in range(times)))
    polls = stage.upstream.polls
    await announce(stage, event(token_of(record)))
    assert (await stage.record(record.id)).status is Status.COMPLETED
    await stage.deliver()
    assert (len(stage.receiver.posts), stage.upstream.polls) == (1, polls)


async def test_an_end_that_is_not_visible_yet_must_be_announced_again(stage: Stage) -> None:
    """If the upstream does not show the end yet, the webhook gets no 2xx, so that the upstream repeats it."""
    record = await stage.create()
    with pytest.raises(Unavailable):
        await announce(stage, event(token_of(record)))
    end(stage, token_of(record))
    await announce(stage, event(token_of(record)))
    assert (await stage.record(record.id)).status is Status.COMPLETED


@pytest.mark.parametrize("error", [UpstreamMissing(), UpstreamUnavailable("away")])
async def test_an_event_whose_poll_fails_must_be_sent_again(stage: Stage, error: Exception) -> None:
    """If the upstream cannot be polled, the webhook gets no 2xx. The response and its alarm do not change."""
    record = await stage.create()
    stage.upstream.poll_errors = [error]
    with pytest.raises(Unavailable):
        await announce(stage, event(token_of(record)))
    assert (await stage.record(record.id)).status is Status.QUEUED
    assert await stage.kinds(record.id) == [Kind.POLL]


@pytest.mark.parametrize(
    "body",
    [event("resp_1", "response.created"), event("batch_1", "batch.completed"), b"{}", b"[]", b"not json", event("")],
)
async def test_an_event_that_is_not_an_end_is_accepted_and_ignored(stage: Stage, body: bytes) -> None:
    """A signed webhook that does not announce an end gets a 2xx and is ignored."""
    await announce(stage, body)
    assert stage.upstream.polls == 0


async def test_an_event_that_is_not_verified_is_refused(stage: Stage) -> None:
    """A webhook with a wrong secret, another body, a missing header or an old timestamp is refused without effect."""
    record = await stage.create()
    end(stage, token_of(record))
    body = event(token_of(record))
    bad = [
        (signed(stage, body, OTHER_SECRET), body),
        (signed(stage, b"{}"), body),
        (signed(stage, body, age_s=301), body),
        ({name: text for name, text in signed(stage, body).items() if name != "webhook-id"}, body),
    ]
    for headers, sent in bad:
        with pytest.raises(Unauthorized) as refused:
            await stage.engine.receive_webhook(headers, sent)
        assert refused.value.code == "invalid_signature"
    for headers, _ in bad[2:]:
        with pytest.raises(Unauthorized):
            stage.engine.expect_webhook(headers)  # so its body is not read
    stage.engine.expect_webhook(signed(stage, body))
    assert (await stage.record(record.id)).status is Status.QUEUED


async def test_both_secrets_of_a_rotation_are_accepted(stage: Stage) -> None:
    """While a secret is rotated, a webhook that is signed with either secret is accepted."""
    stage.treat(webhook_secrets=(OTHER_SECRET, SECRET))
    record = await stage.create()
    end(stage, token_of(record))
    await announce(stage, event(token_of(record)))
    assert (await stage.record(record.id)).status is Status.COMPLETED


async def test_without_the_setting_events_are_not_found(stage: Stage) -> None:
    """If webhooks are not configured, the path is not found, polls keep their usual times and no id is registered."""
    stage.treat(webhook_secrets=())
    record = await stage.create()
    body = event(token_of(record))
    with pytest.raises(NotFound):
        await stage.engine.receive_webhook(signed(stage, body), body)
    with pytest.raises(NotFound):
        stage.engine.expect_webhook({})
    name = upstream_owner(token_of(record))
    assert await stage.ports.store.find(name, upstream_key(name)) is None
    assert (await stage.alarms(record.id))[0].due_ms == START_MS + 1_000


async def test_a_run_is_ended_only_by_its_holder(stage: Stage) -> None:
    """A webhook about a run causes no poll, because the run ends by its stream."""
    record = await stage.create()
    run = replace(record, run=replace(record.run, mode=ExecutionMode.RUN))
    await stage.put(record.id, record_key(record.id), facts=encode_record(run))
    end(stage, token_of(record))
    await announce(stage, event(token_of(record)))
    assert ((await stage.record(record.id)).status, stage.upstream.polls) == (Status.QUEUED, 0)


async def test_each_upstream_signs_for_itself(stage: Stage) -> None:
    """Two upstreams may have given away the same id. A webhook ends the response of the one that has signed it."""
    eu = ScriptedUpstream()
    eu.course = [Status.IN_PROGRESS]
    stage.add_upstream(UpstreamSpec("eu", models=("gpt-*",), webhook_secrets=(OTHER_SECRET,)), eu)
    ours, theirs = await stage.create(), await stage.create(model="gpt-5")
    assert token_of(ours) == token_of(theirs)
    end(stage, token_of(ours))
    eu.works[token_of(theirs)].course = [Status.COMPLETED]
    body = event(token_of(theirs))
    await stage.engine.receive_webhook(signed(stage, body, OTHER_SECRET), body)
    assert (await stage.record(theirs.id)).status is Status.COMPLETED
    assert (await stage.record(ours.id)).status is Status.QUEUED
    with pytest.raises(Unauthorized):
        await stage.engine.receive_webhook(signed(stage, body, "whsec_" + "A" * 32), body)
