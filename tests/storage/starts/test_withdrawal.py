"""Withdrawal: a foreground call of an upstream without background mode gets the upstream's refusal as its answer."""

import asyncio
from typing import Any

import pytest

from shared.contract.requests import parse_request
from shared.core.errors import NotFound, RefusedByUpstream, UpstreamError, UpstreamFailed, UpstreamRefused
from shared.core.records import Record
from shared.core.states import Status
from shared.storage.messages import RUNS, RunOffer
from tests.support.conditions import until
from tests.support.fakes.streams import story
from tests.support.foreground_calls import called
from tests.support.run_holders import driving
from tests.support.stage import ANN, CALLBACK_URL, Stage
from tests.support.stream_clients import QUICK, Reader, expected_lines, kinds, lines_of, streamed

REFUSAL = UpstreamRefused(404, "No such model.", param="model", code="model_not_found", kind="not_found_error")


@pytest.fixture(autouse=True)
def foreground(stage: Stage) -> None:
    """Make the upstream a foreground one whose runs are offered on the queue, and every wait of a stream short."""
    stage.limit(watch=False)
    stage.upstream.is_background = False
    stage.pace(**QUICK)


async def offered_id(stage: Stage) -> str:
    """Wait until a run is offered, and return the id of its response."""

    async def is_offered() -> bool:
        return any(sent.queue == RUNS for sent in stage.sent)

    await until(is_offered)
    return str(next(sent for sent in stage.sent if sent.queue == RUNS).content["response"])


async def refused(stage: Stage, call: "asyncio.Task[Any]", error: UpstreamError = REFUSAL) -> tuple[str, Any]:
    """Let the run of a waiting call be refused. Return the id of its response, and what the call returns or raises."""
    stage.upstream.streams.run_errors = [error]
    response_id = await offered_id(stage)
    await driving(stage.engine, response_id, 1)
    await asyncio.wait([call])
    return response_id, call.exception() or call.result()


def call_of(stage: Stage, **fields: Any) -> "asyncio.Task[Record]":
    """Make a call that waits for its end."""
    return asyncio.create_task(stage.create(**{"background": False, **fields}))


def stream_of(stage: Stage, **fields: Any) -> "asyncio.Task[Reader]":
    """Make a foreground call for a stream."""
    return asyncio.create_task(streamed(stage, background=False, **fields))


@pytest.mark.parametrize("make", [call_of, stream_of], ids=["whole", "stream"])
async def test_a_call_that_waits_is_answered_with_the_refusal(stage: Stage, make: Any) -> None:
    """The status, the message and the other members are those of the upstream, and SDKs raise as they do directly.

    The response is hidden at once and purged soon.
    """
    response_id, outcome = await refused(stage, make(stage))
    assert isinstance(outcome, RefusedByUpstream)
    assert outcome.status == 404
    error = {"message": "No such model.", "type": "not_found_error", "param": "model", "code": "model_not_found"}
    assert outcome.envelope() == {"error": error}
    with pytest.raises(NotFound):
        await stage.shown(response_id)
    stage.clock.advance(2)
    await stage.sweep(response_id)
    assert await stage.ports.store.read(response_id) is None
    assert await stage.alarms(response_id) == []


async def test_a_repeat_gets_the_same_refusal_and_after_the_purge_a_new_try(stage: Stage) -> None:
    """A refusal leaves nothing behind. Until it is gone, it is the answer of every repeat with the key."""
    response_id, _ = await refused(stage, call_of(stage, key="k"))
    with pytest.raises(RefusedByUpstream, match="No such model"):
        await stage.create(background=False, key="k")
    stage.clock.advance(2)
    await stage.sweep(response_id)
    again = call_of(stage, key="k")
    await driving(stage.engine, await offered_id(stage), 1)

    async def is_accepted() -> bool:
        return await stage.ports.store.read(response_id) is not None

    await until(is_accepted)
    await driving(stage.engine, response_id, 1)
    assert (await again).status is Status.COMPLETED


