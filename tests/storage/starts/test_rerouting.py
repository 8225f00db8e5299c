"""Rerouting: another upstream gets what the first one cannot begin, and work is begun at one of them only."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from shared.core.errors import RefusedByUpstream, UpstreamError, UpstreamRefused, UpstreamUnavailable, UpstreamUncertain
from shared.core.ids import shard_of
from shared.core.records import Record
from shared.core.states import Status, WaitReason
from shared.upstreams.removed import GRACE_MS
from tests.support.log_capture import WrittenLines, log_events
from tests.support.run_holders import driving, released, run_on
from tests.support.stage import ANN, Stage
from tests.support.stream_clients import kinds, streamed
from tests.support.upstream_pairs import Upstreams

AWAY = UpstreamUnavailable("ConnectError")
BUSY = UpstreamUnavailable("status 429", retry_after_s=30, waits_for=WaitReason.RATE_LIMIT)
CUT = UpstreamUncertain("ReadError")
REFUSED = UpstreamRefused(400, "No.", param="input")


@pytest.fixture
def both(stage: Stage) -> Upstreams:
    """Return two upstreams with background mode."""
    return Upstreams(stage)


async def create(stage: Stage, **fields: Any) -> Record:
    """Create a response to the model that both serve."""
    return await stage.create(model="gpt-5", **fields)


@pytest.mark.parametrize("error", [AWAY, BUSY], ids=str)
async def test_the_next_upstream_gets_what_the_first_cannot_begin(
    stage: Stage, both: Upstreams, error: UpstreamError, written: WrittenLines
) -> None:
    """Within the POST. It is polled, shown and stopped there, and its model has the name of that upstream."""
    both.eu.start_errors = [error]
    made = await create(stage)
    assert (made.upstream.name, made.upstream.model, made.upstream.token) == ("us", "us-5", "up_0")
    assert both.begun == (0, 1)
    assert "start.rerouted" in log_events(written)
    ended = await stage.finish(made.id)
    assert (ended.status, both.eu.polls) == (Status.COMPLETED, 0)
    assert (await stage.shown(made.id))["model"] == "gpt-5"


async def test_a_cancel_stops_the_upstream_that_took_it(stage: Stage, both: Upstreams) -> None:
    """Both may have work with the same id."""
    both.eu.start_errors = [AWAY]
    made = await create(stage)
    await stage.engine.cancel(ANN, made.id)
    await stage.fire_alarms(made.id)
    assert (both.us.stopped, both.eu.stopped) == (["up_0"], [])


@pytest.mark.parametrize("error", [CUT, UpstreamUncertain("status 500"), UpstreamUncertain("status 504")], ids=str)
async def test_work_that_may_have_begun_is_tried_nowhere_else(
    stage: Stage, both: Upstreams, error: UpstreamError
) -> None:
    """Also not later, when the first upstream says that it cannot begin."""
    both.eu.start_errors = [error, AWAY, BUSY]
    made = await create(stage)
    assert made.upstream.bound
    assert (await stage.finish(made.id)).upstream.name == "eu"
    assert both.begun == (1, 0)


async def test_a_refusal_is_the_answer_of_the_upstream_that_gave_it(stage: Stage, both: Upstreams) -> None:
    """A request that is wrong for one upstream is not sent to another."""
    both.eu.start_errors = [REFUSED]
    with pytest.raises(RefusedByUpstream):
        await create(stage)
    assert both.us.starts == {}
    both.eu.start_errors, both.us.start_errors = [AWAY], [REFUSED]
    with pytest.raises(RefusedByUpstream):
        await create(stage)


@pytest.mark.parametrize("fields", [{"previous_response_id": True}, {"conversation": "conv_1"}], ids=str)
async def test_what_its_upstream_keeps_is_continued_there(
    stage: Stage, both: Upstreams, fields: dict[str, Any]
) -> None:
    """No other upstream knows the previous response or the conversation."""
    both.eu.first = Status.COMPLETED
    previous = await create(stage)
    both.eu.first = Status.QUEUED
    both.eu.start_errors = [AWAY]
    if "previous_response_id" in fields:
        fields = {"previous_response_id": previous.id}
    else:
        await _keep_conversation(stage)
    made = await create(stage, **fields)
    assert (made.upstream.name, made.wait.reason) == ("eu", WaitReason.UPSTREAM_DOWN)
    assert both.us.starts == {}


async def _keep_conversation(stage: Stage) -> None:
    stage.routes[0] = replace(stage.routes[0], relay=stage.relay)
    stage.change(upstreams=stage.made_upstreams())
    stage.relay.answers["/conversations"] = {"id": "conv_1"}
    await stage.engine.create_conversation(ANN, {}, "gpt-5")


async def test_a_response_is_continued_where_it_was_taken(stage: Stage, both: Upstreams) -> None:
    """Although its model is served by the first upstream again."""
    both.us.first = Status.COMPLETED
    both.eu.start_errors = [AWAY]
    previous = await create(stage)
    made = await create(stage, previous_response_id=previous.id)
    assert made.upstream.name == "us"
    assert both.begun == (0, 2)


async def test_a_death_between_two_upstreams_begins_the_work_once(stage: Stage, both: Upstreams) -> None:
    """The record names the second before the create is sent. Whoever goes on repeats it there, with the same key."""
    both.eu.start_errors = [AWAY]
    gate = both.us.hold_starts()
    creating = asyncio.create_task(create(stage))
    await gate.reached.wait()
    creating.cancel()
    await asyncio.wait([creating])
    (response_id,) = both.us.starts
    assert (await stage.record(response_id)).upstream.name == "us"
    both.us.start_gate = None
    ended = await stage.finish(response_id)
    assert (ended.status, ended.upstream.name) == (Status.COMPLETED, "us")
    assert (both.begun, both.eu.starts.total()) == ((0, 1), 1)


async def test_a_process_that_lost_its_alarm_moves_nothing(stage: Stage, both: Upstreams) -> None:
    """Another one may be starting the response at the first upstream."""
    both.eu.start_errors = [AWAY]
    gate = both.eu.hold_starts()
    creating = asyncio.create_task(create(stage))
    await gate.reached.wait()
    (response_id,) = both.eu.starts
    (alarm,) = await stage.alarms(response_id)
    await stage.ports.store.move(shard_of(response_id), [(alarm, alarm.at(alarm.due_ms + 60_000))])
    gate.open()
    both.eu.start_gate = None
    await creating
    assert both.us.starts == {}
    assert (await stage.finish(response_id)).upstream.name == "eu"


# Runs


@pytest.mark.parametrize("is_background", [True, False], ids=["background", "foreground"])
async def test_a_run_moves_on_within_its_lease(stage: Stage, is_background: bool) -> None:
    """A stream is read from the upstream that began it, and from no other."""
    both = Upstreams(stage, is_background=is_background)
    both.eu.streams.run_errors = [BUSY]
    reader = await streamed(stage, model="gpt-5")
    if not is_background:
        await driving(stage.engine, reader.id, 1)
    assert kinds(await reader.rest())[-1] == "completed"
    ended = await stage.record(reader.id)
    assert (ended.status, ended.upstream.name) == (Status.COMPLETED, "us")
    assert both.begun == (0, 1)


async def test_a_call_that_is_run_in_place_moves_on(stage: Stage) -> None:
    """Its client waits no longer than for both tries."""
    both = Upstreams(stage, is_background=False)
    both.eu.streams.run_errors = [AWAY]
    made = await create(stage, background=False)
    assert (made.status, made.upstream.name, both.begun) == (Status.COMPLETED, "us", (0, 1))


@pytest.mark.parametrize("is_background", [True, False], ids=["background", "foreground"])
async def test_a_run_that_may_have_begun_stays(stage: Stage, is_background: bool) -> None:
    """Its next try is made at the same upstream, whoever holds the run then."""
    stage.pace(patience_s=0)
    both = Upstreams(stage, is_background=is_background)
    both.eu.streams.run_errors = [CUT, AWAY]
    reader = await streamed(stage, model="gpt-5")
    if is_background:
        await released(stage)
        await stage.fire_alarms(reader.id)
    await run_on(stage, reader.id)
    ended = await stage.record(reader.id)
    assert (ended.status, ended.upstream.name, both.begun) == (Status.COMPLETED, "eu", (1, 0))


# Removed upstreams


@pytest.mark.usefixtures("both")
async def test_a_removed_upstream_ends_its_responses(stage: Stage) -> None:
    """After two minutes, in which another process may know more. The error says why, and the reason is shown."""
    made = await create(stage)
    stage.remove_upstreams()
    await stage.fire_alarms(made.id)
    waiting = (await stage.shown(made.id))["waiting"]
    assert (waiting["reason"], waiting["detail"]) == ("upstream_removed", "upstream 'eu' is not configured")
    before_ms = stage.clock.ms
    ended = await stage.finish(made.id)
    assert (ended.status, ended.error) == (Status.FAILED, "upstream_removed")
    assert stage.clock.ms - before_ms >= GRACE_MS
    assert "no longer configured" in (await stage.shown(made.id))["error"]["message"]


@pytest.mark.usefixtures("both")
async def test_an_upstream_that_comes_back_keeps_its_responses(stage: Stage) -> None:
    """A deployment may have two versions of its settings for a while."""
    made = await create(stage)
    routes = list(stage.routes)
    stage.remove_upstreams()
    await stage.fire_alarms(made.id)
    stage.routes.extend(routes)
    stage.change(upstreams=stage.made_upstreams())
    assert (await stage.finish(made.id)).status is Status.COMPLETED


async def test_a_start_at_a_removed_upstream_fails(stage: Stage, both: Upstreams) -> None:
    """It has begun nothing, and waits as long as work does."""
    both.eu.start_errors, both.us.start_errors = [AWAY], [AWAY]
    made = await create(stage)
    stage.remove_upstreams()
    ended = await stage.finish(made.id)
    assert (ended.status, ended.error) == (Status.FAILED, "upstream_removed")
    assert both.begun == (0, 0)
