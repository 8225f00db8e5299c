"""Streams at their limits: events, requests and outputs that are too large, many readers, and failures of storage."""

import asyncio
import random
import tracemalloc
from base64 import b64encode
from collections import Counter
from typing import Any

import pytest

from shared.core import event_log
from shared.core.blobs import MAX_PACKED
from shared.core.errors import StoreError, TooLarge, UpstreamRefused
from shared.core.states import Status
from shared.storage.messages import RunOffer
from shared.upstreams.protocol import UpstreamEvent
from tests.support.fakes.streams import KEEPALIVE, Streams, story
from tests.support.log_capture import log_events
from tests.support.proxies.fault_proxy import StorageRequest, is_read, is_transaction
from tests.support.run_holders import driving, logged, released
from tests.support.stage import ANN, Stage, until
from tests.support.stream_clients import expected_lines, kinds, lines_of, numbers, replayed, resumed, streamed

TRANSACTION_MAX = 4_194_304
"""The largest entity group transaction in bytes, as sent. Azure refuses a larger one, Azurite may not."""
MB = 1_000_000


def noise(size: int) -> str:
    """Return a text that hardly becomes smaller when it is packed, of about this size in bytes."""
    return b64encode(random.Random(size).randbytes(size)).decode()


def sent_sizes(stage: Stage) -> list[int]:
    """Return a list that gets the size in bytes of every transaction from now on."""
    sizes: list[int] = []

    def notes(request: StorageRequest) -> bool:
        sizes.append(len(request.body) if request.kind == "POST $batch" else 0)
        return False

    stage.proxy.delay(notes, 0)
    return sizes


def delta(text: str) -> dict[str, Any]:
    """Return an event with this text."""
    return {"type": "response.output_text.delta", "delta": text}


# Writing


