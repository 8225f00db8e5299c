"""Runs in place whose upstream takes nothing at first: who goes on, and who is told of a later refusal."""

import asyncio
from collections.abc import Callable

import pytest

from shared.core.alarms import Kind
from shared.core.errors import RefusedByUpstream
from shared.core.states import Status
from shared.storage.messages import RunOffer
from tests.support.fakes.streams import story
from tests.support.in_place_calls import AWAY, CUT, REFUSAL, call_of, run_id, stream_of
from tests.support.run_holders import reaches
from tests.support.stage import Stage
from tests.support.stream_clients import (
    expected_lines,
    kinds,
    lines_of,
    offers,
    streamed,
)


@pytest.fixture(autouse=True)
def foreground(stage: Stage) -> None:
    """Make the upstream a foreground one."""
    stage.upstream.is_background = False


async def tried_again_elsewhere(stage: Stage) -> str:
    """Let another process make the next try of the only run, at its time or turn. Return the id of the response."""
    response_id = await run_id(stage)
    await reaches(stage, response_id, lambda record: record.run.epoch == 2)
    await stage.fire_alarms(response_id)
    await (await stage.process()).drive(RunOffer(response_id, 2))
    return response_id


async def test_a_try_that_began_nothing_is_continued_by_others(stage: Stage) -> None:
    """If the upstream takes nothing up, the run waits for its turn, and is then offered. The reader misses nothing."""
    stage.upstream.streams.run_errors = [AWAY]
    stage.pace(begin_s=0.1)
    reader = await streamed(stage, background=False)
    record = await reaches(stage, reader.id, lambda record: record.run.epoch == 2)
    assert (record.run.claimed, record.upstream.counted, record.upstream.starts) == (False, 0, 0)
    assert (record.acknowledged, record.wait.reason) == (True, "upstream_down")
    (alarm,) = await stage.alarms(reader.id)
    assert (alarm.kind, alarm.due_ms) == (Kind.START, record.deadline_ms)
    assert offers(stage, reader.id) == []
    await stage.fire_alarms(reader.id)
    assert offers(stage, reader.id) == [2]
    await (await stage.process()).drive(RunOffer(reader.id, 2))
    assert lines_of(await reader.rest()) == expected_lines(story(6))
    assert stage.upstream.begun == {reader.id: 1}


@pytest.mark.parametrize("make", [call_of, stream_of], ids=["whole", "stream"])
async def test_a_later_refusal_is_passed_on_while_nothing_is_answered(
    stage: Stage, make: Callable[[Stage], "asyncio.Task[object]"]
) -> None:
    """If another holder makes the next try and is refused, the call that still waits gets the refusal.

    The try before may have begun the work. So the run was released until its next try, and not promised to anybody.
    """
    stage.upstream.streams.run_errors = [CUT, REFUSAL]
    call = make(stage)
    await tried_again_elsewhere(stage)
    with pytest.raises(RefusedByUpstream, match="No such model"):
        await call


async def test_a_refusal_fails_a_call_that_has_waited_in_a_line(stage: Stage) -> None:
    """What waits in a line is promised, so a refusal at its turn hides nothing: the call ends as failed."""
    stage.upstream.streams.run_errors = [AWAY, REFUSAL]
    call = call_of(stage)
    response_id = await tried_again_elsewhere(stage)
    ended = await call
    assert (ended.status, ended.deleted) == (Status.FAILED, False)
    assert (await stage.shown(response_id))["error"]["message"] == "No such model."


async def test_a_refusal_fails_a_stream_that_has_waited_in_a_line(stage: Stage) -> None:
    """Its reader gets the whole stream, from `created` to `failed`, although nothing of it was answered before."""
    stage.upstream.streams.run_errors = [AWAY, REFUSAL]
    stream = stream_of(stage)
    response_id = await tried_again_elsewhere(stage)
    assert kinds(await (await stream).rest()) == ["created", "error", "failed"]
    record = await stage.record(response_id)
    assert (record.status, record.deleted, record.upstream.refusal) == (Status.FAILED, False, 0)
