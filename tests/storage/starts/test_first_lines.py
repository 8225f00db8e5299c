"""First lines: a response that no upstream can begin waits for its first one, whoever refused it last."""

import asyncio
from typing import Any

import pytest

from shared.core.alarms import Kind
from shared.core.errors import UpstreamUnavailable
from shared.core.gates.gate_keys import gate_partition
from shared.core.records import Record, WaitInfo
from shared.core.states import Status, WaitReason
from tests.support.clocks import START_MS
from tests.support.run_holders import driving, released, run_on
from tests.support.stage import Stage
from tests.support.stream_clients import kinds, streamed
from tests.support.upstream_pairs import Upstreams

AWAY = UpstreamUnavailable("ConnectError")
BUSY = UpstreamUnavailable("status 429", retry_after_s=30, waits_for=WaitReason.RATE_LIMIT)
DENIED = UpstreamUnavailable("status 401", waits_for=WaitReason.CREDENTIALS)


@pytest.fixture
def both(stage: Stage) -> Upstreams:
    """Return two upstreams with background mode."""
    return Upstreams(stage)


async def create(stage: Stage, **fields: Any) -> Record:
    """Create a response to the model that both serve."""
    return await stage.create(model="gpt-5", **fields)


async def test_what_none_can_begin_waits(stage: Stage, both: Upstreams) -> None:
    """It waits in the line of the first one. Its turn tries each once more, from that one on."""
    both.eu.start_errors, both.us.start_errors = [AWAY] * 2, [AWAY] * 2
    made = await create(stage)
    assert (made.status, made.acknowledged, made.upstream.name) == (Status.QUEUED, True, "eu")
    assert made.wait == WaitInfo("upstream_down", "ConnectError", 1, START_MS, START_MS + 1_000, 1, "eu", 1)
    (start,) = await stage.alarms(made.id)
    assert (start.kind, start.due_ms) == (Kind.START, made.deadline_ms)

    await stage.fire_alarms(made.id)
    assert stage.clock.ms == START_MS + 1_000
    waiting = await stage.record(made.id)
    assert waiting.upstream.name == "eu"
    assert waiting.wait == WaitInfo("upstream_down", "ConnectError", 2, START_MS, START_MS + 3_000, 1, "eu", 1)
    assert (both.eu.starts.total(), both.us.starts.total()) == (2, 2)

    await stage.fire_alarms(made.id)
    assert stage.clock.ms == START_MS + 3_000
    assert (await stage.finish(made.id)).status is Status.COMPLETED
    assert (both.begun, both.eu.starts.total(), both.us.starts.total()) == ((1, 0), 3, 2)


async def test_a_first_upstream_that_comes_back_before_the_last_one_begins_the_work(
    stage: Stage, both: Upstreams
) -> None:
    """A response that none could begin does not wait for the one that asked for the longest wait."""
    both.eu.start_errors, both.us.start_errors = [AWAY], [BUSY]
    made = await create(stage)
    assert (made.upstream.name, made.wait.reason, made.wait.next_ms) == ("eu", "upstream_down", START_MS + 1_000)
    await stage.fire_alarms(made.id)
    assert stage.clock.ms == START_MS + 1_000
    assert (await stage.finish(made.id)).status is Status.COMPLETED
    assert (both.begun, both.eu.starts.total(), both.us.starts.total()) == ((1, 0), 2, 1)


async def test_a_refused_key_is_waited_for_where_it_was_refused(stage: Stage, both: Upstreams) -> None:
    """Somebody must mend it, so no other upstream may hide it."""
    both.eu.start_errors, both.us.start_errors = [AWAY], [DENIED]
    made = await create(stage)
    assert (made.upstream.name, made.wait.reason) == ("us", "credentials")


async def test_storage_that_fails_on_the_way_back_leaves_an_alarm(stage: Stage, both: Upstreams) -> None:
    """The response waits for the first upstream with a reason, and the work is begun once."""
    both.eu.start_errors, both.us.start_errors = [AWAY], [BUSY]
    gate = both.us.hold_starts()
    creating = asyncio.create_task(create(stage))
    await gate.reached.wait()
    stage.proxy.refuse(lambda request: gate_partition("eu").encode() in request.body)
    gate.open()
    both.us.start_gate = None
    made = await creating
    stage.proxy.heal()
    assert (made.upstream.name, made.wait.reason) == ("eu", "rate_limit")
    assert (await stage.finish(made.id)).status is Status.COMPLETED
    assert sum(both.begun) == 1


# Runs


@pytest.mark.parametrize("is_background", [True, False], ids=["background", "foreground"])
async def test_a_run_that_none_can_begin_waits_in_the_first_line(stage: Stage, is_background: bool) -> None:
    """Its stream goes on when the first upstream takes it."""
    both = Upstreams(stage, is_background=is_background)
    both.eu.streams.run_errors, both.us.streams.run_errors = [AWAY], [BUSY]
    reader = await streamed(stage, model="gpt-5")
    if is_background:
        await released(stage)
    else:
        await driving(stage.engine, reader.id, 1)
    waiting = await stage.record(reader.id)
    assert (waiting.upstream.name, waiting.wait.reason) == ("eu", "upstream_down")
    await stage.fire_gates()
    await run_on(stage, reader.id)
    assert kinds(await reader.rest())[-1] == "completed"
    assert (await stage.record(reader.id)).upstream.name == "eu"
    assert both.begun == (1, 0)
