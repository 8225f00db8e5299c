"""Submission of a run. Whole runs are in tests/storage/runs, and runs that wait for their turn in test_turns."""

import os
from typing import Any

import pytest

from shared.core.alarms import Kind
from shared.core.errors import TooLarge
from shared.core.ids import new_id
from shared.core.records import ExecutionMode, Record, RequestInfo
from shared.starts.run_submission import submit_run
from tests.support.stage import ANN, Stage

REQUEST: dict[str, Any] = {"model": "m", "input": "q"}


def new_record(stage: Stage, *, stream: bool = False) -> Record:
    """Return the record of a response that is not stored yet."""
    now_ms = stage.clock.now_ms()
    request = RequestInfo(model="m", background=True, stream=stream)
    return Record(new_id(), ANN.name, now_ms, now_ms + 60_000, request=request)


@pytest.mark.parametrize("held", [True, False])
async def test_a_run_is_held_or_offered(stage: Stage, held: bool) -> None:
    """One transaction accepts it. With a reader, its first event is there."""
    submitted = await submit_run(stage.ports, new_record(stage, stream=True), REQUEST, held=held)
    assert (submitted.record.run.mode, submitted.record.run.claimed) == (ExecutionMode.RUN, held)
    assert (submitted.alarm is not None, b"response.created" in submitted.first_frame) == (held, held)
    assert await stage.kinds(submitted.record.id) == [Kind.RUN]


async def test_a_permit_comes_before_the_run(stage: Stage) -> None:
    """Two transactions then: the response, and the run. A death between them leaves a `start` alarm."""
    stage.treat(limits={"*": 1})
    submitted = await submit_run(stage.ports, new_record(stage), REQUEST, held=True)
    assert (submitted.record.run.claimed, submitted.alarm is not None) == (True, True)
    assert await stage.kinds(submitted.record.id) == [Kind.RUN]
    waiting = await submit_run(stage.ports, new_record(stage), REQUEST, held=True)
    assert (waiting.record.run.claimed, waiting.alarm) == (False, None)
    assert await stage.kinds(waiting.record.id) == [Kind.START]


async def test_gates_that_cannot_be_asked_delay_a_run(stage: Stage) -> None:
    """It is accepted. Its alarm goes on."""
    stage.treat(limits={"*": 1})
    stage.proxy.refuse(lambda request: "gate" in request.path)
    submitted = await submit_run(stage.ports, new_record(stage), REQUEST, held=True)
    assert submitted.alarm is None
    assert await stage.kinds(submitted.record.id) == [Kind.START]


async def test_a_request_over_the_limit_is_not_accepted(stage: Stage) -> None:
    """With its first event it must fit into one transaction."""
    huge = {"model": "m", "input": os.urandom(2_700_000).hex()}
    with pytest.raises(TooLarge):
        await submit_run(stage.ports, new_record(stage), huge, held=False)
