"""Cancelling: a cancel is final, and the upstream's work is stopped even if its token is not known yet."""

import asyncio

import orjson
import pytest

from shared.core.alarms import Kind
from shared.core.errors import BadRequest, UpstreamRefused, UpstreamUnavailable
from shared.core.records import Record
from shared.core.states import Status
from tests.support.log_capture import WrittenLines, log_events
from tests.support.stage import ANN, CALLBACK_URL, Stage

OUTAGE = UpstreamUnavailable("ConnectError")
HOUR_S, DAY_S = 3_600, 86_400


async def cancel(stage: Stage, response_id: str) -> Record:
    """Cancel a response as its caller."""
    record, _ = await stage.engine.cancel(ANN, response_id)
    return record


async def held_start(stage: Stage) -> "tuple[asyncio.Task[Record], str]":
    """Begin a response whose start gets no answer. Return the task that starts it, and its id."""
    gate = stage.upstream.hold_starts()
    starter = asyncio.create_task(stage.create())
    await gate.reached.wait()
    ((response_id, _),) = stage.upstream.starts.items()
    return starter, response_id


async def cancelled_before_its_token(stage: Stage) -> str:
    """Return the id of a cancelled response whose process crashed before it knew what to stop."""
    starter, response_id = await held_start(stage)
    await cancel(stage, response_id)
    starter.cancel()
    await asyncio.wait([starter])
    stage.upstream.start_gate = None
    return response_id


async def test_a_cancel_ends_the_response_and_stops_the_work(stage: Stage) -> None:
    """A cancel ends the response at once, and the sweep that it asks for stops the upstream's work."""
    made = await stage.create()
    assert (await cancel(stage, made.id)).status is Status.CANCELLED
    shown = await stage.shown(made.id)
    assert (shown["status"], shown["output"], shown["continuation_token"]) == ("cancelled", [], None)
    assert await stage.kinds(made.id) == [Kind.STOP, Kind.POLL, Kind.PURGE]
    assert stage.wakeups(made.id)[-1].delay_s == 0

    await stage.sweep(made.id)
    assert stage.upstream.stopped == ["up_0"]
    await stage.run_out(made.id)
    assert (await stage.record(made.id)).status is Status.CANCELLED


async def test_cancelling_again_changes_nothing(stage: Stage) -> None:
    """A second cancel returns the same response, and the upstream's work is stopped once."""
    made = await stage.create()
    first, second = await cancel(stage, made.id), await cancel(stage, made.id)
    assert first == second
    await stage.run_out(made.id)
    assert stage.upstream.stopped == ["up_0"]


@pytest.mark.parametrize(
    ("status", "background", "message"),
    [
        (Status.COMPLETED, True, "Cannot cancel a completed response."),
        (Status.FAILED, True, "Cannot cancel a failed response."),
        (Status.INCOMPLETE, True, "Cannot cancel an incomplete response."),
        (Status.COMPLETED, False, "Cannot cancel a synchronous response."),
    ],
)
async def test_an_ended_response_cannot_be_cancelled(
    stage: Stage, status: Status, background: bool, message: str
) -> None:
    """A cancel of an ended or synchronous response is refused in the contract's words."""
    stage.upstream.first = status
    made = await stage.create(background=background)
    with pytest.raises(BadRequest) as refused:
        await cancel(stage, made.id)
    assert refused.value.message == message
    assert await stage.record(made.id) == made


# Before the token is known


async def test_a_cancel_during_the_start_stops_the_work_once_it_is_known(stage: Stage) -> None:
    """If a response is cancelled during its start, its starter writes a stop alarm as soon as it knows the token."""
    starter, response_id = await held_start(stage)
    assert (await cancel(stage, response_id)).status is Status.CANCELLED
    assert stage.upstream.start_gate is not None
    stage.upstream.start_gate.open()
    assert (await starter).status is Status.CANCELLED
    assert await stage.kinds(response_id) == [Kind.STOP, Kind.PURGE]
    await stage.sweep(response_id)
    assert stage.upstream.stopped == ["up_0"]


async def test_the_work_of_a_crashed_starter_is_learned_and_stopped(stage: Stage) -> None:
    """If the starter crashed and keys are honoured, the start alarm repeats the create to learn the token to stop.

    No second work is started.
    """
    stage.treat(honours_keys=True)
    response_id = await cancelled_before_its_token(stage)
    await stage.run_out(response_id)
    assert stage.upstream.stopped == ["up_0"]
    assert list(stage.upstream.works) == ["up_0"]
    assert (await stage.record(response_id)).status is Status.CANCELLED


async def test_work_is_not_started_again_only_to_be_stopped(stage: Stage) -> None:
    """If keys are not honoured, a repeated create would start new work. So the alarm is removed without a create."""
    response_id = await cancelled_before_its_token(stage)
    await stage.run_out(response_id)
    assert stage.upstream.starts == {response_id: 1}
    assert stage.upstream.stopped == []


