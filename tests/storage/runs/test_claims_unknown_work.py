"""Work whose id nobody knows: its holder crashed before it learned what to stop, and the response has ended."""

import asyncio

import pytest

from shared.core.alarms import Kind
from shared.core.errors import UpstreamRefused, UpstreamUnavailable
from tests.support.fakes.streams import KEEPALIVE
from tests.support.run_holders import die, held
from tests.support.stage import ANN, Stage
from tests.support.stream_clients import streamed


async def cancelled_before_its_token(stage: Stage, *, honours_keys: bool = True) -> str:
    """Return the id of a cancelled response whose holder crashed before it knew the id of the work to stop."""
    stage.treat(honours_keys=honours_keys)
    gate = stage.upstream.streams.hold(0)
    creating = asyncio.create_task(streamed(stage))
    await gate.reached.wait()
    (response_id,) = stage.upstream.streams.runs
    await die(held(stage))
    creating.cancel()
    await stage.engine.cancel(ANN, response_id)
    gate.open()
    return response_id


@pytest.mark.parametrize("honours", [True, False])
async def test_an_unknown_upstream_id_is_requested_again_if_keys_are_honoured(stage: Stage, honours: bool) -> None:
    """If a process crashes before it knows the upstream's id and the response is cancelled, the create is repeated.

    The repeat with the same key returns the id of the work to stop. It is made only if the upstream honours keys.
    """
    stage.upstream.streams.events.insert(0, KEEPALIVE)
    response_id = await cancelled_before_its_token(stage, honours_keys=honours)
    for _ in range(1 + honours):
        await stage.fire_alarms(response_id)
    assert stage.upstream.stopped == ["up_0"] * honours
    assert stage.upstream.begun == {response_id: 1}
    assert await stage.kinds(response_id) == [Kind.PURGE]


async def test_learning_what_to_stop_is_repeated_while_the_upstream_is_unavailable(stage: Stage) -> None:
    """If the upstream is unavailable when the create is repeated, it is repeated later, until the work is stopped."""
    response_id = await cancelled_before_its_token(stage)
    stage.upstream.streams.run_errors = [UpstreamUnavailable("x"), UpstreamUnavailable("x", retry_after_s=40)]
    waits_s = []
    for _ in range(2):
        await stage.fire_alarms(response_id)
        (alarm,) = [one for one in await stage.alarms(response_id) if one.kind is Kind.RUN]
        waits_s.append((alarm.due_ms - stage.clock.ms) // 1000)
    assert waits_s == [1, 41]
    for _ in range(2):
        await stage.fire_alarms(response_id)
    assert stage.upstream.stopped == ["up_0"]
    assert await stage.kinds(response_id) == [Kind.PURGE]


async def test_a_stream_that_never_names_its_work_is_left(stage: Stage) -> None:
    """Its signs of life show that something lives, and not what to stop. So it does not hold a sweep.

    The create is repeated later, until it names the work.
    """
    stage.pace(learn_s=0.5)
    response_id = await cancelled_before_its_token(stage)
    work = stage.upstream.works["up_0"]
    told, work.events, stage.upstream.streams.pause_s = work.events, [KEEPALIVE] * 10_000, 0.01
    await stage.fire_alarms(response_id)
    assert (stage.upstream.stopped, stage.upstream.streams.opened - stage.upstream.streams.closed) == ([], 0)
    work.events, stage.upstream.streams.pause_s = told, 0.0
    for _ in range(2):
        await stage.fire_alarms(response_id)
    assert stage.upstream.stopped == ["up_0"]
    assert await stage.kinds(response_id) == [Kind.PURGE]


@pytest.mark.parametrize("events", [None, [KEEPALIVE]], ids=["refused", "no id"])
async def test_work_that_cannot_be_learned_is_not_stopped(stage: Stage, events: list[dict[str, object]] | None) -> None:
    """If the upstream refuses the repeated create, or names no work, there is nothing to stop."""
    response_id = await cancelled_before_its_token(stage)
    if events is None:
        stage.upstream.streams.run_errors = [UpstreamRefused(400, "No.")]
    else:
        stage.upstream.works["up_0"].events = events
    await stage.fire_alarms(response_id)
    assert len(stage.upstream.streams.runs) == 2
    assert stage.upstream.stopped == []
    assert await stage.kinds(response_id) == [Kind.PURGE]
