"""Reading the event log of a stream: from any event, while it grows, and by any number of readers."""

import asyncio
import tracemalloc
from collections import Counter

import pytest

from shared.core import event_log, ids
from shared.core.errors import BadRequest, NotFound, StoreError, StreamBroken
from shared.core.event_log import MAX_EVENTS
from shared.storage.messages import RunOffer
from tests.support.conditions import until
from tests.support.fakes.streams import story
from tests.support.run_holders import driving, logged, released
from tests.support.stage import ANN, BOB, Stage
from tests.support.stream_clients import Reader, expected_lines, kinds, lines_of, numbers, replayed, resumed, streamed

LONG = story(1_000)
MB = 1_000_000


async def ended(stage: Stage, events: list[dict[str, object]] | None = None) -> Reader:
    """Create a streamed response and read it to its end. Return its reader."""
    stage.upstream.streams.events = events or story(6)
    reader = await streamed(stage)
    await reader.rest()
    return reader


async def grown(stage: Stage) -> str:
    """Create a response whose log is written in batches of two events, and read it to its end. Return its id."""
    gates = [stage.upstream.streams.hold(place) for place in range(3, 9, 2)]
    reader = await streamed(stage)
    for place, gate in zip(range(3, 9, 2), gates, strict=True):
        await logged(stage, reader.id, place)
        gate.open()
    await reader.rest()
    return reader.id


async def test_a_log_is_read_from_every_event_on(stage: Stage) -> None:
    """A log can be read from any event, at the border of a batch or within it. After the last event nothing follows."""
    response_id = await grown(stage)
    rows = await stage.ports.store.children(response_id, "event")
    assert len(rows) >= 5
    whole = await replayed(stage, response_id)
    assert lines_of(whole) == expected_lines(story(6))
    for after in range(-1, 9):
        assert await replayed(stage, response_id, None if after < 0 else after) == whole[after + 1 :]


@pytest.mark.parametrize("after", [8, 9, 300, 9_999_999_999])
async def test_a_cursor_at_the_end_or_beyond_it_reads_nothing(stage: Stage, after: int) -> None:
    """A cursor at or beyond the last event of an ended response gives an empty stream, which ends at once."""
    reader = await ended(stage)
    assert await replayed(stage, reader.id, after) == []


@pytest.mark.parametrize("after", [MAX_EVENTS - 2, MAX_EVENTS - 1, MAX_EVENTS, MAX_EVENTS + 1, 700, 1_000, 1_001])
async def test_a_long_log_is_read_from_the_middle(stage: Stage, after: int) -> None:
    """A log of 1,000 events is read correctly from a cursor at the border of a batch or within it."""
    reader = await ended(stage, LONG)
    assert lines_of(await replayed(stage, reader.id, after)) == expected_lines(LONG)[after + 1 :]


async def test_the_last_event_can_be_named_by_number_or_token(stage: Stage) -> None:
    """A client names its last event by number or token, as `starting_after` or `Last-Event-ID`.

    It can also use the token instead of the response's id.
    """
    reader = await ended(stage)
    token = ids.token_for(reader.id, 3)
    for named, after, last in [
        (reader.id, "3", None),
        (reader.id, token, None),
        (reader.id, None, token),
        (reader.id, None, "3"),
        (token, None, None),
        (token, "3", "5"),
        (ids.token_for(reader.id, 6), "3", None),
    ]:
        again = Reader(reader.id, await stage.engine.stream(ANN, named, after, last))
        assert await again.rest() == reader.received[4:]


@pytest.mark.parametrize("wrong", ["-1", "x", "1.5", " "])
async def test_a_wrong_cursor_is_named(stage: Stage, wrong: str) -> None:
    """A cursor that is negative, not a number or of another response is refused, and the error names the parameter."""
    reader, other = await ended(stage), await ended(stage)
    for cursor in (wrong, ids.token_for(other.id, 1)):
        for place, param in (((cursor, None), "starting_after"), ((None, cursor), "Last-Event-ID")):
            with pytest.raises(BadRequest) as refused:
                await stage.engine.stream(ANN, reader.id, *place)
            assert refused.value.param == param


async def test_a_stream_is_not_found_for_another_caller(stage: Stage) -> None:
    """For another caller the response of a stream does not exist."""
    reader = await ended(stage)
    with pytest.raises(NotFound):
        await stage.engine.stream(BOB, reader.id, None, None)


# While it grows


async def test_many_readers_read_the_same(stage: Stage) -> None:
    """All readers read the same events, in this process and in another.

    They start at the beginning or in the middle, before the first event is there or after the last.
    """
    stage.upstream.is_background = False
    gate, middle = stage.upstream.streams.hold(0), stage.upstream.streams.hold(5)
    reader = await streamed(stage)
    running = driving(stage.engine, reader.id, 1)
    other = await stage.process()
    early = [await resumed(stage, reader.id, None, engine) for engine in (stage.engine, other) for _ in range(3)]
    reading = [asyncio.create_task(one.rest()) for one in early]
    gate.open()
    await logged(stage, reader.id, 5)
    within = asyncio.create_task((await resumed(stage, reader.id, 2, other)).rest())
    ahead = asyncio.create_task((await resumed(stage, reader.id, 6, other)).rest())
    middle.open()
    await running
    whole = await reader.rest()
    assert lines_of(whole) == expected_lines(story(6))
    assert [await one for one in reading] == [whole] * 6
    assert await within == whole[3:]
    assert await ahead == whole[7:]
    assert await replayed(stage, reader.id) == whole