async def test_learning_what_to_stop_backs_off_and_ends_after_a_day(stage: Stage) -> None:
    """While the upstream is unavailable, the create that learns the token is repeated at growing intervals.

    This goes on after the deadline and is given up a day later.
    """
    stage.treat(honours_keys=True)
    stage.limit(deadline_ms=2 * HOUR_S * 1000)
    response_id = await cancelled_before_its_token(stage)
    stage.upstream.start_errors = [OUTAGE] * 100_000
    stage.clock.advance(2 * HOUR_S)
    before = stage.upstream.starts[response_id]
    until_ms = stage.clock.ms + 600_000
    while stage.clock.ms < until_ms:
        await stage.fire_alarms(response_id)
    assert stage.upstream.starts[response_id] - before <= 40

    stage.clock.advance(DAY_S)
    await stage.sweep(response_id)
    assert await stage.kinds(response_id) == [Kind.PURGE]


# Stopping the work upstream


async def test_a_stop_that_fails_is_repeated(stage: Stage) -> None:
    """A stop that fails is repeated with back-off until the upstream confirms it."""
    made = await stage.create()
    stage.upstream.stop_errors = [OUTAGE] * 4
    await cancel(stage, made.id)
    began_ms = stage.clock.ms
    await stage.run_out(made.id)
    assert stage.upstream.stopped == ["up_0"]
    assert stage.clock.ms - began_ms == 8_000  # 1 + 1 + 2 + 4 s


async def test_a_stop_is_given_up_after_a_day(stage: Stage, written: WrittenLines) -> None:
    """A stop that has failed for a day is given up and logged as an error."""
    made = await stage.create()
    stage.upstream.stop_errors = [OUTAGE] * 10
    await cancel(stage, made.id)
    await stage.sweep(made.id)
    stage.clock.advance(DAY_S)
    await stage.run_out(made.id)
    assert log_events(written, "error") == ["stop.given_up"]
    assert stage.upstream.stopped == []


async def test_a_stop_that_is_refused_is_given_up_after_four_tries(stage: Stage, written: WrittenLines) -> None:
    """An upstream that answers 409 may have locked the work for a moment. If it goes on, it cannot stop it."""
    refusal = UpstreamRefused(409, "only background responses can be cancelled")
    made = await stage.create()
    stage.upstream.stop_errors = [refusal] * 3
    await cancel(stage, made.id)
    await stage.run_out(made.id)
    assert stage.upstream.stopped == ["up_0"]
    assert "stop.refused" not in log_events(written, "warning")

    second = await stage.create()
    stage.upstream.stop_errors = [refusal] * 10
    await cancel(stage, second.id)
    await stage.run_out(second.id)
    assert log_events(written, "warning").count("stop.refused") == 1
    assert len(stage.upstream.stop_errors) == 6


# Races


async def test_an_end_after_the_cancel_is_ignored(stage: Stage) -> None:
    """A poll that returns the answer after the response was cancelled changes nothing."""
    stage.upstream.course = [Status.COMPLETED]
    made = await stage.create()
    gate = stage.upstream.hold_polls()
    poll = asyncio.create_task(stage.fire_alarms(made.id))
    await gate.reached.wait()
    cancelled = await cancel(stage, made.id)
    gate.open()
    await poll
    assert await stage.record(made.id) == cancelled
    assert (await stage.shown(made.id))["output"] == []


@pytest.mark.parametrize("turn", range(5))
async def test_a_cancel_and_an_end_at_once_leave_one_terminal_status(stage: Stage, turn: int) -> None:
    """If a cancel, a sweep and a GET end a response at the same time, one of them wins and one event is sent."""
    stage.upstream.course = [Status.COMPLETED]
    made = await stage.create(callback_url=CALLBACK_URL, input=str(turn))
    stage.clock.advance(1)
    enders = [stage.engine.retrieve(ANN, made.id), cancel(stage, made.id), stage.sweep(made.id)]
    results = await asyncio.gather(*enders[turn % 3 :], *enders[: turn % 3], return_exceptions=True)
    ended = await stage.record(made.id)
    assert ended.status in {Status.CANCELLED, Status.COMPLETED}
    assert all(isinstance(result, BadRequest) for result in results if isinstance(result, Exception))

    await stage.deliver()
    await stage.run_out(made.id)
    (post,) = stage.receiver.posts
    assert orjson.loads(post.body)["type"] == f"response.{ended.status}"
    assert orjson.loads(post.body)["data"]["status"] == ended.status


async def test_a_cancel_whose_answer_was_lost_succeeds(stage: Stage) -> None:
    """If storage loses the answer to a cancel, the caller still gets the cancelled response and the work is stopped."""
    made = await stage.create()
    lost = stage.proxy.drop_answer(lambda request: request.kind == "POST $batch")
    assert (await cancel(stage, made.id)).status is Status.CANCELLED
    assert lost.happened.is_set()
    await stage.run_out(made.id)
    assert stage.upstream.stopped == ["up_0"]
