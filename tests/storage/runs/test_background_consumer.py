"""The consumer of a background upstream: it finds its work again, resumes its stream, and polls if that is lost."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from shared.core.alarms import Kind
from shared.storage.messages import RunOffer
from tests.support.conditions import until
from tests.support.fakes.streams import KEEPALIVE, story
from tests.support.log_capture import WrittenLines, log_events
from tests.support.run_holders import die, driving, held, reaches, released, taken_over
from tests.support.stage import ANN, Stage
from tests.support.stream_clients import (
    expected_lines,
    lines_of,
    replayed,
    streamed,
)

# Before the work has an id


async def test_nothing_is_sent_before_the_upstreams_id_is_stored(
    stage: Stage, until_logged: Callable[[str], Awaitable[None]]
) -> None:
    """No event is sent to the client before the upstream's id of the work is stored.

    A later holder must find the same work, so while storage is away the client waits.
    """
    gate = stage.upstream.streams.hold(0)
    creating = asyncio.create_task(streamed(stage))
    await gate.reached.wait()
    async with stage.proxy.refusing():
        gate.open()
        await until_logged("run.unwritten")
        assert not creating.done()
    reader = await creating
    assert (await stage.record(reader.id)).upstream.token == "up_0"
    assert lines_of(await reader.rest()) == expected_lines(story(6))


async def test_a_crash_before_the_first_event_starts_no_second_work(stage: Stage) -> None:
    """If a holder crashes before it knows the upstream's id, the next one repeats the create with the same key.

    No second work is started.
    """
    gate = stage.upstream.streams.hold(0)
    creating = asyncio.create_task(streamed(stage))
    await gate.reached.wait()
    await die(held(stage))
    (response_id,) = stage.upstream.streams.runs
    await stage.fire_alarms(response_id)
    gate.open()
    await (await stage.process()).drive(RunOffer(response_id, 2))
    assert lines_of(await (await creating).rest()) == expected_lines(story(6))
    assert (stage.upstream.streams.runs, stage.upstream.begun) == ([response_id] * 2, {response_id: 1})


async def test_of_work_that_was_started_twice_the_first_is_read(
    stage: Stage, waits: list[float], written: WrittenLines
) -> None:
    """If two holders start work because keys are not honoured, the work whose id is stored first is read.

    The other work is stopped. The second start is logged.
    """
    stage.upstream.honours_keys = False
    first = stage.upstream.streams.hold(0)
    creating = asyncio.create_task(streamed(stage))
    await first.reached.wait()
    (response_id,) = stage.upstream.streams.runs
    await stage.fire_alarms(response_id)
    second = stage.upstream.streams.hold(0)
    newer = driving(stage.engine, response_id, 2)
    await second.reached.wait()
    first.open()
    await reaches(stage, response_id, lambda record: record.upstream.token == "up_0")
    second.open()
    await newer
    assert lines_of(await (await creating).rest()) == expected_lines(story(6))
    assert stage.upstream.streams.follows == [("up_0", None)]
    await stage.sweep(response_id)
    assert stage.upstream.stopped == ["up_1"]
    assert log_events(written).count("start.repeated") == 1
    assert waits == [1]


async def test_a_cancel_stops_work_that_is_just_starting(stage: Stage) -> None:
    """If a response is cancelled before the upstream's id is known, the work is stopped once the id arrives."""
    stage.limit(start_wait_s=0.1)
    gate = stage.upstream.streams.hold(0)
    reader = await streamed(stage)
    await stage.engine.cancel(ANN, reader.id)
    assert (await reader.rest())[-1][1]["response"]["status"] == "cancelled"
    gate.open()
    await released(stage)
    assert Kind.STOP in await stage.kinds(reader.id)
    await stage.fire_alarms(reader.id)
    assert stage.upstream.stopped == ["up_0"]


@pytest.mark.parametrize("watch_s", [600, 0.05])
async def test_an_upstream_id_that_is_learned_after_the_cancel_is_stopped(stage: Stage, watch_s: float) -> None:
    """If a response is cancelled while its create is under way, the work is stopped once the upstream's id is known.

    No other process could stop that work, so a holder that knows of the end still waits for the id.
    """
    stage.pace(watch_s=watch_s)
    gate = stage.upstream.streams.hold(0)
    creating = asyncio.create_task(streamed(stage))
    await gate.reached.wait()
    (response_id,) = stage.upstream.streams.runs
    looks = stage.proxy.counts["GET responses(key)"]
    await stage.engine.cancel(ANN, response_id)

    async def has_looked() -> bool:
        return stage.proxy.counts["GET responses(key)"] > looks + 1  # the cancel has looked once

    if watch_s < 1:
        await until(has_looked)
    gate.open()
    await asyncio.wait_for(creating, 10)
    await reaches(stage, response_id, lambda record: record.upstream.token == "up_0")
    await stage.sweep(response_id)
    assert stage.upstream.stopped == ["up_0"]


async def test_a_client_that_leaves_early_hands_over_work_that_is_just_starting(stage: Stage) -> None:
    """If the client leaves before the upstream's id is known, the run is handed over as soon as it is.

    The next holder reads the events that follow.
    """
    stage.limit(start_wait_s=0.1)
    gate, _ = stage.upstream.streams.hold(0), stage.upstream.streams.hold(1)
    reader = await streamed(stage)
    await reader.leave()
    gate.open()
    async with asyncio.timeout(5):
        await released(stage)
    record = await stage.record(reader.id)
    assert (record.upstream.token, record.run.epoch, record.run.claimed) == ("up_0", 2, False)


# A stream that breaks


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


async def test_keepalives_of_the_upstream_are_not_sent_to_clients(stage: Stage) -> None:
    """Keepalives of the upstream are not sent to clients.

    They count among the upstream's numbers and not among ours, so our numbers have no gap, even after another holder
    continues.
    """
    events = story(4)
    stage.upstream.streams.events = [*events[:3], KEEPALIVE, KEEPALIVE, *events[3:5], KEEPALIVE, *events[5:]]
    gate = stage.upstream.streams.hold(6)
    reader = await streamed(stage)
    await reader.take(3)
    await reader.leave()
    await taken_over(stage, reader.id, gate)
    assert lines_of(await replayed(stage, reader.id)) == expected_lines(events)
    assert stage.upstream.streams.follows == [("up_0", 5)]


async def test_an_event_resets_the_count_of_broken_streams(stage: Stage, waits: list[float]) -> None:
    """A stream that breaks off after each of its events is resumed to its end, however often that is."""
    stage.upstream.streams.breaks = [1] * 8
    reader = await streamed(stage)
    assert lines_of(await reader.rest()) == expected_lines(story(6))
    assert [after for _, after in stage.upstream.streams.follows] == list(range(8))
    assert waits == [1] * 8
