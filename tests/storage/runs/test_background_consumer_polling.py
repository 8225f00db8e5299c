"""A background upstream whose stream is lost, or that answers without one: its work is polled, or read as one piece."""

import pytest

from shared.core.errors import UpstreamInvalid, UpstreamMissing, UpstreamRefused
from shared.core.states import Status
from shared.runs.background_consumer import MAX_BROKEN
from shared.storage.messages import RunOffer
from tests.support.fakes.streams import story
from tests.support.log_capture import WrittenLines, log_events
from tests.support.run_holders import die, held, logged, released
from tests.support.stage import Stage
from tests.support.stream_clients import (
    Received,
    kinds,
    numbers,
    replayed,
    resumed,
    streamed,
    text,
)

TOO_LATE = UpstreamRefused(400, "This response can no longer be streamed because it is more than 5 minutes old.")
ANSWER = "question answered"


async def orphaned(stage: Stage) -> list[Received]:
    """Kill the holder of a run after its client has read more events than were logged. Return those events."""
    config, stage.upstream.streams.gates = stage.ports.config, {}
    stage.pace(flush_s=600)
    first, gate = stage.upstream.streams.hold(2), stage.upstream.streams.hold(6)
    reader = await streamed(stage)
    await logged(stage, reader.id, 2)
    first.open()
    await reader.take(5)
    await die(held(stage))
    gate.open()
    stage.change(config=config)
    await stage.fire_alarms(reader.id)
    return reader.received


def id_of(received: list[Received]) -> str:
    """Return the id of the response that events belong to."""
    return str(received[0][1]["response"]["id"])


# A stream that is lost


async def test_a_stream_that_keeps_breaking_without_an_event_is_given_up(stage: Stage, waits: list[float]) -> None:
    """After four streams in a row that broke off without a new event, the work is polled."""
    stage.upstream.streams.breaks = [4, *[0] * 10]
    reader = await streamed(stage)
    await released(stage)
    assert len(stage.upstream.streams.follows) == MAX_BROKEN
    assert waits == [1, 1, 2]
    assert (await stage.record(reader.id)).run.mode == "poll"
    await stage.finish(reader.id)
    received = await reader.rest()
    assert (text(received), kinds(received)[-1]) == (ANSWER, "completed")


async def test_a_failure_that_only_the_stream_tells_is_not_believed(stage: Stage, written: WrittenLines) -> None:
    """A gateway whose own connection breaks ends its stream with `response.failed`, while the work goes on.

    The upstream is asked once. It does not call the work failed, so it is polled to its true end.
    """
    failure = {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "Cut."}}}
    stage.upstream.streams.events = [*story(2)[:-1], failure]
    reader = await streamed(stage)
    await released(stage)
    assert stage.upstream.polls == 1
    assert log_events(written, "warning") == ["run.polled"]
    await stage.finish(reader.id)
    received = await reader.rest()
    assert (text(received), kinds(received)[-1]) == (ANSWER, "completed")
    assert stage.upstream.begun == {reader.id: 1}


@pytest.mark.parametrize("confirms", [True, False])
async def test_a_failure_that_the_upstream_confirms_or_forgets_is_the_end(stage: Stage, confirms: bool) -> None:
    """The words of the stream are those of the response. An upstream that cannot be asked is believed, too."""
    failure = {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "Broken."}}}
    stage.upstream.streams.events, stage.upstream.course = [*story(2)[:-1], failure], [Status.FAILED]
    stage.upstream.poll_errors = [] if confirms else [UpstreamMissing()]
    reader = await streamed(stage)
    received = await reader.rest()
    assert received[-1][1]["response"]["error"]["message"] == "Broken."
    assert stage.upstream.polls == (1 if confirms else 0)


async def test_a_stream_without_event_numbers_is_not_resumed(stage: Stage) -> None:
    """A broken stream whose events have no numbers is not resumed.

    The work is polled, and its output reaches the reader as synthesized events.
    """
    stage.upstream.streams.numbered = False
    stage.upstream.streams.breaks = [4]
    reader = await streamed(stage)
    await reader.take(3)
    await released(stage)
    await stage.finish(reader.id)
    received = await reader.rest()
    assert text(received) == ANSWER
    assert stage.upstream.streams.follows == []
    assert stage.upstream.begun == {reader.id: 1}


@pytest.mark.parametrize("error", [TOO_LATE, UpstreamMissing()])
async def test_work_whose_stream_can_no_longer_be_resumed_is_polled(stage: Stage, error: Exception) -> None:
    """If the stream can no longer be resumed, the work is polled.

    Readers keep their events, and then get `in_progress`, the whole output and the end under higher numbers.
    """
    seen = await orphaned(stage)
    stage.upstream.streams.follow_errors = [error]
    await (await stage.process()).drive(RunOffer(id_of(seen), 2))
    record = await stage.record(id_of(seen))
    assert (record.run.mode, record.run.claimed) == ("poll", False)
    reader = await resumed(stage, record.id, 5)
    ended = await stage.finish(record.id)
    received = await reader.rest()
    assert kinds(received)[:2] == ["in_progress", "output_item.added"]
    assert (numbers(received)[0], ended.log.valid_from) == (record.log.high_water_mark, record.log.high_water_mark)
    assert numbers(received) == list(range(record.log.high_water_mark, ended.log.next_seq))
    assert (text([*seen, *received]), kinds(received)[-1]) == (ANSWER, "completed")
    assert stage.upstream.begun == {record.id: 1}


