"""The merged writes of a run: its start with its first events, and its last events with its end."""

import asyncio

import pytest

from shared.core.event_log import Event, batch_key_before
from shared.core.states import Status
from shared.lifecycle import endings
from shared.runs.lease import RunLease
from shared.runs.log_writer import JOINS_END, LogWriter
from shared.runs.unstored import Beginning
from shared.runtime.live_feed import MAX_BYTES
from shared.storage.messages import RunOffer
from shared.transitions.run_transitions import Ownership
from shared.upstreams.protocol import Progress
from tests.support.conditions import until
from tests.support.fakes.streams import story
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.run_holders import followed, released, start_of
from tests.support.stage import ANN, Stage
from tests.support.stream_clients import expected_lines, lines_of, replayed, streamed

KIND = "response.output_text.delta"
ITEM = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}


def delta(text: str = "x") -> Event:
    """Return an event with this text."""
    return Event(KIND, b'{"type":"%b","delta":"%b"}' % (KIND.encode(), text.encode()))


def finished(stage: Stage, *output: object) -> endings.Outcome:
    """Return an outcome with this output."""
    answer = {"status": "completed", "output": list(output)}
    return endings.by_progress(Progress(Status.COMPLETED, None, answer, "up_0"), stage.clock.ms)


async def began(lease: RunLease, log: LogWriter, *, is_background: bool = False, live: bool = False) -> list[Ownership]:
    """Let the upstream accept the work. Return a list that gets who owns it."""
    told: list[Ownership] = []
    start = start_of(lease, "up_0", Status.QUEUED, is_background=is_background, live=live)
    log.begin(Beginning(start, told.append, joins_end=not is_background))
    return told


async def batches(stage: Stage, response_id: str) -> list[tuple[int, bool]]:
    """Return the first number of each batch of the log, and whether it is the end."""
    page = await stage.ports.store.log(response_id, batch_key_before(response_id, -1))
    return [(batch.first, batch.ends) for batch in page.batches]


async def test_a_start_is_stored_with_the_first_events(stage: Stage, lease: RunLease) -> None:
    """The start waits for the events that follow at once, and one transaction stores both."""
    log, before = LogWriter(stage.ports, lease, None), stage.proxy.counts["POST $batch"]
    told = await began(lease, log)
    writing = asyncio.create_task(log.write())
    await log.append(delta(), 0, Status.IN_PROGRESS)
    await log.drain()
    assert stage.proxy.counts["POST $batch"] - before == 1
    record = await stage.record(lease.record.id)
    assert (record.upstream.token, record.status, record.log.next_seq) == ("up_0", Status.IN_PROGRESS, 2)
    assert told == [Ownership.OURS]
    writing.cancel()


async def test_a_start_that_nothing_follows_is_stored_alone(stage: Stage, lease: RunLease) -> None:
    """A silent upstream does not delay the record of its work by more than a moment."""
    log = LogWriter(stage.ports, lease, None)
    told = await began(lease, log)
    writing = asyncio.create_task(log.write())

    async def is_known() -> bool:
        return told == [Ownership.OURS]

    await until(is_known)
    assert (await stage.record(lease.record.id)).upstream.token == "up_0"
    writing.cancel()


async def test_events_of_work_of_others_are_discarded(stage: Stage, lease: RunLease) -> None:
    """If the response has other work, the events of this one are forgotten, and their numbers are free."""
    log, _ = followed(stage, lease)
    await lease.begin(start_of(lease, "up_1", Status.QUEUED, is_background=True, live=False))
    told = await began(lease, log, is_background=True, live=True)
    await log.append(delta(), 5, Status.IN_PROGRESS)
    await log.flush()
    assert (told, log.next_seq, log.upstream_next, log.is_live) == ([Ownership.OTHERS], 1, 0, True)
    assert await batches(stage, lease.record.id) == [(0, False)]


@pytest.mark.parametrize("begins", [True, False])
async def test_the_last_events_and_the_end_are_one_transaction(stage: Stage, lease: RunLease, begins: bool) -> None:
    """The end stores the events before it, with the record that the lease holds: nothing is read.

    A start that is not stored yet goes with it, too.
    """
    log = LogWriter(stage.ports, lease, None)
    told = await began(lease, log) if begins else [Ownership.OURS]
    await log.append(delta(), 0, Status.IN_PROGRESS)
    before = sum(stage.proxy.counts.values())
    await log.end(finished(stage, ITEM))
    assert sum(stage.proxy.counts.values()) - before == 1
    record = await stage.record(lease.record.id)
    assert (record.status, record.log.next_seq, record.upstream.starts) == (Status.COMPLETED, 3, int(begins))
    assert await batches(stage, record.id) == [(0, False), (1, False), (2, True)]
    assert told == [Ownership.OURS]


