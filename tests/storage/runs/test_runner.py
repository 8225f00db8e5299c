"""Runs and their holders: takeover after a death, two that both believe to hold, messages, the run alarm."""

import asyncio
from itertools import pairwise

import pytest

from shared.core.alarms import Kind
from shared.core.states import Status
from shared.storage.messages import RunOffer
from tests.support.clocks import START_MS
from tests.support.fakes.streams import story
from tests.support.run_holders import claimed, die, driving, held, logged, offered, released
from tests.support.stage import CALLBACK_URL, Stage, until
from tests.support.stream_clients import expected_lines, lines_of, offers, replayed, streamed

MINUTE_MS = 60_000


# Death and takeover


@pytest.mark.parametrize("place", [3, 5, 8])
async def test_a_death_between_sending_and_logging_contradicts_nobody(stage: Stage, place: int) -> None:
    """What the client had seen comes again under the same numbers, though next to nothing of it had been logged."""
    stage.pace(flush_s=600)
    gate = stage.upstream.streams.hold(place)
    reader = await streamed(stage)
    await reader.take(place - 1)
    await die(held(stage))
    assert (await stage.record(reader.id)).log.next_seq < place
    await stage.ring(reader.id)
    assert offers(stage, reader.id) == [2]
    gate.open()
    await (await stage.process()).drive(RunOffer(reader.id, 2))
    again = await replayed(stage, reader.id)
    assert again[:place] == reader.received
    assert lines_of(again) == expected_lines(story(6))
    assert stage.upstream.begun == {reader.id: 1}


async def test_a_death_before_the_first_event_begins_nothing_twice(stage: Stage) -> None:
    """Nobody knows what the upstream calls the work: the same key is asked again."""
    gate = stage.upstream.streams.hold(0)
    creating = asyncio.create_task(streamed(stage))
    await gate.reached.wait()
    await die(held(stage))
    (response_id,) = stage.upstream.streams.runs
    await stage.ring(response_id)
    gate.open()
    await (await stage.process()).drive(RunOffer(response_id, 2))
    assert lines_of(await (await creating).rest()) == expected_lines(story(6))
    assert (stage.upstream.streams.runs, stage.upstream.begun) == ([response_id] * 2, {response_id: 1})


@pytest.mark.parametrize("place", [5, 8])
async def test_a_holder_that_has_lost_can_neither_append_nor_end(stage: Stage, place: int) -> None:
    """Its lease ran out while it was alive, and nobody is there yet: what it had sent is logged by the next holder."""
    stage.pace(watch_s=600)
    gate = stage.upstream.streams.hold(place)
    reader = await streamed(stage)
    await reader.take(place - 1)
    await logged(stage, reader.id, place)
    await stage.ring(reader.id)
    gate.open()
    await released(stage)
    left = await stage.record(reader.id)
    assert (left.status, left.run.epoch, left.log.next_seq) == (Status.IN_PROGRESS, 2, place)
    await (await stage.process()).drive(RunOffer(reader.id, 2))
    assert lines_of(await reader.rest()) == expected_lines(story(6))
    assert await replayed(stage, reader.id) == reader.received


@pytest.mark.parametrize("place", [5, 8])
async def test_of_two_holders_only_the_newer_writes(stage: Stage, place: int) -> None:
    """Both are alive and read the same events at the same time: nothing comes twice, and both leave the upstream."""
    stage.pace(watch_s=600)
    gate = stage.upstream.streams.hold(place)
    reader = await streamed(stage)
    await reader.take(place - 1)
    await logged(stage, reader.id, place)
    older = held(stage)
    await stage.ring(reader.id)
    newer = driving(await stage.process(), reader.id, 2)
    await claimed(stage, reader.id, 2)
    gate.open()
    await asyncio.wait({older, newer}, timeout=20)
    assert (older.exception(), newer.exception()) == (None, None)
    assert lines_of(await reader.rest()) == expected_lines(story(6))
    assert await replayed(stage, reader.id) == reader.received
    assert stage.upstream.streams.closed == stage.upstream.streams.opened == 2
    assert await stage.kinds(reader.id) == [Kind.PURGE]


async def test_a_holder_that_has_lost_stops_reading_within_its_watch(stage: Stage) -> None:
    """Nothing happens upstream that could make it write: it looks at its record."""
    stage.upstream.streams.hold(3)
    reader = await streamed(stage)
    await reader.take(2)
    await stage.ring(reader.id)
    await released(stage)
    assert stage.upstream.streams.closed == stage.upstream.streams.opened
    assert (await stage.record(reader.id)).run.epoch == 2


