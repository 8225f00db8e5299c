"""The writer of an event log when storage fails, when events are too large, and when another process has the run."""

import asyncio
import random
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from shared.core.blobs import MAX_PACKED
from shared.core.event_log import MAX_EVENTS, Event, batch_key_before
from shared.core.states import Status
from shared.runs.lease import Lost, RunLease
from shared.runs.log_writer import LogWriter
from shared.transitions.run_transitions import RESERVED_BLOCK
from tests.support.conditions import until
from tests.support.fakes.streams import story
from tests.support.proxies.fault_proxy import is_read, is_transaction
from tests.support.run_holders import driving, logged, released
from tests.support.stage import CALLBACK_URL, Stage
from tests.support.stream_clients import expected_lines, kinds, lines_of, numbers, replayed, streamed

TRANSACTION_MAX = 4_194_304
"""The largest entity group transaction in bytes, as sent. Azure refuses a larger one, Azurite may not."""
MB = 1_000_000
ANSWER = "question answered"

UntilLogged = Callable[[str], Awaitable[None]]


def noise(size: int) -> str:
    """Return a text that hardly becomes smaller when it is packed, of about this size in bytes."""
    return b64encode(random.Random(size).randbytes(size)).decode()


def delta(text: str) -> dict[str, Any]:
    """Return an event with this text."""
    return {"type": "response.output_text.delta", "delta": text}


async def append(log: LogWriter, texts: list[str]) -> None:
    """Append events with these texts."""
    for text in texts:
        await log.append(Event("x", text.encode()), log.next_seq + 1, Status.IN_PROGRESS)


async def texts_in(stage: Stage, response_id: str) -> list[str]:
    """Return the texts of the events in the log, without `response.created`."""
    page = await stage.ports.store.log(response_id, batch_key_before(response_id, -1))
    return [one.body.decode() for batch in page.batches for one in batch.events][1:]


# Sizes


@pytest.mark.parametrize("status", [400, 413])
async def test_events_that_storage_does_not_take_fail_the_response(stage: Stage, status: int) -> None:
    """They would be refused again and again, until the deadline."""
    gate, beyond = stage.upstream.streams.hold(3), stage.upstream.streams.hold(5)
    reader = await streamed(stage)
    stage.proxy.refuse(lambda request: is_transaction(request) and b'"p0"' in request.body, status)
    gate.open()

    async def is_over() -> bool:
        return (await stage.record(reader.id)).status.is_terminal

    await until(is_over)
    stage.proxy.heal()
    beyond.open()
    found = numbers(await reader.rest())
    await released(stage)
    assert found == sorted(set(found))
    assert (await stage.shown(reader.id))["error"]["code"] == "output_too_large"


