"""Runs of a foreground upstream: its connection is the work, and work that breaks off is started again."""

import pytest

from shared.core.errors import UpstreamRefused
from shared.core.states import Status
from shared.storage.messages import RunOffer
from tests.support.fakes.streams import story
from tests.support.run_holders import die, driving, logged
from tests.support.stage import CALLBACK_URL, Stage, until
from tests.support.stream_clients import QUICK, kinds, numbers, replayed, streamed, text

ANSWER = "question answered"


@pytest.fixture(autouse=True)
def foreground(stage: Stage) -> None:
    """Make the upstream a foreground one, and all waits short."""
    stage.upstream.is_background = False
    stage.pace(**QUICK)


async def test_work_that_breaks_off_is_started_again_at_most_three_times(stage: Stage) -> None:
    """Work that breaks off is started again three times, then the response fails with `upstream_lost`.

    Events that were sent stay in the stream, and each try begins with one `in_progress`.
    """
    stage.upstream.streams.breaks = [4] * 10
    reader = await streamed(stage)
    await stage.engine.drive(RunOffer(reader.id, 1))
    received = await reader.rest()
    assert stage.upstream.begun == {reader.id: 4}
    tries = ["in_progress", "output_text.delta", "output_text.delta"]
    assert kinds(received) == ["created", *tries * 4, "error", "failed"]
    assert received[-1][1]["response"]["error"]["code"] == "upstream_lost"
    assert numbers(received) == list(range(len(received)))


async def test_readers_see_that_the_work_was_started_again(stage: Stage) -> None:
    """When the work is started again, a second `in_progress` voids the events before it.

    A full replay leaves them out.
    """
    stage.upstream.streams.breaks = [5]
    reader = await streamed(stage)
    await stage.engine.drive(RunOffer(reader.id, 1))
    received = await reader.rest()
    assert kinds(received).count("in_progress") == 2
    assert text(received) == "d0d1d2d3d4d5"
    restarted = (await stage.record(reader.id)).log.valid_from
    assert received[restarted][1]["type"] == "response.in_progress"
    again = await replayed(stage, reader.id)
    assert again == [received[0], *received[restarted:]]


async def test_work_started_again_is_numbered_above_everything_sent(stage: Stage) -> None:
    """After a crash, the next holder's `in_progress` has a number at or above the reserved ones."""
    stage.upstream.streams.hold(6)
    reader = await streamed(stage)
    running = driving(stage.engine, reader.id, 1)
    await reader.take(5)
    reserved = (await logged(stage, reader.id, 6)).log.high_water_mark
    await die(running)
    stage.upstream.streams.gates = {}
    await stage.ring(reader.id)
    await (await stage.process()).drive(RunOffer(reader.id, 2))
    received = await reader.rest()
    assert received[6][0] >= reserved
    assert kinds(received)[6:8] == ["in_progress", "output_text.delta"]
    assert text(received) == "d0d1d2d3d4d5"
    assert stage.upstream.begun == {reader.id: 2}


@pytest.mark.parametrize("course", [[Status.COMPLETED], [Status.IN_PROGRESS, Status.COMPLETED]])
async def test_work_that_goes_on_upstream_is_not_started_again(stage: Stage, course: list[Status]) -> None:
    """Before it starts work again, a holder asks the upstream for it.

    If the work has finished, its result is used. If it is still running, it is polled.
    """
    stage.upstream.forgets = False
    stage.upstream.course = list(course)
    stage.upstream.streams.breaks = [4] * 10
    reader = await streamed(stage)
    await stage.engine.drive(RunOffer(reader.id, 1))
    await stage.finish(reader.id)
    received = await reader.rest()
    assert (text(received), kinds(received)[-1]) == (ANSWER, "completed")
    assert stage.upstream.begun == {reader.id: 1}
    assert stage.upstream.streams.runs == [reader.id]


async def test_a_response_that_is_not_streamed_has_no_log(stage: Stage) -> None:
    """A run without a stream writes no event rows. Its status, result and callback are those of any response."""
    gate = stage.upstream.streams.hold(4)
    made = await stage.create(callback_url=CALLBACK_URL)
    running = driving(stage.engine, made.id, 1)
    await gate.reached.wait()

    async def is_shown() -> bool:
        return bool((await stage.shown(made.id))["status"] == "in_progress")

    await until(is_shown)
    gate.open()
    await running
    shown = await stage.shown(made.id)
    assert (shown["status"], shown["output"][0]["content"][0]["text"]) == ("completed", ANSWER)
    assert await stage.ports.store.children(made.id, "event") == []
    await stage.deliver()
    assert len(stage.receiver.posts) == 1


async def test_an_error_in_a_foreground_stream_ends_the_work(stage: Stage) -> None:
    """An `error` event of a foreground upstream fails the response with the upstream's code and message."""
    stage.upstream.streams.events = [*story(1)[:-1], {"type": "error", "code": "rate_limit", "message": "Too much."}]
    reader = await streamed(stage)
    await stage.engine.drive(RunOffer(reader.id, 1))
    received = await reader.rest()
    assert kinds(received)[-2:] == ["error", "failed"]
    assert received[-1][1]["response"]["error"] == {"code": "rate_limit", "message": "Too much."}


async def test_a_request_that_is_refused_later_fails(stage: Stage) -> None:
    """If the upstream refuses a request after its caller knows the response, the response fails with that refusal."""
    stage.upstream.streams.run_errors = [UpstreamRefused(400, "No such model.", code="model_not_found")]
    reader = await streamed(stage)
    await stage.engine.drive(RunOffer(reader.id, 1))
    received = await reader.rest()
    assert received[-1][1]["response"]["error"] == {"code": "model_not_found", "message": "No such model."}
