"""Runs and their holders: crashes, two processes that both believe to hold a run, offers, and the run alarm."""

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


# Crashes and later holders


@pytest.mark.parametrize("place", [3, 5, 8])
async def test_a_crash_between_sending_and_logging_changes_no_number(stage: Stage, place: int) -> None:
    """After a crash, events that were sent to the client but not logged are logged again under the same numbers."""
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


async def test_a_crash_before_the_first_event_starts_no_second_work(stage: Stage) -> None:
    """If a holder crashes before it knows the upstream's id, the next one repeats the create with the same key.

    No second work is started.
    """
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
async def test_a_holder_that_has_lost_its_run_can_neither_append_nor_end(stage: Stage, place: int) -> None:
    """A live holder whose lease has expired can neither append events nor end the response.

    Events that it had sent are logged by the next holder.
    """
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
    """When two holders read the same events, only the newer one writes them.

    No event comes twice, and both close their upstream connections.
    """
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


async def test_a_holder_that_has_lost_its_run_stops_reading_within_its_watch(stage: Stage) -> None:
    """A holder that has lost its run notices within its watch interval, even if the upstream sends nothing."""
    stage.upstream.streams.hold(3)
    reader = await streamed(stage)
    await reader.take(2)
    await stage.ring(reader.id)
    await released(stage)
    assert stage.upstream.streams.closed == stage.upstream.streams.opened
    assert (await stage.record(reader.id)).run.epoch == 2


async def test_a_silent_upstream_is_not_called_twice(stage: Stage) -> None:
    """While an upstream is silent for longer than a lease, its lease is renewed and its work is not started again."""
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
    """Wait until the lease has been renewed at the current time."""

    async def is_renewed() -> bool:
        return (await stage.alarms(response_id))[0].due_ms >= stage.clock.ms + 30_000

    await until(is_renewed)


async def test_a_long_run_is_handed_over_in_time(stage: Stage) -> None:
    """After its longest time, a holder hands the run of a background upstream over to another process.

    An invocation has a time limit.
    """
    stage.pace(hold_s=0.3)
    gate = stage.upstream.streams.hold(4)
    reader = await streamed(stage)
    await offered(stage, reader.id, 2)
    gate.open()
    await (await stage.process()).drive(RunOffer(reader.id, 2))
    assert lines_of(await reader.rest()) == expected_lines(story(6))


# Offers and the run alarm


async def test_a_run_that_no_process_claims_is_offered_again(stage: Stage) -> None:
    """A run that no process claims is offered again at doubling intervals, up to 15 minutes.

    Its epoch stays the same, because no process has held it.
    """
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
async def test_an_offer_of_another_epoch_is_ignored(stage: Stage, epoch: int) -> None:
    """An offer for another epoch than the record's is ignored, because it is late or was never valid."""
    stage.upstream.is_background = False
    made = await stage.create()
    await stage.engine.drive(RunOffer(made.id, epoch))
    assert stage.upstream.streams.runs == []
    assert await stage.record(made.id) == made


async def test_copies_of_an_offer_make_one_holder(stage: Stage) -> None:
    """Copies of an offer make only one holder, whether they arrive at once, during the run or after its end."""
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


async def test_a_response_that_crashes_every_holder_fails(stage: Stage) -> None:
    """After five leases in a row that expire without progress, the response fails with `internal_error`."""
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


async def test_progress_resets_the_count_of_crashes(stage: Stage) -> None:
    """Progress resets the count of expired leases, so a long stream survives any number of crashes."""
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
