"""The consumer of an upstream, for both kinds: what it skips, which errors it tolerates, and how it ends a response."""

import asyncio
from typing import Any

import pytest

from shared.core.alarms import Kind
from shared.core.errors import UpstreamSilent, UpstreamUnavailable
from shared.core.states import Status
from shared.storage.messages import RunOffer
from shared.upstreams.protocol import UpstreamEvent
from tests.support.fakes.streams import KEEPALIVE, Streams, story
from tests.support.run_holders import driving, released
from tests.support.stage import Stage
from tests.support.stream_clients import Reader, expected_lines, kinds, lines_of, offers, streamed

GROWING_S = [1, 2, 4, 8, 16, 32, 60, 60]
"""How long in seconds the gate of an upstream is closed that takes nothing, after one refusal and the next."""

BOTH = pytest.mark.parametrize("is_background", [True, False], ids=["background", "foreground"])


async def driven(stage: Stage) -> tuple[Reader, asyncio.Task[Any]]:
    """Create a streamed response. Return its reader, and a task for the run that drives it."""
    reader = await streamed(stage)
    if stage.upstream.is_background:
        return reader, asyncio.ensure_future(released(stage))
    return reader, driving(stage.engine, reader.id, 1)


# Before the first event


@BOTH
async def test_an_upstream_that_starts_nothing_is_called_at_growing_intervals(
    stage: Stage, waits: list[float], is_background: bool
) -> None:
    """If an upstream cannot have started anything, its holder gives the run up, and each turn in the line is one try.

    The response does not fail. The last holder starts it. Tries that may have begun are in test_consumer_tries.py.
    """
    stage.upstream.is_background = is_background
    stage.upstream.streams.run_errors = [UpstreamUnavailable("x")] * len(GROWING_S)
    reader, running = await driven(stage)
    await running
    closed_s = list[float]()
    for tries in range(1, len(GROWING_S) + 1):
        record, before_ms = await stage.record(reader.id), stage.clock.ms
        assert (record.status, record.run.epoch, record.run.claimed) == (Status.QUEUED, 1 + tries, False)
        assert (record.acknowledged, record.upstream.counted) == (True, 0)
        assert (record.wait.reason, record.wait.detail) == ("upstream_down", "x")
        (alarm,) = await stage.alarms(reader.id)
        assert (alarm.kind, alarm.due_ms) == (Kind.START, record.deadline_ms)
        await stage.fire_alarms(reader.id)
        closed_s.append((stage.clock.ms - before_ms) / 1000)
        assert offers(stage, reader.id)[-1] == 1 + tries
        assert len(stage.upstream.streams.runs) == tries
        await stage.engine.drive(RunOffer(reader.id, 1 + tries))
    assert (closed_s, waits) == (GROWING_S, [])
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
    error = {
        "code": "rate_limit_exceeded",
        "message": "Slow down, please.",
        "type": "server_error",
        "param": None,
    }
    assert (await stage.shown(reader.id))["error"] == error
    assert stage.upstream.streams.runs == [reader.id]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"error": {"code": "slow", "message": "Slow down."}}, {"code": "slow", "message": "Slow down."}),
        ({}, {"code": "server_error", "message": "The upstream gave no reason."}),
        ({"code": None, "message": ""}, {"code": "server_error", "message": "The upstream gave no reason."}),
        ({"code": 429, "message": ["x"]}, {"code": "429", "message": "x"}),
        ({"code": "c" * 101, "message": "m" * 2_001}, {"code": "c" * 100, "message": "m" * 2_000}),
    ],
    ids=["nested", "nothing", "empty", "not text", "long"],
)
async def test_an_error_event_is_read_in_every_form(
    stage: Stage, fields: dict[str, Any], error: dict[str, str]
) -> None:
    """The code and message of an `error` event may be nested, missing, of another type or too long.

    The response fails with text within the limits.
    """
    stage.upstream.is_background = False
    stage.upstream.streams.events = [{"type": "error", **fields}]
    reader, running = await driven(stage)
    await running
    assert (await stage.shown(reader.id))["error"] == error | {"type": "server_error", "param": None}


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


# After the first event


async def test_a_silent_stream_is_only_reconnected(stage: Stage, waits: list[float]) -> None:
    """If a stream is silent again and again, a holder reconnects at once each time and never gives up.

    The model may be thinking.
    """
    stage.upstream.streams.breaks = [4]
    stage.upstream.streams.follow_errors = [UpstreamSilent("x")] * 20
    reader = await streamed(stage)
    assert lines_of(await reader.rest()) == expected_lines(story(6))
    assert stage.upstream.streams.follows == [("up_0", 3)] * 21
    assert waits == [1]  # after the stream that broke off


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
    await stage.fire_alarms(reader.id)
    await stage.engine.drive(RunOffer(reader.id, offers(stage, reader.id)[-1]))
    assert lines_of(await reader.rest()) == expected_lines(story(6))


class EndsWithoutResponse(Streams):
    """Streams of an upstream whose first stream ends with an event that has no response object."""

    def _sent(self, place: int, event: dict[str, Any], answer: dict[str, Any]) -> UpstreamEvent:
        if self.opened == 1 and event["type"] == "response.completed":
            return UpstreamEvent(place, {"type": "response.completed"})
        return super()._sent(place, event, answer)


@BOTH
async def test_a_terminal_event_without_its_response_is_not_an_end(
    stage: Stage, waits: list[float], is_background: bool
) -> None:
    """A terminal event without a response object counts as a stream that broke off.

    The response then ends with the output that the upstream has, from another stream or from a poll.
    """
    stage.upstream.is_background = is_background
    stage.upstream.streams = EndsWithoutResponse()
    stage.upstream.course = [Status.COMPLETED]
    reader, running = await driven(stage)
    await running
    assert kinds(await reader.rest())[-1] == "completed"
    assert (await stage.shown(reader.id))["output"]
    assert (stage.upstream.begun, waits) == ({reader.id: 1}, [1])


# Ends


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
    assert kinds(received) == ["created", "in_progress", "output_text.delta", "error", "failed"]
    assert (received[-1][1]["response"]["status"], received[-1][1]["response"]["id"]) == ("cancelled", reader.id)
    assert (await stage.record(reader.id)).status is Status.CANCELLED
