"""Tries of a run: how often a holder asks an upstream for work that may have begun already, and when it gives up."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from shared.core.alarms import Kind
from shared.core.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamInvalid,
    UpstreamRefused,
    UpstreamSilent,
    UpstreamUnavailable,
    UpstreamUncertain,
)
from shared.core.states import Status
from shared.storage.messages import RunOffer
from shared.upstreams.protocol import Checkpoints, UpstreamEvent
from tests.support.clocks import START_MS
from tests.support.fakes.peers import ScriptedUpstream
from tests.support.fakes.streams import KEEPALIVE
from tests.support.log_capture import WrittenLines, log_events
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.run_holders import die, driving, offered, reaches, released, run_on
from tests.support.stage import Stage
from tests.support.stream_clients import kinds, offers, streamed

AWAY = UpstreamUnavailable("ConnectError")
CUT = UpstreamUncertain("ReadError")
BOTH = pytest.mark.parametrize("is_background", [True, False], ids=["background", "foreground"])


class DatedUpstream(ScriptedUpstream):
    """A scripted upstream that notes when it was asked for a stream, in seconds since the test's clock began."""

    def __init__(self, stage: Stage, *, is_background: bool) -> None:
        super().__init__()
        self.is_background = is_background
        self.asked_s: list[int] = []
        self._stage = stage

    async def stream(
        self, request: dict[str, Any], key: str, checkpoints: Checkpoints | None = None
    ) -> AsyncGenerator[UpstreamEvent, None]:
        """Note the time and tell the events."""
        self.asked_s.append((self._stage.clock.ms - START_MS) // 1000)
        async with aclosing(super().stream(request, key, checkpoints)) as events:
            async for event in events:
                yield event


def cast(stage: Stage, *, is_background: bool = False) -> DatedUpstream:
    """Put a dated upstream on the stage. Every wait releases the run, so that the test's clock decides when it ends."""
    stage.pace(patience_s=0)
    dated = DatedUpstream(stage, is_background=is_background)
    stage.cast(dated)
    return dated


async def ended(stage: Stage, response_id: str) -> None:
    """Let one process after another hold the run until the response has ended."""
    if stage.upstream.is_background:
        await released(stage)
        await stage.fire_alarms(response_id)
    if not (await stage.record(response_id)).status.is_terminal:
        await run_on(stage, response_id)


@BOTH
@pytest.mark.parametrize("error", [CUT, UpstreamSilent("x"), UpstreamBroken("x"), UpstreamInvalid()], ids=repr)
async def test_a_stream_that_never_begins_is_asked_for_three_times(
    stage: Stage, error: UpstreamError, is_background: bool, written: WrittenLines
) -> None:
    """The upstream is asked at 0 s, 10 s and 130 s, whichever process holds the run. Then the response fails."""
    upstream = cast(stage, is_background=is_background)
    upstream.streams.run_errors = [error] * 100
    reader = await streamed(stage)
    await ended(stage, reader.id)
    assert upstream.asked_s == [0, 10, 130]
    assert kinds(await reader.rest()) == ["created", "error", "failed"]
    assert "Work may be running upstream." in (await stage.shown(reader.id))["error"]["message"]
    assert log_events(written).count("start.abandoned") == 1


@pytest.mark.parametrize("events", [[], [KEEPALIVE], [{"type": "response.unknown thing"}]], ids=range(3))
async def test_an_empty_stream_counts(stage: Stage, events: list[dict[str, Any]]) -> None:
    """A stream that ends before anything was said of the work may have begun it, as an empty first frame may."""
    upstream = cast(stage)
    upstream.streams.events = events
    upstream.streams.breaks = [len(events)] * 100
    reader = await streamed(stage)
    await ended(stage, reader.id)
    assert upstream.asked_s == [0, 10, 130]


@BOTH
async def test_free_tries_go_on_and_do_not_count(stage: Stage, is_background: bool) -> None:
    """An upstream that cannot be reached is asked again whenever its gate grants a probe.

    Between its counted tries this changes nothing. The gate doubles its time until it is asked with success.
    """
    upstream = cast(stage, is_background=is_background)
    upstream.streams.run_errors = [*[AWAY] * 6, CUT, AWAY, CUT, AWAY]
    reader = await streamed(stage)
    await ended(stage, reader.id)
    record = await stage.record(reader.id)
    assert (record.status, record.upstream.counted) == (Status.COMPLETED, 2)
    assert upstream.asked_s == [0, 1, 3, 7, 15, 31, 63, 73, 133, 253, 313]


@pytest.mark.parametrize("answers", [1, 3])
async def test_a_repeat_that_is_refused_leaves_no_work_behind(stage: Stage, answers: int) -> None:
    """If keys are honoured, the `run` alarm stays after the failure, until the work of the first try is stopped."""
    upstream = cast(stage, is_background=True)
    stage.treat(honours_keys=True)
    upstream.streams.run_errors = [CUT, *[UpstreamRefused(409, "The first request is being processed.")] * answers]
    reader = await streamed(stage)
    await ended(stage, reader.id)
    assert (await stage.record(reader.id)).error == "upstream_refused"
    for _ in range(answers + 1):
        assert await stage.kinds(reader.id) != [Kind.PURGE]
        await stage.fire_alarms(reader.id)
    assert await stage.kinds(reader.id) == [Kind.PURGE]
    assert len(upstream.stopped) == 1


async def test_the_deadline_of_a_run_leaves_no_work_behind(stage: Stage) -> None:
    """Its only holder died in a try. If keys are honoured, the `run` alarm stays until the work is stopped."""
    upstream = cast(stage, is_background=True)
    stage.treat(honours_keys=True)
    gate = upstream.streams.hold(0)
    reader = await streamed(stage)
    await gate.reached.wait()
    await stage.crash()
    upstream.streams.gates = {}
    stage.clock.ms = (await stage.record(reader.id)).deadline_ms
    await stage.sweep(reader.id)
    assert (await stage.record(reader.id)).error == "deadline_exceeded"
    for _ in range(2):
        await stage.fire_alarms(reader.id)
    assert await stage.kinds(reader.id) == [Kind.PURGE]
    assert len(upstream.stopped) == 1


async def test_a_holder_counts_its_next_try_before_it_makes_it(stage: Stage, waits: list[float]) -> None:
    """A holder that waits 10 s in place has counted both tries when the second one is under way."""
    stage.pace(patience_s=11.0)
    stage.upstream.is_background = False
    stage.upstream.streams.run_errors = [CUT]
    gate = stage.upstream.streams.hold(0)
    reader = await streamed(stage)
    running = driving(stage.engine, reader.id, 1)
    await gate.reached.wait()
    assert (await stage.record(reader.id)).upstream.counted == 2
    gate.open()
    await running
    assert waits == [10]
    assert (await stage.record(reader.id)).upstream.counted == 1


async def test_holders_that_die_in_a_try_use_it_up(stage: Stage) -> None:
    """Nobody knows what such a try has begun. After three the response fails, and no fourth try is made."""
    upstream = cast(stage)
    reader = await streamed(stage)
    for epoch in (1, 2, 3):
        gate = upstream.streams.hold(0)
        running = driving(stage.engine, reader.id, epoch)
        await gate.reached.wait()
        await die(running)
        await stage.fire_alarms(reader.id)
        await offered(stage, reader.id, epoch + 1)
    await stage.engine.drive(RunOffer(reader.id, 4))
    assert upstream.asked_s == [0, 30, 60]
    assert (await stage.record(reader.id)).status is Status.FAILED
    assert "no try was finished" in (await stage.shown(reader.id))["error"]["message"]


async def test_a_restart_of_work_that_had_begun_is_no_try(stage: Stage) -> None:
    """Work that breaks off after it was accepted is limited by its starts. Each start takes its count back."""
    upstream = cast(stage)
    upstream.streams.breaks = [4] * 3
    reader = await streamed(stage)
    await ended(stage, reader.id)
    record = await stage.record(reader.id)
    assert (record.status, record.upstream.starts, record.upstream.counted) == (Status.COMPLETED, 4, 0)


async def test_whatever_an_upstream_does_its_work_is_begun_a_bounded_number_of_times(stage: Stage) -> None:
    """Breaks and tries of unknown outcome together make at most seven creates: four starts and three tries."""
    upstream = cast(stage)
    upstream.streams.breaks = [4] * 100
    upstream.streams.run_errors = [CUT]
    reader = await streamed(stage)
    await ended(stage, reader.id)
    assert (await stage.record(reader.id)).status is Status.FAILED
    assert len(upstream.asked_s) == 5


async def test_where_keys_are_honoured_tries_go_on(stage: Stage, written: WrittenLines) -> None:
    """A repeat with the same key finds the same work, so no try of unknown outcome counts."""
    upstream = cast(stage, is_background=True)
    stage.treat(honours_keys=True)
    upstream.streams.run_errors = [CUT] * 8
    reader = await streamed(stage)
    await ended(stage, reader.id)
    assert (await stage.record(reader.id)).status is Status.COMPLETED
    assert len(upstream.asked_s) == 9
    assert "start.abandoned" not in log_events(written)


async def test_a_client_that_leaves_between_two_tries_uses_none_up(stage: Stage) -> None:
    """A holder that waits to ask again has made no further try, so it hands the run over without one.

    The upstream honours the key, so the try before counts as little.
    """
    stage.treat(honours_keys=True)
    stage.upstream.streams.run_errors = [CUT]
    stage.pace(patience_s=60)
    reader = await streamed(stage)
    await reaches(stage, reader.id, lambda record: bool(record.wait.reason))
    await reader.leave()
    await released(stage)
    record = await stage.record(reader.id)
    assert (record.upstream.counted, offers(stage, reader.id)) == (0, [2])


async def test_a_client_that_leaves_as_its_run_goes_into_the_line_changes_nothing(stage: Stage) -> None:
    """The run waits for its turn, no try of it counts, and nobody is offered it before."""
    stage.upstream.streams.run_errors = [AWAY]
    stage.pace(begin_s=0.1)
    line = stage.proxy.pause(lambda request: is_transaction(request) and b"wait|" in request.body)
    reader = await streamed(stage)
    await line.reached.wait()
    await reader.leave()
    line.open()
    await released(stage)
    record = await stage.record(reader.id)
    assert (record.run.epoch, record.upstream.counted, record.wait.reason) == (2, 0, "upstream_down")
    assert (await stage.kinds(reader.id), offers(stage, reader.id)) == ([Kind.START], [])
    await stage.fire_alarms(reader.id)
    await (await stage.process()).drive(RunOffer(reader.id, 2))
    assert (await stage.record(reader.id)).status is Status.COMPLETED