async def test_two_calls_that_wait_for_one_response_are_both_refused(stage: Stage) -> None:
    """A repeat that has joined waits for the end, too, and gets the same answer, whoever hides the response first."""
    calls = [call_of(stage, key="k") for _ in range(3)]
    _, outcome = await refused(stage, calls[0])
    others = await asyncio.gather(*calls[1:], return_exceptions=True)
    assert [type(one) for one in (outcome, *others)] == [RefusedByUpstream] * 3


@pytest.mark.parametrize(
    "error", [UpstreamRefused(302, "Elsewhere."), UpstreamRefused(501, "Never."), UpstreamFailed("c", "No.")]
)
async def test_only_a_4xx_is_passed_on(stage: Stage, error: UpstreamError) -> None:
    """A redirect, a 501 or an error in a 200 ends the response as failed, and the call shows it."""
    response_id, outcome = await refused(stage, call_of(stage), error)
    assert isinstance(outcome, Record)
    assert outcome.status is Status.FAILED
    assert (await stage.shown(response_id))["error"].keys() == {"code", "message", "type", "param"}


async def test_a_background_caller_finds_a_failed_response(stage: Stage) -> None:
    """It has the id, so the response stays, with the words of the refusal."""
    made = await stage.create()
    stage.upstream.streams.run_errors = [REFUSAL]
    await stage.engine.drive(RunOffer(made.id, 1))
    assert (await stage.record(made.id)).upstream.refusal == 0
    assert (await stage.shown(made.id))["error"]["code"] == "model_not_found"


async def test_an_end_that_is_also_sent_elsewhere_is_not_hidden(stage: Stage) -> None:
    """The call is refused, and the receiver of the callback can still read the response of which it is told."""
    stage.limit(watch=True)  # a run with a callback is offered in any case
    response_id, outcome = await refused(stage, call_of(stage, callback_url=CALLBACK_URL))
    assert isinstance(outcome, RefusedByUpstream)
    await stage.deliver()
    assert len(stage.receiver.posts) == 1
    assert (await stage.shown(response_id))["status"] == "failed"


async def test_a_caller_that_has_the_id_is_not_contradicted(stage: Stage) -> None:
    """If the wait is over before the work has begun, the caller gets the id. A later refusal fails the response.

    A repeat then finds the failed response, and hides nothing.
    """
    new = parse_request(b'{"model": "m", "input": "question"}')
    _, body = await stage.engine.create(ANN, new, "k", 0)
    response_id = await offered_id(stage)
    assert b'"queued"' in body
    assert (await stage.record(response_id)).acknowledged
    stage.upstream.streams.run_errors = [REFUSAL]
    await driving(stage.engine, response_id, 1)
    again, _ = await called(stage.engine, ANN, new, "k")
    assert (again.id, again.status, again.deleted) == (response_id, Status.FAILED, False)


async def test_a_stream_that_begins_late_has_its_first_event_in_time(stage: Stage) -> None:
    """If the upstream says nothing for long, the stream begins without it. A later refusal ends the stream."""
    stage.pace(begin_s=0.1)
    stage.upstream.streams.run_errors = [REFUSAL]
    reader = await streamed(stage, background=False)
    assert (await stage.record(reader.id)).acknowledged
    await driving(stage.engine, reader.id, 1)
    received = await reader.rest()
    assert kinds(received) == ["created", "error", "failed"]
    assert received[1][1] == {"type": "error", "code": "model_not_found", "message": "No such model.", "param": "model"}
    assert not (await stage.record(reader.id)).deleted


async def test_a_foreground_stream_of_accepted_work_is_complete(stage: Stage) -> None:
    """A stream that has waited for its upstream begins with the first event and has all others."""
    making = stream_of(stage)
    response_id = await offered_id(stage)
    await driving(stage.engine, response_id, 1)
    assert lines_of(await (await making).rest()) == expected_lines(story(6))
