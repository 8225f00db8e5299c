"""Tails: the readers of one response in one process share one look at the log."""

import asyncio
from collections.abc import Awaitable, Callable

from shared.runs.streams import Stream
from shared.runtime.live_feed import MAX_BYTES
from shared.storage.messages import RunOffer
from tests.support.conditions import until
from tests.support.fakes.streams import story
from tests.support.run_holders import driving, logged
from tests.support.stage import Stage
from tests.support.stream_clients import Reader, expected_lines, kinds, lines_of, resumed, streamed

UntilLogged = Callable[[str], Awaitable[None]]
QUERY = "GET responses()"
LOOK = "GET responses()"
RECORD = "GET responses(key)"

TAILS, WINDOW_S = 200, 2.0


async def offered_stream(stage: Stage) -> Reader:
    """Create a stream whose run no process holds yet."""
    stage.upstream.is_background = False
    return await streamed(stage)


async def test_two_hundred_readers_cost_as_much_as_one(stage: Stage) -> None:
    """Each reader reads by itself what is stored. Whatever follows is read once, and so is the end."""
    other = await stage.process()
    reader = await offered_stream(stage)
    readers = [await resumed(stage, reader.id, None, other) for _ in range(200)]
    reading = [asyncio.create_task(one.rest()) for one in readers]

    async def have_begun() -> bool:
        return all(one.received for one in readers)

    await until(have_begun)
    before = dict(stage.proxy.counts)
    await stage.engine.drive(RunOffer(reader.id, 1))
    whole = await asyncio.gather(*reading)
    assert all(one == whole[0] for one in whole)
    assert lines_of(whole[0]) == expected_lines(story(6))
    assert stage.proxy.counts[QUERY] - before[QUERY] < 100
    assert stage.proxy.counts[RECORD] - before.get(RECORD, 0) < 20


async def test_readers_in_the_process_of_the_run_read_no_log(stage: Stage) -> None:
    """A reader beside the run gets each event from it, and the end, without a look at the log."""
    stage.pace(tail_s=600, tail_idle_s=600, tail_max_s=600, flush_s=600, watch_s=600)
    stage.upstream.is_background = False
    first, last = stage.upstream.streams.hold(3), stage.upstream.streams.hold(8)
    made = await stage.create(stream=True)
    running = driving(stage.engine, made.id, 1)
    await first.reached.wait()
    reader = await resumed(stage, made.id)
    assert kinds(await reader.take(1)) == ["created"]
    reading = asyncio.create_task(reader.rest())

    async def has_joined() -> bool:
        broadcast = stage.ports.local.broadcast_of(made.id)
        return broadcast is not None and broadcast.has_readers

    await until(has_joined)
    before = stage.proxy.counts[QUERY]
    first.open()
    last.open()
    assert lines_of(await reading) == expected_lines(story(6))
    assert stage.proxy.counts[QUERY] == before
    await running


async def test_a_run_that_begins_here_takes_over_the_readers(stage: Stage) -> None:
    """Readers that wait at a tail get events from the run as soon as their process holds it, and lose none."""
    reader = await offered_stream(stage)
    reading = asyncio.create_task(reader.rest())
    await driving(stage.engine, reader.id, 1)
    assert lines_of(await reading) == expected_lines(story(6))


async def test_a_reader_that_lags_reads_by_itself_again(stage: Stage) -> None:
    """A reader that is more than 1 MiB behind its tail is cut off, reads the log, and misses nothing."""
    events = story(300, text="x" * 8_000)
    assert sum(len(event.get("delta", "")) for event in events) > 2 * MAX_BYTES
    stage.upstream.streams.events = events
    reader, other = await offered_stream(stage), await stage.process()
    slow, quick = await resumed(stage, reader.id, None, other), await resumed(stage, reader.id, None, other)
    await slow.take(1)
    reading = asyncio.create_task(quick.rest())
    await stage.engine.drive(RunOffer(reader.id, 1))
    assert lines_of(await reading) == expected_lines(events)
    assert lines_of(await slow.rest()) == expected_lines(events)


async def test_a_tail_ends_with_its_last_reader(stage: Stage) -> None:
    """When no reader is left, nothing looks at the log any more."""
    reader = await offered_stream(stage)
    reading = asyncio.create_task(reader.rest())

    async def follows() -> bool:
        return stage.ports.local.broadcast_of(reader.id) is not None

    await until(follows)
    reading.cancel()
    await asyncio.wait({reading})
    await reader.leave()

    async def is_over() -> bool:
        return stage.ports.local.broadcast_of(reader.id) is None and not stage.ports.background.tasks

    await until(is_over)


async def test_a_tail_outlasts_an_outage_at_the_end(stage: Stage, until_logged: UntilLogged) -> None:
    """If storage fails when a tail reads the end, its readers wait and get it later."""
    other = await stage.process()
    last = stage.upstream.streams.hold(8)
    reader = await offered_stream(stage)
    far = await resumed(stage, reader.id, None, other)
    running = driving(stage.engine, reader.id, 1)
    reading = asyncio.create_task(far.rest())
    await logged(stage, reader.id, 8)
    look = stage.proxy.pause(lambda request: request.kind == LOOK)
    await look.reached.wait()  # the tail does not see the end before storage fails
    last.open()
    await running
    unread = stage.proxy.refuse(lambda request: request.kind == RECORD)
    look.open()
    await until_logged("tail.deferred")
    assert unread.happened.is_set()
    stage.proxy.heal()
    assert lines_of(await reading) == expected_lines(story(6))


async def test_two_hundred_silent_tails_make_a_hundred_queries_a_second(stage: Stage) -> None:
    """Each follows a response of its own that says nothing. The more there are, the more rarely each of them looks."""
    stage.pace(tail_idle_s=0.5, tail_max_s=2.0, wake_s=600)
    stage.upstream.is_background = False
    made = [await stage.create(stream=True) for _ in range(TAILS)]
    readers = [Stream(stage.ports, record, 0) for record in made]
    reading = [asyncio.ensure_future(anext(reader)) for reader in readers]
    await asyncio.sleep(3)  # until all tails have been silent for longer than their first looks
    before = stage.proxy.counts["GET responses()"]
    await asyncio.sleep(WINDOW_S)
    assert 0 < stage.proxy.counts["GET responses()"] - before <= 1.5 * WINDOW_S * 100
    for task, reader in zip(reading, readers, strict=True):
        task.cancel()
        await asyncio.wait([task])
        await reader.aclose()
