"""Runs when the upstream or storage fails: streams that break or can no longer be resumed, outages, lost answers."""

import pytest

from shared.core.errors import UpstreamMissing, UpstreamRefused, UpstreamUnavailable
from shared.core.states import Status
from shared.storage.messages import RunOffer
from tests.support.fakes.streams import story
from tests.support.log_capture import log_events
from tests.support.proxies.fault_proxy import is_read, is_transaction
from tests.support.run_holders import die, held, logged, offered, released
from tests.support.stage import Stage, until
from tests.support.stream_clients import (
    Received,
    expected_lines,
    kinds,
    lines_of,
    numbers,
    offers,
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
    gate = stage.upstream.streams.hold(6)
    reader = await streamed(stage)
    await reader.take(5)
    await die(held(stage))
    gate.open()
    stage.change(config=config)
    await stage.ring(reader.id)
    return reader.received


def id_of(received: list[Received]) -> str:
    """Return the id of the response that events belong to."""
    return str(received[0][1]["response"]["id"])


@pytest.mark.parametrize("cut", [1, 2, 4, 8])
async def test_a_stream_that_breaks_is_resumed_after_its_last_event(stage: Stage, cut: int) -> None:
    """A broken stream is resumed after its last event. The client reads the complete stream, wherever it broke."""
    stage.upstream.streams.breaks = [cut]
    reader = await streamed(stage)
    assert lines_of(await reader.rest()) == expected_lines(story(6))
    assert stage.upstream.streams.follows == [("up_0", cut - 1)]
    assert stage.upstream.begun == {reader.id: 1}


async def test_events_that_the_upstream_repeats_are_not_sent_again(stage: Stage) -> None:
    """If a resumed stream begins at its first event instead of the cursor, known events are not sent again."""
    stage.upstream.streams.resumes = False
    stage.upstream.streams.breaks = [5, 6]
    reader = await streamed(stage)
    assert lines_of(await reader.rest()) == expected_lines(story(6))


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


async def test_an_error_in_a_background_stream_does_not_end_the_work(stage: Stage) -> None:
    """After an `error` event of a background upstream, the work is polled, because it may have completed."""
    stage.upstream.streams.events = [*story(3)[:-1], {"type": "error", "code": "server_error", "message": "x"}]
    reader = await streamed(stage)
    await reader.take(4)
    await released(stage)
    await stage.finish(reader.id)
    received = await reader.rest()
    assert (text(received), kinds(received)[-1]) == (ANSWER, "completed")


async def test_an_upstream_that_is_unavailable_for_long_releases_the_run(stage: Stage) -> None:
    """If the upstream is unavailable for long, the run is released and offered again later.

    This does not count as an expired lease.
    """
    stage.pace(patience_s=0.5)
    stage.upstream.streams.breaks = [4]
    stage.upstream.streams.follow_errors = [UpstreamUnavailable("ConnectError")] * 3
    reader = await streamed(stage)
    await released(stage)
    record = await stage.record(reader.id)
    assert (record.run.epoch, record.run.claimed, record.run.expirations) == (2, False, 0)
    stage.upstream.streams.follow_errors = []
    await stage.ring(reader.id)
    await stage.engine.drive(RunOffer(reader.id, offers(stage, reader.id)[-1]))
    assert lines_of(await reader.rest()) == expected_lines(story(6))


# Storage


async def test_an_outage_during_a_stream_loses_no_event(stage: Stage) -> None:
    """During an outage of storage the live client reads on. The log catches up when storage is back."""
    gate, last = stage.upstream.streams.hold(3), stage.upstream.streams.hold(8)
    reader = await streamed(stage)
    await reader.take(2)
    await logged(stage, reader.id, 3)
    async with stage.proxy.refusing():
        gate.open()
        assert numbers(await reader.take(5)) == [3, 4, 5, 6, 7]
        last.open()
    assert lines_of(await reader.rest()) == expected_lines(story(6))
    assert await replayed(stage, reader.id) == reader.received


@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5])
async def test_a_lost_answer_repeats_no_event(stage: Stage, nth: int) -> None:
    """No event comes twice if the answer to any transaction is lost.

    The transactions accept the response, record the upstream's id, append events twice and end the response.
    """
    gate = stage.upstream.streams.hold(4)
    last = stage.upstream.streams.hold(8)
    fault = stage.proxy.drop_answer(is_transaction, nth)
    reader = await streamed(stage)
    await reader.take(3)
    await logged(stage, reader.id, 4)
    gate.open()
    await logged(stage, reader.id, 8)
    last.open()
    assert lines_of(await reader.rest()) == expected_lines(story(6))
    assert await replayed(stage, reader.id) == reader.received
    assert fault.happened.is_set()
    assert stage.upstream.begun == {reader.id: 1}


async def test_a_flush_whose_outcome_stays_unknown_repeats_no_event(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """No event comes twice if a flush is committed, its answer is lost, and storage fails before the row is read again.

    The next try finds the events in the log.
    """
    gate = stage.upstream.streams.hold(3)
    reader = await streamed(stage)
    await reader.take(2)
    await logged(stage, reader.id, 3)
    fault = stage.proxy.drop_answer(is_transaction)
    stage.proxy.delay(is_read, 60)
    gate.open()
    await fault.happened.wait()
    async with stage.proxy.refusing():
        stage.proxy.heal()

        async def has_failed() -> bool:
            return "run.unwritten" in log_events(caplog)

        await until(has_failed)
    assert lines_of(await reader.rest()) == expected_lines(story(6))
    assert await replayed(stage, reader.id) == reader.received


async def test_an_outage_at_a_hand_over_loses_nothing(stage: Stage) -> None:
    """If storage fails while a run is handed over, the run is offered once storage is back, and no event is lost."""
    gate = stage.upstream.streams.hold(5)
    reader = await streamed(stage)
    await reader.take(4)
    async with stage.proxy.refusing():
        await reader.leave()
    await offered(stage, reader.id, 2)
    gate.open()
    await (await stage.process()).drive(RunOffer(reader.id, 2))
    assert lines_of(await replayed(stage, reader.id)) == expected_lines(story(6))