async def test_a_reader_that_does_not_read_delays_nothing(stage: Stage) -> None:
    """A reader that does not read delays neither the run nor other readers. Later it reads all events."""
    stage.upstream.streams.events = LONG
    stage.upstream.is_background = False
    reader = await streamed(stage)
    slow = await resumed(stage, reader.id)
    running = driving(stage.engine, reader.id, 1)
    await slow.take(1)
    assert lines_of(await reader.rest()) == expected_lines(LONG)
    await running
    assert lines_of(await slow.rest()) == expected_lines(LONG)


async def test_a_reader_that_leaves_affects_no_other(stage: Stage) -> None:
    """A reader that leaves affects neither the run nor other readers."""
    gate = stage.upstream.streams.hold(4)
    reader = await streamed(stage)
    leaver = await resumed(stage, reader.id)
    await leaver.take(2)
    await leaver.leave()
    gate.open()
    assert lines_of(await reader.rest()) == expected_lines(story(6))


async def test_a_deleted_response_breaks_the_streams_of_its_readers(stage: Stage) -> None:
    """When a response is deleted, the streams of readers that wait for more events break.

    A clean end would look like the whole answer.
    """
    stage.pace(wake_s=0.1)
    reader = await ended(stage)
    await stage.put(reader.id, f"resp|{reader.id}|event|0000000008|00", rows=2)  # its end can no longer be read
    other = await resumed(stage, reader.id)
    await other.take(8)
    await stage.engine.delete(ANN, reader.id)
    with pytest.raises(StreamBroken):
        await other.rest()
    assert numbers(other.received) == list(range(8))


async def test_a_purged_response_breaks_the_streams_of_its_readers(stage: Stage) -> None:
    """When the rows of a response are purged while a reader reads them, its stream breaks."""
    stage.pace(wake_s=0.1)
    reader = await ended(stage, LONG)
    other = await resumed(stage, reader.id)
    await other.take(1)
    await stage.engine.delete(ANN, reader.id)
    await stage.fire_alarms(reader.id)
    assert await stage.ports.store.read(reader.id) is None
    with pytest.raises(StreamBroken):
        await other.rest()
    assert lines_of(other.received) == expected_lines(LONG)[: len(other.received)]


async def test_a_reader_without_events_wakes_the_shard(stage: Stage) -> None:
    """A reader that receives no events sends wake-ups for the shard.

    The holder may have crashed, and a sweep finds its expired lease sooner than the heartbeat does.
    """
    stage.pace(wake_s=0.1)
    stage.upstream.is_background = False
    reader = await streamed(stage)
    waiting = asyncio.create_task(reader.rest())
    for count in (1, 2):

        async def has_asked(count: int = count) -> bool:
            return len(stage.wakeups(reader.id)) >= count

        await until(has_asked)
        assert 0 <= stage.wakeups(reader.id)[-1].content["at"] - stage.clock.ms // 1_000 <= 1
        stage.clock.advance(5)
    waiting.cancel()


async def test_an_outage_delays_a_reader_and_loses_no_event(stage: Stage) -> None:
    """During an outage of storage a reader receives nothing. Afterwards it receives every event."""
    gate = stage.upstream.streams.hold(4)
    reader = await streamed(stage)
    other = await resumed(stage, reader.id)
    await other.take(3)
    async with stage.proxy.refusing():
        gate.open()
        await reader.take(5)
    assert lines_of(await other.rest()) == expected_lines(story(6))
    await released(stage)


async def test_a_replay_does_not_begin_in_the_middle(stage: Stage) -> None:
    """A full replay of a restarted response raises StoreError if storage fails at its first event.

    It does not begin at the restart instead, because the reader would miss `response.created`.
    """
    stage.upstream.is_background = False
    stage.upstream.streams.breaks = [4]
    reader = await streamed(stage)
    await stage.engine.drive(RunOffer(reader.id, 1))
    broken = await resumed(stage, reader.id)
    async with stage.proxy.refusing():
        with pytest.raises(StoreError):
            await broken.take(1)
    whole = await replayed(stage, reader.id)
    assert kinds(whole)[:3] == ["created", "in_progress", "output_text.delta"]
    assert numbers(whole)[:3] == [0, 4, 5]


# The cost of readers


async def test_a_reader_unpacks_one_batch_at_a_time(stage: Stage) -> None:
    """A reader keeps a page packed and unpacks one batch at a time, so events that pack well do not fill its memory."""
    size, count = 4 * MB, event_log.ROWS_A_PAGE - 2
    delta = {"type": "response.output_text.delta", "delta": "x" * size}
    stage.upstream.streams.events[2:2] = [delta] * count
    reader = await streamed(stage)
    await reader.rest()
    tracemalloc.start()
    page = await stage.ports.store.log(reader.id, event_log.batch_key_before(reader.id, -1))
    held, _ = tracemalloc.get_traced_memory()
    async for _ in await stage.engine.stream(ANN, reader.id, None, None):
        pass
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(page.batches) > count
    assert held < MB
    assert most < size * count / 2


async def test_many_waiting_readers_send_one_wakeup(stage: Stage) -> None:
    """Any number of waiting readers in a process send one wake-up per shard and second."""
    stage.pace(wake_s=0.1)
    stage.upstream.is_background = False
    reader = await streamed(stage)
    readers = [await resumed(stage, reader.id) for _ in range(30)]
    before = stage.proxy.counts["GET responses(key)"]
    waiting = [asyncio.create_task(one.rest()) for one in readers]

    async def have_asked() -> bool:  # a reader that sends a wake-up also reads the record
        return stage.proxy.counts["GET responses(key)"] >= before + 3 * len(readers)

    await until(have_asked)
    asked = Counter(sent.content["at"] for sent in stage.wakeups(reader.id))
    assert list(asked.values()) == [1]
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