@pytest.mark.usefixtures("waits")
async def test_work_whose_stream_is_not_resumed_is_polled(stage: Stage) -> None:
    """If the upstream answers a resume with the unfinished object instead of events, the work is polled."""
    stage.upstream.course = [Status.IN_PROGRESS, Status.IN_PROGRESS, Status.COMPLETED]
    stage.upstream.streams.breaks = [4]
    gate = stage.upstream.streams.hold(3)
    reader = await streamed(stage)
    await gate.reached.wait()
    stage.upstream.streams.whole = True
    gate.open()
    await released(stage)
    assert (await stage.record(reader.id)).run.mode == "poll"
    assert len(stage.upstream.streams.follows) == 1
    await stage.finish(reader.id)
    received = await reader.rest()
    assert (text(received), kinds(received)[-1]) == ("question answered", "completed")
    assert kinds(received).count("in_progress") == 2  # once in the stream, and once before the synthesized events


@pytest.mark.parametrize("status", [Status.FAILED, Status.INCOMPLETE])
async def test_polled_work_may_fail_or_be_incomplete(stage: Stage, status: Status) -> None:
    """Polled work that fails or is incomplete ends its stream with that event."""
    stage.upstream.course = [Status.IN_PROGRESS, status]
    seen = await orphaned(stage)
    stage.upstream.streams.follow_errors = [TOO_LATE]
    await (await stage.process()).drive(RunOffer(id_of(seen), 2))
    await stage.finish(id_of(seen))
    received = await replayed(stage, id_of(seen), 5)
    assert kinds(received)[-1] == status.value
    assert numbers(received)[0] > 5


async def test_an_error_in_a_background_stream_does_not_end_the_work(stage: Stage) -> None:
    """After an `error` event of a background upstream, the work is polled, because it may have completed."""
    stage.upstream.streams.events = [*story(3)[:-1], {"type": "error", "code": "server_error", "message": "x"}]
    reader = await streamed(stage)
    await reader.take(4)
    await released(stage)
    await stage.finish(reader.id)
    received = await reader.rest()
    assert (text(received), kinds(received)[-1]) == (ANSWER, "completed")


@pytest.mark.usefixtures("waits")
async def test_work_whose_stream_is_resumed_with_no_events_at_all_is_polled(stage: Stage) -> None:
    """A page or an empty answer in place of the stream says nothing about the work, which goes on."""
    stage.upstream.streams.breaks = [4]
    stage.upstream.streams.follow_errors = [UpstreamInvalid()]
    reader = await streamed(stage)
    await released(stage)
    assert (await stage.record(reader.id)).run.mode == "poll"
    await stage.finish(reader.id)
    received = await reader.rest()
    assert (text(received), kinds(received)[-1]) == (ANSWER, "completed")
    assert (stage.upstream.begun, stage.upstream.stopped) == ({reader.id: 1}, [])


@pytest.mark.usefixtures("waits")
async def test_a_resumed_stream_that_leaves_out_events_is_told_whole(stage: Stage) -> None:
    """If an item was begun and is never done, readers lack text. They discard what they have, and get all of it."""
    item = {"type": "message", "id": "msg_1", "status": "in_progress", "content": []}
    begun = {"type": "response.output_item.added", "output_index": 0, "item": item}
    stage.upstream.streams.events = [*story(0)[:2], begun, *story(4)[2:]]
    stage.upstream.streams.breaks = [5]
    gate = stage.upstream.streams.hold(4)
    reader = await streamed(stage)
    await gate.reached.wait()
    (work,) = stage.upstream.works.values()
    work.events = [*work.events[:5], {"type": "keepalive"}, {"type": "keepalive"}, work.events[-1]]
    gate.open()
    received = await reader.rest()
    assert (text(received), kinds(received)[-1]) == (ANSWER, "completed")
    assert kinds(received).count("in_progress") == 2


# An answer in one piece


async def test_an_answer_in_one_piece_is_numbered_above_everything_sent(stage: Stage) -> None:
    """If a later holder gets the whole answer as JSON, its events are numbered above everything sent before."""
    seen = await orphaned(stage)
    reserved = (await stage.record(id_of(seen))).log.high_water_mark
    stage.upstream.streams.whole = True
    stage.upstream.works["up_0"].course = [Status.COMPLETED]
    await (await stage.process()).drive(RunOffer(id_of(seen), 2))
    received = await replayed(stage, id_of(seen), 5)
    assert kinds(received)[0] == "in_progress"
    assert numbers(received)[0] >= reserved
    assert text([*seen, *received]) == ANSWER


async def test_a_finished_answer_instead_of_a_stream_becomes_events(stage: Stage) -> None:
    """If the upstream ignores `stream` and answers with a finished object, its output is sent as synthesized events."""
    stage.upstream.streams.whole = True
    stage.upstream.course = [Status.COMPLETED]
    reader = await streamed(stage)
    received = await reader.rest()
    assert (kinds(received)[:2], kinds(received)[-1]) == (["created", "in_progress"], "completed")
    assert text(received) == ANSWER
    assert await replayed(stage, reader.id) == received


async def test_an_unfinished_answer_instead_of_a_stream_is_polled(stage: Stage) -> None:
    """If the upstream ignores `stream` and answers with unfinished work, the work is polled and not started again."""
    stage.upstream.streams.whole = True
    stage.upstream.course = [*[Status.IN_PROGRESS] * 10, Status.COMPLETED]
    reader = await streamed(stage)
    await released(stage)
    await stage.finish(reader.id)
    received = await reader.rest()
    assert (text(received), kinds(received)[-1]) == (ANSWER, "completed")
    assert stage.upstream.begun == {reader.id: 1}
