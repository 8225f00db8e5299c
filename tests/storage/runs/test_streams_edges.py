"""The edges of a stream: what comes before the first event, what an upstream does not say after it, hasty ends."""

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
"""The waits of a holder whose upstream gives nothing, by dice that always give 0; the next would be beyond patience."""
SLACK_S = 0.3
"""What a busy machine may add to a time."""

BOTH = pytest.mark.parametrize("is_background", [True, False], ids=["background", "foreground"])


def hurry(stage: Stage) -> list[float]:
    """Let waits pass a hundred times as fast from now on; return those of holders for their upstream, as they come."""
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
    """Create a streamed response; return its reader, and the run that drives it, wherever that is held."""
    reader = await streamed(stage)
    if stage.upstream.is_background:
        return reader, asyncio.ensure_future(released(stage))
    return reader, driving(stage.engine, reader.id, 1)


# Before the first event


@BOTH
@pytest.mark.parametrize("error", [UpstreamSilent("x"), UpstreamBroken("x"), UpstreamUnavailable("x")])
async def test_an_upstream_that_begins_nothing_is_asked_at_a_growing_distance(
    stage: Stage, error: UpstreamError, is_background: bool
) -> None:
    """Silent, broken off or down, again and again: the run is given up for a while, and the response is not failed."""
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
async def test_an_error_in_place_of_the_first_event_fails_in_its_own_words(stage: Stage, is_background: bool) -> None:
    """The upstream said no to this request, as a stream: it is not asked again."""
    stage.upstream.is_background = is_background
    stage.upstream.streams.events = [{"type": "error", "code": "rate_limit_exceeded", "message": "Slow down, please."}]
    reader, running = await driven(stage)
    await running
    assert kinds(await reader.rest()) == ["created", "error", "failed"]
    error = {"code": "rate_limit_exceeded", "message": "Slow down, please."}
    assert (await stage.shown(reader.id))["error"] == error
    assert stage.upstream.streams.runs == [reader.id]


@BOTH
async def test_heartbeats_before_the_first_event_are_skipped(stage: Stage, is_background: bool) -> None:
    """They do not say what the work is called; the first event that does is the beginning."""
    stage.upstream.is_background = is_background
    stage.upstream.streams.events = [KEEPALIVE, {"type": ""}, *story(3)]
    reader, running = await driven(stage)
    await running
    assert lines_of(await reader.rest()) == expected_lines(story(3))
    assert (await stage.record(reader.id)).upstream.token == "up_0"
    assert stage.upstream.streams.runs == [reader.id]


async def test_a_cancel_stops_work_that_is_just_beginning(stage: Stage) -> None:
    """The upstream has the request, and has not said what it calls the work: whoever learns it has it stopped."""
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


# After it


async def test_a_silent_stream_is_only_followed_anew(stage: Stage) -> None:
    """A model that thinks: the connection is made anew as often as it takes, at once, and nothing is given up."""
    waits = hurry(stage)
    stage.upstream.streams.breaks = [4]
    stage.upstream.streams.follow_errors = [UpstreamSilent("x")] * 20
    reader = await streamed(stage)
    assert lines_of(await reader.rest()) == expected_lines(story(6))
    assert stage.upstream.streams.follows == [("up_0", 3)] * 21
    assert waits == [1]  # for the stream that broke off


async def test_work_that_is_answered_for_but_not_streamed_is_polled(stage: Stage) -> None:
    """Asked for the rest of a stream, the upstream answers with the unfinished object: that is no event."""
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
    assert kinds(received).count("in_progress") == 2  # as it was told, and before it is told anew


async def test_an_upstream_that_is_down_floods_nobody(stage: Stage) -> None:
    """Its stream broke off and cannot be begun anew: readers are told of the new beginning once there is one."""
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


async def test_numbers_that_do_not_grow_cost_no_event(stage: Stage) -> None:
    """Where the upstream does not replay, its numbers mean nothing."""
    stage.upstream.is_background = False
    stage.upstream.streams = Zeros()
    reader, running = await driven(stage)
    await running
    assert lines_of(await reader.rest()) == expected_lines(story(6))


async def test_numbers_of_heartbeats_cost_no_event(stage: Stage) -> None:
    """The stream broke off after some of them: what is begun anew has lower numbers, and all of it is told."""
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
    """By an event that is in nobody's contract, and sent all the same; callers see their own id."""
    cancelled = {"id": "up_0", "status": "cancelled", "output": []}
    stage.upstream.is_background = is_background
    stage.upstream.streams.events = [*story(1)[:-1], {"type": "response.cancelled", "response": cancelled}]
    reader, running = await driven(stage)
    await running
    received = await reader.rest()
    assert kinds(received) == ["created", "in_progress", "output_text.delta", "failed"]
    assert (received[-1][1]["response"]["status"], received[-1][1]["response"]["id"]) == ("cancelled", reader.id)
    assert (await stage.record(reader.id)).status is Status.CANCELLED


# Hasty ends


async def test_a_cancel_right_after_a_write_is_seen_in_time(stage: Stage) -> None:
    """A holder looks again that long after it last knew its record, not at the next beat of a clock."""
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
    """Wait until somebody reads a record."""
    before = stage.proxy.counts["GET responses(key)"]

    async def is_read_again() -> bool:
        return stage.proxy.counts["GET responses(key)"] > before

    await until(is_read_again)


@BOTH
async def test_an_end_that_is_written_keeps_nobody(stage: Stage, is_background: bool) -> None:
    """The deadline has passed and the upstream is silent: its holder is free, and its call closed, at once."""
    stage.upstream.is_background = is_background
    stage.upstream.streams.hold(3)
    reader, running = await driven(stage)
    await logged(stage, reader.id, 3)
    stage.clock.ms = (await stage.record(reader.id)).deadline_ms
    async with asyncio.timeout(5):
        assert kinds(await reader.rest())[-1] == "failed"
        await running
    assert stage.upstream.streams.closed == stage.upstream.streams.opened


async def test_a_cancel_closes_a_call_that_has_said_nothing(stage: Stage) -> None:
    """Where the upstream does not replay, the call is the work: there is no name to wait for."""
    stage.upstream.is_background = False
    gate = stage.upstream.streams.hold(0)
    reader, running = await driven(stage)
    await gate.reached.wait()
    await stage.engine.cancel(ANN, reader.id)
    async with asyncio.timeout(2):
        await running
    assert stage.upstream.streams.closed == stage.upstream.streams.opened == 1


async def test_a_client_that_leaves_early_hands_over_what_is_just_beginning(stage: Stage) -> None:
    """Once the upstream has said what it calls the work, and no later: its events are for the next holder."""
    stage.limit(start_wait_s=0.1)
    gate, _ = stage.upstream.streams.hold(0), stage.upstream.streams.hold(1)
    reader = await streamed(stage)
    await reader.leave()
    gate.open()
    async with asyncio.timeout(5):
        await released(stage)
    record = await stage.record(reader.id)
    assert (record.upstream.token, record.run.epoch, record.run.claimed) == ("up_0", 2, False)