async def test_a_large_event_after_a_nearly_full_batch_is_written_alone(stage: Stage) -> None:
    """Two events that fit one transaction each, but not together, are written in two transactions."""
    stage.pace(flush_s=0.5)
    sizes = sent_sizes(stage)
    events = stage.upstream.streams.events = story(2)
    events[3:3] = [delta(noise(3 * MB // 4)), delta(noise(5 * MB // 2))]
    gate = stage.upstream.streams.hold(3)
    reader = await streamed(stage)
    await logged(stage, reader.id, 3)
    gate.open()
    assert lines_of(await reader.rest()) == expected_lines(events)
    assert max(sizes) < TRANSACTION_MAX
    assert sum(sizes) > TRANSACTION_MAX


async def test_an_event_too_large_to_keep_fails_the_response_after_its_client_left(stage: Stage) -> None:
    """An event that is too large to keep fails the response, even if its client leaves before the event is stored.

    If the run were handed over instead, the event would fail every later holder.
    """
    stage.upstream.streams.events[1:1] = [KEEPALIVE, delta(noise(2 * MAX_PACKED))]
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


# Requests, and responses that repeat them


async def test_a_request_whose_echo_does_not_fit_is_too_large_for_a_stream(stage: Stage) -> None:
    """A streamed request is refused if it does not fit together with `response.created`, which repeats it.

    The same request is accepted without a stream.
    """
    instructions = noise(MAX_PACKED * 3 // 5)
    with pytest.raises(TooLarge) as refused:
        await streamed(stage, instructions=instructions)
    assert (refused.value.status, refused.value.code) == (413, "request_too_large")
    assert stage.upstream.streams.runs == []
    made = await stage.create(instructions=instructions)
    assert made.status is Status.QUEUED


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("is_background", [True, False], ids=["is_background", "foreground"])
async def test_a_request_over_the_limit_is_always_refused(stage: Stage, stream: bool, is_background: bool) -> None:
    """A request over the size limit is refused before work is started, streamed or not, for both kinds of upstream."""
    stage.upstream.is_background = is_background
    creating = streamed if stream else Stage.create
    with pytest.raises(TooLarge) as refused:
        await creating(stage, instructions=noise(MAX_PACKED * 21 // 20))
    assert refused.value.code == "request_too_large"
    assert stage.upstream.begun.total() == 0


async def test_an_output_whose_events_do_not_fit_is_shown_only_by_the_end(stage: Stage) -> None:
    """If the synthesized events of an output do not fit beside the final object, only the terminal event shows it.

    Here not even the first of these events fits, because it repeats the instructions.
    """
    sizes = sent_sizes(stage)
    stage.upstream.streams.whole = True
    stage.upstream.course = [Status.COMPLETED]
    stage.upstream.output = noise(MAX_PACKED * 2 // 5)
    reader = await streamed(stage, instructions=noise(MAX_PACKED * 9 // 20))
    received = await reader.rest()
    assert (kinds(received)[0], kinds(received)[-1]) == ("created", "completed")
    assert "output_text.delta" not in kinds(received)
    (item,) = received[-1][1]["response"]["output"]
    assert item["content"][0]["text"].endswith(stage.upstream.output)
    assert max(sizes) < TRANSACTION_MAX


# Reading


async def test_the_end_of_a_long_stream_is_read_without_its_log(stage: Stage) -> None:
    """A client that has read a long stream live reads only the end of the log after it, not all pages."""
    large = [delta(f"{n}".ljust(event_log.MAX_TEXT)) for n in range(3 * event_log.ROWS_A_PAGE)]
    events = stage.upstream.streams.events = story(event_log.MAX_EVENTS)
    events[2:2] = large
    gate = stage.upstream.streams.hold(len(events) - 1)
    reader = await streamed(stage)
    await reader.take(len(events) - 2)
    await logged(stage, reader.id, len(events) - 1)
    assert len(await stage.ports.store.children(reader.id, "event")) > len(large)
    before = stage.proxy.counts["GET responses()"]
    gate.open()
    assert lines_of(await reader.rest()) == expected_lines(events)
    assert stage.proxy.counts["GET responses()"] - before <= 2


async def test_a_reader_unpacks_one_batch_at_a_time(stage: Stage) -> None:
    """A reader keeps a page packed and unpacks one batch at a time, so events that pack well do not fill its memory."""
    size, count = 4 * MB, event_log.ROWS_A_PAGE - 2
    stage.upstream.streams.events[2:2] = [delta("x" * size)] * count
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


# Storage that fails at an awkward moment


class Refusing(Streams):
    """Streams of an upstream that waits at the gate and then refuses the request."""

    def _sent(self, *_event: Any) -> UpstreamEvent:
        raise UpstreamRefused(400, "Not this.")


async def test_a_refusal_while_storage_is_away_becomes_the_end(stage: Stage) -> None:
    """If storage fails during a refusal, the response cannot be removed.

    It is kept and fails with the refusal, and its caller is answered in time.
    """
    stage.upstream.streams = Refusing()
    gate = stage.upstream.streams.hold(0)
    creating = asyncio.create_task(streamed(stage))
    await gate.reached.wait()
    async with stage.proxy.refusing():
        gate.open()
        async with asyncio.timeout(5):
            reader = await creating
    assert kinds(await reader.rest()) == ["created", "error", "failed"]
    assert (await stage.shown(reader.id))["error"]["message"] == "Not this."


async def test_a_renewal_whose_outcome_stays_unknown_does_not_lose_the_run(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """A renewal may be committed and its answer lost, and storage may fail before the alarm is read again.

    The next renewal finds the alarm where that one moved it.
    """
    stage.pace(renew_s=0.1)
    stage.upstream.is_background = False
    gate = stage.upstream.streams.hold(3)
    reader = await streamed(stage)
    running = driving(stage.engine, reader.id, 1)
    await logged(stage, reader.id, 3)
    fault = stage.proxy.drop_answer(is_renewal)
    stage.proxy.delay(is_read, 60)
    await fault.happened.wait()
    async with stage.proxy.refusing():
        stage.proxy.heal()
        await warned(caplog, "run.unrenewed")
    stage.clock.advance(1)

    async def is_renewed() -> bool:
        return (await stage.alarms(reader.id))[0].due_ms >= stage.clock.ms + 30_000

    await until(is_renewed)
    gate.open()
    await running
    assert lines_of(await reader.rest()) == expected_lines(story(6))
    assert stage.upstream.begun == {reader.id: 1}


async def warned(caplog: pytest.LogCaptureFixture, event: str) -> None:
    """Wait until an event has been logged."""

    async def is_logged() -> bool:
        return event in log_events(caplog)

    await until(is_logged)


def is_renewal(request: StorageRequest) -> bool:
    """Return whether a request moves the alarm of a run and writes nothing else."""
    return request.kind == "POST $batch" and b"|run|" in request.body and b"resp|" not in request.body


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


async def test_an_end_after_an_outage_frees_its_holder_at_once(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """If an event is too large, storage fails and the client leaves, the run is over as soon as the end is written."""
    stage.upstream.streams.events[2:2] = [delta(noise(2 * MAX_PACKED))]
    gate = stage.upstream.streams.hold(2)
    reader = await streamed(stage)
    await logged(stage, reader.id, 2)
    async with stage.proxy.refusing():
        gate.open()
        await warned(caplog, "run.unwritten")
        await reader.leave()
    async with asyncio.timeout(5):
        await released(stage)
    assert (await stage.shown(reader.id))["error"]["code"] == "output_too_large"
