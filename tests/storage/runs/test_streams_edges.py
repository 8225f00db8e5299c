"""Edge cases of a stream: before the first event, errors of the upstream after it, and ends at awkward moments."""

import asyncio
import time
from dataclasses import dataclass, replace
from typing import Any

import pytest

from shared.core.alarms import Kind
from shared.core.errors import UpstreamBroken, UpstreamError, UpstreamSilent, UpstreamUnavailable
from shared.core.states import Status
from shared.storage.messages import RunOffer
from shared.upstreams.protocol import UpstreamEvent
from tests.support.clocks import Clock
from tests.support.fakes.streams import KEEPALIVE, Streams, story
from tests.support.run_holders import driving, logged, released
from tests.support.stage import ANN, Stage, until
from tests.support.stream_clients import Reader, expected_lines, kinds, lines_of, streamed, text

PATIENCE_S = 10.0
GROWING_S = [1, 1, 2, 4, 8]
"""The waits in seconds of a holder whose upstream gives nothing, without jitter. The next exceeds its patience."""
SLACK_S = 0.3
"""Seconds that a busy machine may add to a duration."""

BOTH = pytest.mark.parametrize("is_background", [True, False], ids=["background", "foreground"])


def hurry(stage: Stage) -> list[float]:
    """Let waits pass a hundred times as fast from now on.

    Return a list that gets the seconds of every wait of a holder for its upstream.
    """
    waits: list[float] = []

    class FastClock(Clock):
        async def sleep(self, seconds: float) -> None:
            if 1 <= seconds <= PATIENCE_S:
                waits.append(seconds)
            await super().sleep(seconds / 100)

    stage.pace(patience_s=PATIENCE_S, renew_s=6_000, watch_s=100, tail_s=0.9, tail_max_s=0.9)
    stage.change(clock=FastClock(stage.clock.ms))
    return waits


async def driven(stage: Stage) -> tuple[Reader, asyncio.Task[Any]]:
    """Create a streamed response. Return its reader, and a task for the run that drives it."""
    reader = await streamed(stage)
    if stage.upstream.is_background:
        return reader, asyncio.ensure_future(released(stage))
    return reader, driving(stage.engine, reader.id, 1)


# Before the first event


@BOTH
@pytest.mark.parametrize("error", [UpstreamSilent("x"), UpstreamBroken("x"), UpstreamUnavailable("x")])
async def test_an_upstream_that_starts_nothing_is_called_at_growing_intervals(
    stage: Stage, error: UpstreamError, is_background: bool
) -> None:
    """If an upstream starts nothing, a holder tries again at growing intervals, then releases the run.

    The response does not fail. A later holder starts it.
    """
    waits = hurry(stage)
    stage.upstream.is_background = is_background
    stage.upstream.streams.run_errors = [error] * 100
    reader, running = await driven(stage)
    await running
    assert waits == GROWING_S
    assert len(stage.upstream.streams.runs) == len(GROWING_S) + 1
    record = await stage.record(reader.id)
    assert (record.status, record.run.epoch, record.run.claimed) == (Status.QUEUED, 2, False)
    stage.upstream.streams.run_errors = []
    await stage.ring(reader.id)
    await stage.engine.drive(RunOffer(reader.id, 2))
    assert lines_of(await reader.rest()) == expected_lines(story(6))


@BOTH
async def test_an_error_as_the_first_event_fails_the_response(stage: Stage, is_background: bool) -> None:
    """An `error` as the first event fails the response with the upstream's code and message.

    The upstream is not called again.
    """
    stage.upstream.is_background = is_background
    stage.upstream.streams.events = [{"type": "error", "code": "rate_limit_exceeded", "message": "Slow down, please."}]
    reader, running = await driven(stage)
    await running
    assert kinds(await reader.rest()) == ["created", "error", "failed"]
    error = {"code": "rate_limit_exceeded", "message": "Slow down, please."}
    assert (await stage.shown(reader.id))["error"] == error
    assert stage.upstream.streams.runs == [reader.id]


@BOTH
async def test_keepalives_before_the_first_event_are_skipped(stage: Stage, is_background: bool) -> None:
    """Keepalives before the first event are skipped, because they do not name the work."""
    stage.upstream.is_background = is_background
    stage.upstream.streams.events = [KEEPALIVE, {"type": ""}, *story(3)]
    reader, running = await driven(stage)
    await running
    assert lines_of(await reader.rest()) == expected_lines(story(3))
    assert (await stage.record(reader.id)).upstream.token == "up_0"
    assert stage.upstream.streams.runs == [reader.id]


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
    await stage.ring(reader.id)
    assert stage.upstream.stopped == ["up_0"]


# After the first event


async def test_a_silent_stream_is_only_reconnected(stage: Stage) -> None:
    """If a stream is silent again and again, a holder reconnects at once each time and never gives up.

    The model may be thinking.
    """
    waits = hurry(stage)
    stage.upstream.streams.breaks = [4]
    stage.upstream.streams.follow_errors = [UpstreamSilent("x")] * 20
    reader = await streamed(stage)
    assert lines_of(await reader.rest()) == expected_lines(story(6))
    assert stage.upstream.streams.follows == [("up_0", 3)] * 21
    assert waits == [1]  # after the stream that broke off