async def test_a_large_event_after_a_nearly_full_batch_is_written_alone(
    stage: Stage, transaction_sizes: list[int]
) -> None:
    """Two events that fit one transaction each, but not together, are written in two transactions."""
    stage.pace(flush_s=0.5)
    events = stage.upstream.streams.events = story(2)
    events[3:3] = [delta(noise(3 * MB // 4)), delta(noise(5 * MB // 2))]
    gate = stage.upstream.streams.hold(3)
    reader = await streamed(stage)
    await logged(stage, reader.id, 3)
    gate.open()
    assert lines_of(await reader.rest()) == expected_lines(events)
    assert max(transaction_sizes) < TRANSACTION_MAX
    assert sum(transaction_sizes) > TRANSACTION_MAX


async def test_an_event_too_large_to_keep_fails_the_response_after_its_client_left(stage: Stage) -> None:
    """An event that is too large to keep fails the response, even if its client leaves before the event is stored.

    If the run were handed over instead, the event would fail every later holder.
    """
    stage.upstream.streams.events[2:2] = [delta(noise(2 * MAX_PACKED))]
    progress, large, beyond = (stage.upstream.streams.hold(n) for n in (1, 2, 3))
    reader = await streamed(stage)
    await progress.reached.wait()
    stage.proxy.delay(is_transaction, 60)
    before = stage.proxy.counts["POST $batch"]
    progress.open()

    async def is_writing() -> bool:
        return stage.proxy.counts["POST $batch"] > before

    await until(is_writing)
    stage.proxy.heal()
    large.open()
    await beyond.reached.wait()
    await reader.leave()
    await released(stage)
    assert max(numbers(reader.received), default=0) < 2  # no reader has seen the event that the log cannot hold
    assert (await stage.shown(reader.id))["error"]["code"] == "output_too_large"


async def test_a_response_that_is_not_streamed_has_no_log(stage: Stage) -> None:
    """A run without a stream writes no event rows. Its status, result and callback are those of any response."""
    stage.upstream.is_background = False
    gate = stage.upstream.streams.hold(4)
    made = await stage.create(callback_url=CALLBACK_URL)
    running = driving(stage.engine, made.id, 1)
    await gate.reached.wait()

    async def is_shown() -> bool:
        return bool((await stage.shown(made.id))["status"] == "in_progress")

    await until(is_shown)
    gate.open()
    await running
    shown = await stage.shown(made.id)
    assert (shown["status"], shown["output"][0]["content"][0]["text"]) == ("completed", ANSWER)
    assert await stage.ports.store.children(made.id, "event") == []
    await stage.deliver()
    assert len(stage.receiver.posts) == 1


# Storage that is away


@pytest.mark.usefixtures("waits")
async def test_events_wait_in_bounded_memory_while_storage_is_away(
    stage: Stage, lease: RunLease, until_logged: UntilLogged
) -> None:
    """While storage is away, events are taken up to a full batch, and then the upstream is not read further.

    Once storage is back, all of them are stored in order and once each.
    """
    texts = [str(n) for n in range(MAX_EVENTS + 50)]
    log = LogWriter(stage.ports, lease, None)
    writing = asyncio.create_task(log.write())
    async with stage.proxy.refusing():
        appending = asyncio.create_task(append(log, texts))
        await until_logged("run.unwritten")
        assert not appending.done()
        assert log.next_seq == 1 + MAX_EVENTS
    await appending
    await log.drain()
    assert await texts_in(stage, lease.record.id) == texts
    assert (await stage.record(lease.record.id)).log.next_seq == 1 + len(texts)
    writing.cancel()


async def test_a_batch_whose_answer_was_lost_is_stored_once(stage: Stage, lease: RunLease) -> None:
    """If the answer to a flush is lost, the write is recognised. The next batch follows it without a gap."""
    log = LogWriter(stage.ports, lease, None)
    lost = stage.proxy.drop_answer(is_transaction)
    for texts in (["a", "b"], ["c"]):
        await append(log, texts)
        await log.flush()
    assert lost.happened.is_set()
    assert await texts_in(stage, lease.record.id) == ["a", "b", "c"]


async def test_no_number_is_sent_before_it_is_reserved(stage: Stage, until_logged: UntilLogged) -> None:
    """During an outage of storage, a live stream goes on up to the last number that is reserved, and no further."""
    stage.upstream.streams.events = story(1_000)
    gate = stage.upstream.streams.hold(3)
    reader = await streamed(stage)
    await reader.take(2)
    reserved = (await logged(stage, reader.id, 3)).log.high_water_mark
    assert reserved == 1 + RESERVED_BLOCK
    async with stage.proxy.refusing():
        gate.open()
        assert numbers(await reader.take(reserved - 3))[-1] == reserved - 1
        await until_logged("run.unwritten")

        async def is_read_on() -> bool:
            return stage.upstream.streams.given > reserved

        await until(is_read_on)
        assert stage.upstream.streams.given <= reserved + MAX_EVENTS + 1
    assert lines_of(await reader.rest()) == expected_lines(story(1_000))
    assert lines_of(await replayed(stage, reader.id)) == expected_lines(story(1_000))


async def test_an_outage_during_a_stream_loses_no_event(stage: Stage) -> None:
    """During an outage of storage the live client reads on. The log catches up when storage is back."""
    gate, last = stage.upstream.streams.hold(3), stage.upstream.streams.hold(8)
    reader = await streamed(stage)
    await reader.take(2)
    await logged(stage, reader.id, 3)
    async with stage.proxy.refusing():
        gate.open()
        assert numbers(await reader.take(5)) == [3, 4, 5, 6, 7]
        last.open()
    assert lines_of(await reader.rest()) == expected_lines(story(6))
    assert await replayed(stage, reader.id) == reader.received


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
async def test_a_lost_answer_repeats_no_event(stage: Stage, nth: int) -> None:
    """No event comes twice if the answer to any transaction is lost.

    The transactions accept the response, record the upstream's id with its events, append events and end the response.
    """
    gate = stage.upstream.streams.hold(4)
    last = stage.upstream.streams.hold(8)
    fault = stage.proxy.drop_answer(is_transaction, nth)
    reader = await streamed(stage)
    await reader.take(3)
    await logged(stage, reader.id, 4)
    gate.open()
    await logged(stage, reader.id, 8)
    last.open()
    assert lines_of(await reader.rest()) == expected_lines(story(6))
    assert await replayed(stage, reader.id) == reader.received
    assert fault.happened.is_set()
    assert stage.upstream.begun == {reader.id: 1}


async def test_a_flush_whose_outcome_stays_unknown_repeats_no_event(stage: Stage, until_logged: UntilLogged) -> None:
    """No event comes twice if a flush is committed, its answer is lost, and storage fails before the row is read again.

    The next try finds the events in the log.
    """
    gate = stage.upstream.streams.hold(3)
    reader = await streamed(stage)
    await reader.take(2)
    await logged(stage, reader.id, 3)
    fault = stage.proxy.drop_answer(is_transaction)
    stage.proxy.delay(is_read, 60)
    gate.open()
    await fault.happened.wait()
    async with stage.proxy.refusing():
        stage.proxy.heal()
        await until_logged("run.unwritten")
    assert lines_of(await reader.rest()) == expected_lines(story(6))
    assert await replayed(stage, reader.id) == reader.received


async def test_a_stream_whose_end_storage_refuses_has_another_end(stage: Stage) -> None:
    """A reader gets it, and so does one that resumes. What the refused transaction would have stored is not told."""
    stage.proxy.refuse(lambda request: is_transaction(request) and b'"status":"completed"' in request.body, 413)
    reader = await streamed(stage)
    ends = kinds(await reader.rest())
    assert ends[-1] == "failed"
    assert "completed" not in ends
    assert kinds(await replayed(stage, reader.id))[-1] == "failed"
    assert (await stage.shown(reader.id))["error"]["code"] == "internal_error"


async def test_an_end_after_an_outage_frees_its_holder_at_once(stage: Stage, until_logged: UntilLogged) -> None:
    """If an event is too large, storage fails and the client leaves, the run is over as soon as the end is written."""
    stage.upstream.streams.events[2:2] = [delta(noise(2 * MAX_PACKED))]
    gate = stage.upstream.streams.hold(2)
    reader = await streamed(stage)
    await logged(stage, reader.id, 2)
    async with stage.proxy.refusing():
        gate.open()
        await until_logged("run.unwritten")
        await reader.leave()
    async with asyncio.timeout(5):
        await released(stage)
    assert (await stage.shown(reader.id))["error"]["code"] == "output_too_large"


# A run that is lost


async def test_a_process_that_has_lost_the_run_stores_no_event(stage: Stage, lease: RunLease) -> None:
    """If the run has been offered again, storing events raises Lost, and the log stays as it is."""
    log = LogWriter(stage.ports, lease, None)
    await stage.fire_alarms(lease.record.id)
    before = await stage.record(lease.record.id)
    await append(log, ["late"])
    with pytest.raises(Lost):
        await log.flush()
    with pytest.raises(Lost):
        await log.write()
    assert await stage.record(lease.record.id) == before
    assert await texts_in(stage, lease.record.id) == []