async def test_a_silent_upstream_is_not_asked_twice(stage: Stage) -> None:
    """It thinks for much longer than a lease: the lease is renewed, events or not."""
    stage.pace(renew_s=0.05)
    stage.upstream.is_background = False
    gate = stage.upstream.streams.hold(0)
    made = await stage.create(stream=True)
    running = driving(stage.engine, made.id, 1)
    await gate.reached.wait()
    for _ in range(4):
        stage.clock.advance(20)
        await renewed(stage, made.id)
        assert await stage.sweep(made.id) == 0
    gate.open()
    await running
    assert lines_of(await replayed(stage, made.id)) == expected_lines(story(6))
    assert stage.upstream.streams.runs == [made.id]


async def renewed(stage: Stage, response_id: str) -> None:
    """Wait until the lease counts from now."""

    async def is_renewed() -> bool:
        return (await stage.alarms(response_id))[0].due_ms >= stage.clock.ms + 30_000

    await until(is_renewed)


async def test_a_long_run_is_handed_over_in_time(stage: Stage) -> None:
    """No invocation lasts for ever: where the upstream is_background, another process continues."""
    stage.pace(hold_s=0.3)
    gate = stage.upstream.streams.hold(4)
    reader = await streamed(stage)
    await offered(stage, reader.id, 2)
    gate.open()
    await (await stage.process()).drive(RunOffer(reader.id, 2))
    assert lines_of(await reader.rest()) == expected_lines(story(6))


# Messages and the run alarm


async def test_a_run_that_nobody_claims_is_offered_again_and_again(stage: Stage) -> None:
    """Each time at twice the distance, up to a quarter of an hour; the epoch stays, for nobody has held it."""
    stage.upstream.is_background = False
    made = await stage.create()
    rung_ms = [START_MS]
    for _ in range(7):
        await stage.ring(made.id)
        rung_ms.append(stage.clock.ms)
    minutes = [round((later - earlier) / MINUTE_MS) for earlier, later in pairwise(rung_ms)]
    assert minutes == [1, 2, 4, 8, 15, 15, 15]
    assert offers(stage, made.id) == [1] * 8
    record = await stage.record(made.id)
    assert (record.run.claimed, record.run.expirations) == (False, 0)


@pytest.mark.parametrize("epoch", [0, 2, 9])
async def test_a_message_of_another_epoch_is_dropped(stage: Stage, epoch: int) -> None:
    """It is late, or was never true."""
    stage.upstream.is_background = False
    made = await stage.create()
    await stage.engine.drive(RunOffer(made.id, epoch))
    assert stage.upstream.streams.runs == []
    assert await stage.record(made.id) == made


async def test_a_message_that_comes_twice_makes_one_holder(stage: Stage) -> None:
    """At the same time, while the run is held, and after its end."""
    stage.upstream.is_background = False
    gate = stage.upstream.streams.hold(3)
    made = await stage.create(stream=True)
    other = await stage.process()
    running = [driving(engine, made.id, 1) for engine in (stage.engine, other, stage.engine)]
    await gate.reached.wait()
    await other.drive(RunOffer(made.id, 1))
    gate.open()
    await asyncio.gather(*running)
    await other.drive(RunOffer(made.id, 1))
    assert stage.upstream.streams.runs == [made.id]
    assert lines_of(await replayed(stage, made.id)) == expected_lines(story(6))


async def test_what_kills_every_holder_fails(stage: Stage) -> None:
    """Five leases in a row ran out without a step forward: that is no accident."""
    stage.upstream.streams.hold(0)
    stage.upstream.is_background = False
    made = await stage.create(callback_url=CALLBACK_URL)
    for epoch in range(1, 7):
        running = driving(stage.engine, made.id, epoch)
        await claimed(stage, made.id, epoch)
        await die(running)
        await stage.ring(made.id)
    ended = await stage.record(made.id)
    assert (ended.status, ended.run.expirations) == (Status.FAILED, 5)
    assert (await stage.shown(made.id))["error"]["code"] == "internal_error"


async def test_a_step_forward_clears_the_count_of_deaths(stage: Stage) -> None:
    """A long stream may outlive any number of processes."""
    events = stage.upstream.streams.events = story(12)
    gates = [stage.upstream.streams.hold(place) for place in range(3, 11)]
    reader = await streamed(stage)
    running = held(stage)
    for epoch, gate in enumerate(gates, 2):
        await logged(stage, reader.id, epoch + 1)
        await die(running)
        await stage.ring(reader.id)
        gate.open()
        running = driving(stage.engine, reader.id, epoch)
    await running
    assert lines_of(await replayed(stage, reader.id)) == expected_lines(events)
    assert len(offers(stage, reader.id)) == 8