@pytest.mark.parametrize("text", ["x", "x" * (JOINS_END + 1)], ids=["no output in the answer", "much text"])
async def test_an_end_that_cannot_take_the_events_follows_them(stage: Stage, lease: RunLease, text: str) -> None:
    """Many events, or events that the output is made from, are stored before the end."""
    log = LogWriter(stage.ports, lease, None)
    writing = asyncio.create_task(log.write())
    await log.append(delta(text), 0, Status.IN_PROGRESS)
    await log.end(finished(stage, *([ITEM] if len(text) > 1 else [])))
    assert await batches(stage, lease.record.id) == [(0, False), (1, False), (2, True)]
    writing.cancel()


async def test_an_end_whose_answer_was_lost_stores_the_events_once(stage: Stage, lease: RunLease) -> None:
    """If the answer to the end is lost, it is found, and neither the events nor the end are there twice."""
    log, feed = followed(stage, lease)
    await log.append(delta(), 0, Status.IN_PROGRESS)
    lost = stage.proxy.drop_answer(is_transaction)
    await log.end(finished(stage, ITEM))
    assert lost.happened.is_set()
    assert await batches(stage, lease.record.id) == [(0, False), (1, False), (2, True)]
    assert (feed.is_complete, feed.last) == (True, 2)


async def test_a_reader_gets_the_end_only_after_its_transaction(stage: Stage, lease: RunLease) -> None:
    """While storage is away, a live reader is not told the end, because it may still be another one."""
    log, feed = followed(stage, lease)
    gate = stage.proxy.hold(is_transaction, carried_out=True)
    ending = asyncio.create_task(log.end(finished(stage, ITEM)))
    await gate.reached.wait()
    assert (feed.last, feed.is_complete) == (-1, False)
    gate.open()
    await ending
    assert feed.is_complete


async def test_an_end_of_another_process_is_told_after_its_own_events(stage: Stage, lease: RunLease) -> None:
    """If the response was cancelled meanwhile, a live reader gets no end that leaves a gap. It reads the log."""
    log, feed = followed(stage, lease)
    await lease.begin(start_of(lease, "up_0", Status.IN_PROGRESS, is_background=True, live=True))
    await log.append(delta(), 0, Status.IN_PROGRESS)
    await stage.engine.cancel(ANN, lease.record.id)
    await log.end(finished(stage, ITEM))
    assert (feed.last, feed.is_complete) == (1, False)
    assert (await stage.record(lease.record.id)).status is Status.CANCELLED


# Whole streams


async def test_a_short_stream_costs_three_transactions(stage: Stage) -> None:
    """They are the acceptance, the start with the first events, and the end with the last events.

    The client that reads it live causes no read of the log or the record.
    """
    stage.pace(flush_s=600, watch_s=600, renew_s=600)
    before = dict(stage.proxy.counts)
    reader = await streamed(stage)
    assert lines_of(await reader.rest()) == expected_lines(story(6))
    await released(stage)
    after = stage.proxy.counts
    assert {key: after[key] - before.get(key, 0) for key in after if after[key] > before.get(key, 0)} == {
        "POST $batch": 3
    }


async def test_a_large_output_of_a_foreground_upstream_ends_in_the_feed_or_the_log(stage: Stage) -> None:
    """A reader whose feed is full at the end reads the end from the log."""
    events = story(2, text="y" * MAX_BYTES)
    stage.upstream.streams.events = events
    reader = await streamed(stage)
    await released(stage)
    assert lines_of(await reader.rest()) == expected_lines(events)


async def test_an_offered_run_of_an_instant_upstream_costs_two_transactions(stage: Stage) -> None:
    """After its claim, a run whose upstream answers at once is written once: start, events and end."""
    stage.upstream.is_background = False
    stage.pace(watch_s=600, renew_s=600)
    made = await stage.create(stream=True)
    before = stage.proxy.counts["POST $batch"]
    await stage.engine.drive(RunOffer(made.id, 1))
    assert stage.proxy.counts["POST $batch"] - before <= 3
    assert lines_of(await replayed(stage, made.id)) == expected_lines(story(6))