async def test_work_whose_stream_is_not_resumed_is_polled(stage: Stage) -> None:
    """If the upstream answers a resume with the unfinished object instead of events, the work is polled."""
    hurry(stage)
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


async def test_an_unavailable_upstream_does_not_flood_readers(stage: Stage) -> None:
    """While work that broke off cannot be started again, readers get no event.

    They get one `in_progress` once it has started.
    """
    hurry(stage)
    stage.upstream.is_background = False
    stage.upstream.streams.breaks = [4]
    gate = stage.upstream.streams.hold(3)
    reader, running = await driven(stage)
    await gate.reached.wait()
    stage.upstream.streams.run_errors = [UpstreamUnavailable("x")] * 100
    gate.open()
    await running
    record = await stage.record(reader.id)
    assert (record.run.epoch, record.run.claimed, record.log.next_seq) == (2, False, 4)
    stage.upstream.streams.run_errors = []
    await stage.ring(reader.id)
    await stage.engine.drive(RunOffer(reader.id, 2))
    received = await reader.rest()
    again = [event for event in story(6) if event["type"] != "response.created"]
    assert lines_of(received) == [
        *expected_lines(story(6))[:4],
        *((n + 3, *line[1:]) for n, line in enumerate(expected_lines(again), 1)),
    ]


@dataclass
class Zeros(Streams):
    """Streams of an upstream that gives every event the same number."""

    def _sent(self, place: int, event: dict[str, Any], answer: dict[str, Any]) -> UpstreamEvent:
        return replace(super()._sent(place, event, answer), number=0)


async def test_numbers_that_do_not_grow_lose_no_event(stage: Stage) -> None:
    """The event numbers of a foreground upstream are ignored, so events whose numbers do not grow are all sent."""
    stage.upstream.is_background = False
    stage.upstream.streams = Zeros()
    reader, running = await driven(stage)
    await running
    assert lines_of(await reader.rest()) == expected_lines(story(6))


async def test_numbers_of_keepalives_lose_no_event(stage: Stage) -> None:
    """If work is started again after a break, its lower event numbers are not mistaken for known events.

    The first stream had reached a higher number through keepalives.
    """
    stage.upstream.is_background = False
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


@BOTH
async def test_work_that_was_cancelled_upstream_ends_as_cancelled(stage: Stage, is_background: bool) -> None:
    """The upstream's `response.cancelled`, an event that no contract names, ends the response as cancelled.

    The final object has our id.
    """
    cancelled = {"id": "up_0", "status": "cancelled", "output": []}
    stage.upstream.is_background = is_background
    stage.upstream.streams.events = [*story(1)[:-1], {"type": "response.cancelled", "response": cancelled}]
    reader, running = await driven(stage)
    await running
    received = await reader.rest()
    assert kinds(received) == ["created", "in_progress", "output_text.delta", "failed"]
    assert (received[-1][1]["response"]["status"], received[-1][1]["response"]["id"]) == ("cancelled", reader.id)
    assert (await stage.record(reader.id)).status is Status.CANCELLED


# Ends at awkward moments


async def test_a_cancel_right_after_a_write_is_noticed_in_time(stage: Stage) -> None:
    """A holder reads its record one watch interval after it last knew it, not at fixed times.

    So it notices a cancel right after a write within that interval.
    """
    stage.pace(watch_s=1.0)
    stage.upstream.is_background = False
    streams = stage.upstream.streams
    gate, _ = streams.hold(2), streams.hold(3)
    reader, running = await driven(stage)
    await logged(stage, reader.id, 2)
    await looked(stage)
    gate.open()
    await logged(stage, reader.id, 3)
    began_s = time.monotonic()
    await stage.engine.cancel(ANN, reader.id)
    await running
    assert time.monotonic() - began_s < 1.0 + SLACK_S
    assert streams.closed == streams.opened == 1


async def looked(stage: Stage) -> None:
    """Wait until a record is read."""
    before = stage.proxy.counts["GET responses(key)"]

    async def is_read_again() -> bool:
        return stage.proxy.counts["GET responses(key)"] > before

    await until(is_read_again)


@BOTH
async def test_an_end_by_deadline_frees_its_holder_at_once(stage: Stage, is_background: bool) -> None:
    """At the deadline of a silent response, its holder ends it, closes the upstream connection and is free at once."""
    stage.upstream.is_background = is_background
    stage.upstream.streams.hold(3)
    reader, running = await driven(stage)
    await logged(stage, reader.id, 3)
    stage.clock.ms = (await stage.record(reader.id)).deadline_ms
    async with asyncio.timeout(5):
        assert kinds(await reader.rest())[-1] == "failed"
        await running
    assert stage.upstream.streams.closed == stage.upstream.streams.opened


async def test_a_cancel_closes_a_connection_that_has_sent_nothing(stage: Stage) -> None:
    """A cancel closes a foreground upstream's connection that has sent nothing, because there is no id to wait for."""
    stage.upstream.is_background = False
    gate = stage.upstream.streams.hold(0)
    reader, running = await driven(stage)
    await gate.reached.wait()
    await stage.engine.cancel(ANN, reader.id)
    async with asyncio.timeout(2):
        await running
    assert stage.upstream.streams.closed == stage.upstream.streams.opened == 1


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
