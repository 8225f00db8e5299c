"""The consumer of a foreground upstream: its connection is the work, and work that breaks off is started again."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest

from shared.core.alarms import Kind
from shared.core.errors import UpstreamError, UpstreamInvalid, UpstreamMissing, UpstreamRefused, UpstreamUnavailable
from shared.core.states import Status
from shared.storage.messages import RunOffer
from shared.transitions.run_transitions import RESERVED_BLOCK
from shared.upstreams.protocol import UpstreamEvent
from tests.support.fakes.peers import Outcome
from tests.support.fakes.streams import KEEPALIVE, Streams, story
from tests.support.run_holders import die, driving, logged, told_and_crashed
from tests.support.stage import ANN, Stage
from tests.support.stream_clients import Reader, expected_lines, kinds, lines_of, numbers, replayed, streamed, text

ANSWER = "question answered"


@pytest.fixture(autouse=True)
def foreground(stage: Stage) -> None:
    """Make the upstream a foreground one."""
    stage.upstream.is_background = False


async def driven(stage: Stage) -> "tuple[Reader, asyncio.Task[None]]":
    """Create a streamed response. Return its reader, and a task for the run that drives it."""
    reader = await streamed(stage)
    return reader, driving(stage.engine, reader.id, 1)


# Work that is started again


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
    await stage.fire_alarms(reader.id)
    await (await stage.process()).drive(RunOffer(reader.id, 2))
    received = await reader.rest()
    assert received[6][0] >= reserved
    assert kinds(received)[6:8] == ["in_progress", "output_text.delta"]
    assert text(received) == "d0d1d2d3d4d5"
    assert stage.upstream.begun == {reader.id: 2}


@pytest.mark.usefixtures("waits")
async def test_an_unavailable_upstream_does_not_flood_readers(stage: Stage) -> None:
    """While work that broke off cannot be started again, readers get no event. The run waits for its turn.

    They get one `in_progress` once it has started.
    """
    stage.upstream.streams.breaks = [4]
    gate = stage.upstream.streams.hold(3)
    reader, running = await driven(stage)
    await gate.reached.wait()
    stage.upstream.streams.run_errors = [UpstreamUnavailable("x")] * 100
    gate.open()
    await running
    record = await stage.record(reader.id)
    assert (record.run.epoch, record.run.claimed, record.log.next_seq) == (2, False, 4)
    assert (await stage.kinds(reader.id), record.wait.reason) == ([Kind.START], "upstream_down")
    for epoch in (2, 3, 4):
        await stage.fire_alarms(reader.id)
        assert await stage.kinds(reader.id) == [Kind.RUN]
        if epoch == 4:
            stage.upstream.streams.run_errors = []
        await stage.engine.drive(RunOffer(reader.id, epoch))
    received = await reader.rest()
    again = [event for event in story(6) if event["type"] != "response.created"]
    assert lines_of(received) == [
        *expected_lines(story(6))[:4],
        *((n + 3, *line[1:]) for n, line in enumerate(expected_lines(again), 1)),
    ]


# Earlier work


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


@pytest.mark.parametrize(
    "outcome",
    [Status.CANCELLED, UpstreamMissing(), UpstreamRefused(400, "No."), UpstreamInvalid()],
    ids=["cancelled", "unknown", "refused", "unusable"],
)
async def test_work_that_does_not_go_on_upstream_is_started_again(
    stage: Stage, waits: list[float], outcome: Outcome
) -> None:
    """If the upstream has stopped the earlier work, or cannot say how far it is, the work is started again."""
    stage.upstream.forgets = False
    stage.upstream.course = [outcome]
    stage.upstream.streams.breaks = [4]
    reader, running = await driven(stage)
    await running
    assert stage.upstream.streams.runs == [reader.id] * 2
    assert text(await reader.rest()) == "d0d1d2d3d4d5"
    assert waits == [1]


async def test_earlier_work_is_not_started_again_while_the_upstream_is_away(stage: Stage, waits: list[float]) -> None:
    """While the upstream cannot be asked for the earlier work, the holder waits. Then it uses the work's result."""
    stage.upstream.forgets = False
    stage.upstream.course = [Status.COMPLETED]
    stage.upstream.streams.breaks = [4]
    stage.upstream.poll_errors = [UpstreamUnavailable("x")] * 2
    reader, running = await driven(stage)
    await running
    assert stage.upstream.streams.runs == [reader.id]
    assert text(await reader.rest()) == ANSWER
    assert waits == [1, 1, 2]


