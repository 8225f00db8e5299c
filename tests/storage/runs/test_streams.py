"""The stream that the creator of a response reads: live, in bounded memory, and after the run changes hands."""

import asyncio

import pytest

from shared.contract import sse
from shared.core.alarms import Kind
from shared.core.errors import RefusedByUpstream, StreamBroken, UpstreamRefused, UpstreamUnavailable
from shared.runtime.live_feed import MAX_BYTES
from shared.storage.messages import RunOffer
from tests.support.conditions import until
from tests.support.fakes.streams import story
from tests.support.run_holders import released, taken_over
from tests.support.stage import Stage
from tests.support.stream_clients import (
    expected_lines,
    kinds,
    lines_of,
    numbers,
    offers,
    replayed,
    resumed,
    streamed,
)


@pytest.mark.parametrize("background", [True, False])
async def test_every_event_reaches_the_client_with_number_token_and_our_id(stage: Stage, background: bool) -> None:
    """The client reads the upstream's events in order, each with our number, token and id.

    The last event has the output. A replay from the log returns the same events.
    """
    reader = await streamed(stage, background=background)
    received = await reader.rest()
    assert lines_of(received) == expected_lines(story(6))
    lives = [event["response"] for _, event in received if "response" in event]
    assert {shown["id"] for shown in lives} == {reader.id}
    assert lives[-1] == await stage.shown(reader.id)
    assert lives[-1]["output"]
    assert await replayed(stage, reader.id) == received


# Holders, and clients that leave


async def test_a_client_that_leaves_hands_its_run_over(stage: Stage) -> None:
    """When its client leaves, a holder logs the events that it has sent and offers the next epoch.

    It stops reading the upstream.
    """
    stage.pace(flush_s=600)
    stage.upstream.streams.hold(5)
    reader = await streamed(stage)
    await reader.take(4)
    await reader.leave()

    async def is_offered() -> bool:
        return offers(stage, reader.id) == [2]

    await until(is_offered)
    record = await stage.record(reader.id)
    assert (record.run.epoch, record.run.claimed, record.log.next_seq, record.run.expirations) == (2, False, 5, 0)
    assert await stage.kinds(reader.id) == [Kind.RUN]
    assert stage.upstream.streams.closed == stage.upstream.streams.opened == 1


@pytest.mark.parametrize("place", range(1, 9))
async def test_another_process_continues_exactly_where_the_client_left(stage: Stage, place: int) -> None:
    """Wherever the first client leaves, it and the next one together read the complete stream."""
    gate = stage.upstream.streams.hold(place)
    reader = await streamed(stage)
    seen = [*reader.received, *await reader.take(place - 1)]
    await reader.leave()
    await taken_over(stage, reader.id, gate)
    received = [*seen, *await replayed(stage, reader.id, place - 1)]
    assert lines_of(received) == expected_lines(story(6))
    assert await replayed(stage, reader.id) == received
    assert stage.upstream.begun == {reader.id: 1}


async def test_the_client_of_a_foreground_upstream_does_not_hold_the_run(stage: Stage) -> None:
    """The run of a foreground upstream is offered on the queue from the start.

    The client only reads it, so nothing changes when the client leaves.
    """
    stage.upstream.is_background = False
    reader = await streamed(stage)
    assert offers(stage, reader.id) == [1]
    assert stage.upstream.streams.runs == []
    running = asyncio.create_task(stage.engine.drive(RunOffer(reader.id, 1)))
    await reader.take(3)
    await reader.leave()
    await running
    assert lines_of(await replayed(stage, reader.id)) == expected_lines(story(6))
    assert stage.upstream.streams.runs == [reader.id]


async def test_a_repeat_with_the_same_key_reads_the_same_stream(stage: Stage) -> None:
    """A repeat with the same idempotency key reads all events of the first stream, and starts no second work."""
    first = await streamed(stage, key="k")
    second = await streamed(stage, await stage.process(), key="k")
    assert second.id == first.id
    assert await second.rest() == await first.rest()
    assert stage.upstream.begun == {first.id: 1}


async def test_a_request_that_the_upstream_refuses_leaves_nothing(stage: Stage) -> None:
    """If the upstream refuses the request, the client gets the refusal instead of a stream and no row is left."""
    stage.upstream.streams.run_errors = [UpstreamRefused(400, "No such model.", code="model_not_found")]
    with pytest.raises(RefusedByUpstream, match="No such model"):
        await streamed(stage)
    (key,) = stage.upstream.streams.runs
    assert await stage.ports.store.read(key) is None
    assert await stage.alarms(key) == []


async def test_an_unavailable_upstream_causes_no_error_at_the_client(stage: Stage) -> None:
    """If the upstream is unavailable, the client still reads `response.created`.

    The run waits for its turn. The other events follow when the upstream is back, from whoever holds the run then.
    """
    stage.upstream.streams.run_errors = [UpstreamUnavailable("ConnectError")]
    reader = await streamed(stage)
    assert kinds(reader.received) == ["created"]
    await released(stage)
    assert (await stage.kinds(reader.id), offers(stage, reader.id)) == ([Kind.START], [])
    await stage.fire_alarms(reader.id)
    assert offers(stage, reader.id) == [2]
    await (await stage.process()).drive(RunOffer(reader.id, 2))
    assert lines_of(await reader.rest()) == expected_lines(story(6))


# Limits of time and memory


async def test_a_silent_stream_is_kept_open_by_comments_alone(stage: Stage) -> None:
    """While the upstream is silent, the client receives SSE comment lines, which no client takes for an event."""
    stage.pace(heartbeat_s=0.05)
    gate = stage.upstream.streams.hold(2)
    reader = await streamed(stage)
    await reader.take(1)
    async with asyncio.timeout(10):
        assert [await anext(reader.chunks) for _ in range(3)] == [sse.HEARTBEAT] * 3
    gate.open()
    assert lines_of(await reader.rest()) == expected_lines(story(6))


async def test_an_answer_that_reaches_its_time_limit_breaks(stage: Stage) -> None:
    """A clean end would look like the whole answer. The run is handed over.

    The client resumes after its last event.
    """
    stage.pace(stream_s=0.5)
    gate = stage.upstream.streams.hold(4)
    reader = await streamed(stage)
    with pytest.raises(StreamBroken):
        await reader.rest()
    seen = reader.received
    assert numbers(seen) == [0, 1, 2, 3]
    await reader.leave()
    await taken_over(stage, reader.id, gate)
    assert lines_of([*seen, *await replayed(stage, reader.id, 3)]) == expected_lines(story(6))


async def test_a_slow_client_is_cut_off_from_the_feed_and_misses_nothing(stage: Stage) -> None:
    """A client that falls behind the live buffer reads the rest from the log.

    Neither the run nor other readers wait for it.
    """
    events = story(300, text="x" * 8_000)
    assert sum(len(event.get("delta", "")) for event in events) > 2 * MAX_BYTES
    stage.upstream.streams.events = events
    slow = await streamed(stage)
    other = await resumed(stage, slow.id)
    assert lines_of(await other.rest()) == expected_lines(events)
    assert (await stage.record(slow.id)).status.is_terminal
    assert lines_of(await slow.rest()) == expected_lines(events)
