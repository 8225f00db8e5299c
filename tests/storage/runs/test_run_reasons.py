"""What a run waits for, when that is not its work: on the object, and in its stream in place of a heartbeat."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from shared.contract import sse
from shared.core.errors import UpstreamError, UpstreamMissing, UpstreamUnavailable
from shared.core.records import ExecutionMode, WaitInfo
from shared.core.states import Status, WaitReason
from shared.upstreams.protocol import UpstreamEvent
from tests.support.conditions import until
from tests.support.run_holders import driving, reaches
from tests.support.stage import Stage
from tests.support.stream_clients import Reader, kinds, resumed, streamed

AWAY = UpstreamUnavailable("ConnectError")
THROTTLED = UpstreamUnavailable("status 429", retry_after_s=40, waits_for=WaitReason.RATE_LIMIT)


async def waiting(stage: Stage, response_id: str) -> dict[str, Any] | None:
    """Return what the object says that its response waits for, or None if it says nothing."""
    shown = await stage.shown(response_id)
    assert shown["status"] in ("queued", "in_progress")
    return shown.get("waiting")


async def told_in(reader: Reader) -> bytes:
    """Return the comment with which a silent stream says what its response waits for."""
    async with asyncio.timeout(20):
        async for chunk in reader.chunks:
            if chunk.startswith(b": waiting "):
                return chunk
            assert chunk == sse.HEARTBEAT or b"event: response.created" in chunk
    raise AssertionError("the stream has ended")


@pytest.mark.parametrize("background", [True, False], ids=["background", "foreground"])
async def test_a_run_says_why_it_waits(stage: Stage, background: bool) -> None:
    """On the object, and in the stream as a comment in place of a heartbeat, in this process and in another."""
    stage.upstream.is_background = background
    stage.pace(heartbeat_s=0.05, patience_s=600, tail_idle_s=0.02, tail_max_s=0.05, wake_s=0.05)
    stage.upstream.streams.run_errors = [THROTTLED]
    reader = await streamed(stage)
    running = None if background else driving(stage.engine, reader.id, 1)
    comment = await told_in(reader)
    assert b'"reason":"rate_limit","detail":"status 429","tries":1' in comment
    assert comment.endswith(b"}\n")
    told = await waiting(stage, reader.id)
    assert told
    assert (told["reason"], told["tries"]) == ("rate_limit", 1)
    other = await resumed(stage, reader.id, 0, await stage.process())
    assert await told_in(other) == comment
    for one in (other, reader):
        await one.leave()
    if running:
        await running


async def test_a_run_that_goes_on_says_nothing_more(stage: Stage) -> None:
    """The offer of the run and its first events end the wait, on the object and in the stream."""
    stage.pace(heartbeat_s=0.02, wake_s=0.05)
    stage.upstream.streams.run_errors = [AWAY]
    gate = stage.upstream.streams.hold(3)
    reader = await streamed(stage)
    assert b'"reason":"upstream_down","detail":"ConnectError","tries":1' in await told_in(reader)
    await reaches(stage, reader.id, lambda record: record.run.epoch == 2)
    await stage.fire_alarms(reader.id)
    assert await waiting(stage, reader.id) is None
    running = driving(await stage.process(), reader.id, 2)
    await reader.take(2)
    assert await anext(aiter(reader.chunks)) == sse.HEARTBEAT
    assert await waiting(stage, reader.id) is None
    gate.open()
    assert kinds(await reader.rest())[-1] == "completed"
    await running


async def test_a_run_that_cannot_store_says_so_in_its_stream(stage: Stage) -> None:
    """Nothing else can be answered then."""
    stage.pace(heartbeat_s=0.02)
    stage.upstream.streams.hold(4)
    reader = await streamed(stage)
    await reader.take(2)
    stage.proxy.refuse(lambda _request: True)
    stage.upstream.streams.gates[4].open()
    await reader.take(5)
    assert b'"reason":"storage"' in await told_in(reader)
    stage.proxy.heal()
    assert kinds(await reader.rest())[-1] == "completed"


def break_in_silence(stage: Stage, error: UpstreamError, resumed_as: asyncio.Event) -> asyncio.Event:
    """Break the stream when its first events are stored. The resumed one is silent until `resumed_as` is set.

    Return an event that is set when the resumed stream has begun.
    """
    streams, begun = stage.upstream.streams, asyncio.Event()
    told = streams.tell

    async def tell(first: int, events: list[Any], answer: Any) -> AsyncGenerator[UpstreamEvent, None]:
        if first > 0:
            begun.set()
            yield UpstreamEvent(None, {"type": "keepalive"})
            await resumed_as.wait()
        async for one in told(first, events, answer):
            yield one
            if one.number == 3 and not begun.is_set():
                await asyncio.sleep(0.3)
                raise error

    streams.tell = tell  # type: ignore[method-assign]
    return begun


async def test_a_stream_that_is_resumed_and_silent_waits_for_its_work(stage: Stage) -> None:
    """The upstream could not be reached, and is reached again. Its model thinks for long before the next event."""
    go_on = asyncio.Event()
    begun = break_in_silence(stage, AWAY, go_on)
    reader = await streamed(stage)
    await begun.wait()

    async def works() -> bool:
        return await waiting(stage, reader.id) is None

    await until(works)
    go_on.set()
    assert kinds(await reader.rest())[-1] == "completed"


async def test_work_that_is_polled_after_its_stream_was_lost_waits_for_nothing(stage: Stage) -> None:
    """The reason was that of the stream."""
    stage.upstream.course = [Status.IN_PROGRESS]
    stage.upstream.streams.follow_errors = [UpstreamMissing()]
    break_in_silence(stage, AWAY, asyncio.Event())
    reader = await streamed(stage)

    async def is_polled() -> bool:
        return (await stage.record(reader.id)).run.mode is ExecutionMode.POLL

    await until(is_polled)
    assert (await stage.record(reader.id)).wait == WaitInfo()
    await reader.leave()


@pytest.mark.parametrize("patience_s", [600, 1])
async def test_events_that_are_stored_later_do_not_end_the_waiting(stage: Stage, patience_s: float) -> None:
    """Whoever waits patiently, and whoever releases the run, stores them before the reason."""
    stage.pace(flush_s=600, patience_s=patience_s)
    throttled = UpstreamUnavailable("status 429", retry_after_s=30, waits_for=WaitReason.RATE_LIMIT)
    told = stage.upstream.streams.tell

    async def tell(first: int, events: list[Any], answer: Any) -> AsyncGenerator[UpstreamEvent, None]:
        async for one in told(first, events, answer):
            yield one
            if one.number == 3:
                raise throttled

    stage.upstream.streams.tell = tell  # type: ignore[method-assign]
    reader = await streamed(stage)

    async def has_reason() -> bool:
        return bool((await stage.record(reader.id)).wait.reason)

    await until(has_reason)
    record = await stage.record(reader.id)
    assert (record.wait.reason, record.wait.detail, record.wait.tries) == ("rate_limit", "status 429", 1)
    assert record.log.next_seq > 3
    assert record.run.claimed is (patience_s > 30)
    await reader.leave()