# Event numbers


@dataclass
class Zeros(Streams):
    """Streams of an upstream that gives every event the same number."""

    def _sent(self, place: int, event: dict[str, Any], answer: dict[str, Any]) -> UpstreamEvent:
        return replace(super()._sent(place, event, answer), number=0)


async def test_numbers_that_do_not_grow_lose_no_event(stage: Stage) -> None:
    """The event numbers of a foreground upstream are ignored, so events whose numbers do not grow are all sent."""
    stage.upstream.streams = Zeros()
    reader, running = await driven(stage)
    await running
    assert lines_of(await reader.rest()) == expected_lines(story(6))


async def test_numbers_of_keepalives_lose_no_event(stage: Stage) -> None:
    """If work is started again after a break, its lower event numbers are not mistaken for known events.

    The first stream had reached a higher number through keepalives.
    """
    streams = stage.upstream.streams
    streams.events = [*story(0)[:1], *[KEEPALIVE] * 3, *story(0)[1:]]
    streams.breaks = [4]
    gate = streams.hold(1)
    reader, running = await driven(stage)
    await gate.reached.wait()
    streams.events = story(6)
    gate.open()
    await running
    assert lines_of(await reader.rest()) == expected_lines(story(6))


# Ends


async def test_an_error_in_a_foreground_stream_ends_the_work(stage: Stage) -> None:
    """An `error` event of a foreground upstream fails the response with the upstream's code and message."""
    stage.upstream.streams.events = [*story(1)[:-1], {"type": "error", "code": "rate_limit", "message": "Too much."}]
    reader = await streamed(stage)
    await stage.engine.drive(RunOffer(reader.id, 1))
    received = await reader.rest()
    assert kinds(received)[-2:] == ["error", "failed"]
    error = {"code": "rate_limit", "message": "Too much.", "type": "server_error", "param": None}
    assert received[-1][1]["response"]["error"] == error


async def test_a_request_that_is_refused_later_fails(stage: Stage) -> None:
    """If the upstream refuses a request after its caller knows the response, the response fails with that refusal."""
    stage.upstream.streams.run_errors = [UpstreamRefused(400, "No such model.", code="model_not_found")]
    reader = await streamed(stage)
    await stage.engine.drive(RunOffer(reader.id, 1))
    received = await reader.rest()
    error = {"code": "model_not_found", "message": "No such model.", "type": "invalid_request_error", "param": None}
    assert received[-1][1]["response"]["error"] == error


@pytest.mark.parametrize("error", [UpstreamRefused(404, "No such model."), UpstreamInvalid("no JSON")])
async def test_the_end_of_a_takeover_is_after_all_that_a_reader_has_seen(stage: Stage, error: UpstreamError) -> None:
    """The first holder has told five events and stored none of them. The second one tells nothing but an end."""
    reader, seen = await told_and_crashed(stage)
    stage.upstream.streams.run_errors = [error] * 3
    while not (await stage.record(reader.id)).status.is_terminal:
        await stage.fire_alarms(reader.id)
        await (await stage.process()).drive(RunOffer(reader.id, (await stage.record(reader.id)).run.epoch))
    rest = await replayed(stage, reader.id, seen[-1][0])
    assert kinds(rest) == ["error", "failed"]
    assert numbers(rest) == [RESERVED_BLOCK + 1, RESERVED_BLOCK + 2]


async def test_a_cancel_closes_a_connection_that_has_sent_nothing(stage: Stage) -> None:
    """A cancel closes a foreground upstream's connection that has sent nothing, because there is no id to wait for."""
    gate = stage.upstream.streams.hold(0)
    reader, running = await driven(stage)
    await gate.reached.wait()
    await stage.engine.cancel(ANN, reader.id)
    async with asyncio.timeout(2):
        await running
    assert stage.upstream.streams.closed == stage.upstream.streams.opened == 1
