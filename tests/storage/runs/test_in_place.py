"""Runs in place: the process that takes a foreground call runs it, and whatever goes wrong is continued by others."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from shared.contract.requests import parse_request
from shared.core.alarms import Kind
from shared.core.errors import RefusedByUpstream
from shared.core.states import Status
from shared.runtime.local_runs import MAX_IN_PLACE, MAX_IN_PLACE_BYTES
from shared.storage.messages import RunOffer
from shared.transitions.run_transitions import RESERVED_BLOCK
from tests.support.fakes.streams import story
from tests.support.foreground_calls import PATIENT
from tests.support.in_place_calls import AWAY, REFUSAL, call_of, run_id, stream_of
from tests.support.run_holders import offered, reaches, told_and_crashed
from tests.support.stage import ANN, CALLBACK_URL, Stage
from tests.support.stream_clients import (
    expected_lines,
    kinds,
    lines_of,
    numbers,
    offers,
    replayed,
    streamed,
    text,
)


@pytest.fixture(autouse=True)
def foreground(stage: Stage) -> None:
    """Make the upstream a foreground one."""
    stage.upstream.is_background = False


async def test_a_call_of_an_instant_model_costs_two_transactions(stage: Stage) -> None:
    """They are the acceptance and the end. There is no message, and one read tells whether it repeats another call."""
    before = dict(stage.proxy.counts)
    made = await stage.create(background=False)
    assert (made.status, made.upstream.starts, made.upstream.presumed) == (Status.COMPLETED, 1, False)
    after = stage.proxy.counts
    assert {key: after[key] - before.get(key, 0) for key in after if after[key] > before.get(key, 0)} == {
        "POST $batch": 2,
        "GET responses(key)": 1,
    }
    assert offers(stage, made.id) == []
    assert await stage.kinds(made.id) == [Kind.PURGE]


async def test_a_stream_is_told_before_anything_of_it_is_stored(stage: Stage) -> None:
    """The acceptance reserves numbers, so each event goes out at once. The end goes out after its transaction."""
    stage.pace(flush_s=600, watch_s=600)
    gate = stage.upstream.streams.hold(8)
    before = stage.proxy.counts["POST $batch"]
    reader = await streamed(stage, background=False)
    assert numbers(await reader.take(7)) == [1, 2, 3, 4, 5, 6, 7]
    record = await stage.record(reader.id)
    assert (record.log.next_seq, record.log.high_water_mark, record.upstream.presumed) == (1, 1 + RESERVED_BLOCK, True)
    gate.open()
    assert lines_of(await reader.rest()) == expected_lines(story(6))
    assert stage.proxy.counts["POST $batch"] - before <= 3
    assert await replayed(stage, reader.id) == reader.received
    assert offers(stage, reader.id) == []


async def test_progress_is_recorded_although_nothing_is_told(stage: Stage) -> None:
    """While a call waits for its model, its record says within about a second that the work is in progress."""
    gate = stage.upstream.streams.hold(2)
    call = call_of(stage)
    response_id = await run_id(stage)
    record = await reaches(stage, response_id, lambda record: record.status is Status.IN_PROGRESS)
    assert (record.upstream.starts, record.upstream.presumed, record.run.claimed) == (1, False, True)
    gate.open()
    assert (await call).status is Status.COMPLETED


@pytest.mark.parametrize("make", [call_of, stream_of], ids=["whole", "stream"])
async def test_a_refusal_leaves_nothing(stage: Stage, make: Callable[[Stage], "asyncio.Task[object]"]) -> None:
    """A refusal before the answer has begun is the answer, and the rows are removed."""
    stage.upstream.streams.run_errors = [REFUSAL]
    with pytest.raises(RefusedByUpstream, match="No such model"):
        await make(stage)
    (response_id,) = stage.upstream.streams.runs
    assert await stage.ports.store.read(response_id) is None
    assert await stage.alarms(response_id) == []


async def test_a_refusal_with_the_status_line_out_ends_the_stream(stage: Stage) -> None:
    """If the answer has begun before the upstream has decided, its reader has the id, and the response fails."""
    stage.pace(begin_s=0.1)
    gate = stage.upstream.hold_starts()
    stage.upstream.streams.run_errors = [REFUSAL]
    reader = await streamed(stage, background=False)
    assert (await stage.record(reader.id)).acknowledged
    gate.open()
    assert kinds(await reader.rest()) == ["created", "error", "failed"]
    record = await stage.record(reader.id)
    assert (record.status, record.deleted, record.upstream.refusal) == (Status.FAILED, False, 0)


async def test_a_refusal_of_what_a_repeat_was_promised_hides_nothing(stage: Stage) -> None:
    """If a repeat was told the id meanwhile, the rows stay, and the response fails for both."""
    stage.limit(start_wait_s=0.1)
    gate = stage.upstream.hold_starts()
    stage.upstream.streams.run_errors = [REFUSAL]
    first = call_of(stage, key="k")
    response_id = await run_id(stage)
    again = call_of(stage, key="k")
    await reaches(stage, response_id, lambda record: record.acknowledged)
    gate.open()
    assert [(await one).status for one in (first, again)] == [Status.FAILED] * 2
    assert not (await stage.record(response_id)).deleted


async def test_what_is_answered_and_then_refused_is_not_hidden(stage: Stage) -> None:
    """A stream whose run was handed over begins after a while. A later refusal fails the response, for repeats too."""
    stage.pace(begin_s=0.1)
    stage.upstream.streams.run_errors = [AWAY, REFUSAL]
    reader = await streamed(stage, background=False, key="k")
    assert (await reaches(stage, reader.id, lambda record: record.run.epoch == 2)).acknowledged
    await stage.fire_alarms(reader.id)
    await (await stage.process()).drive(RunOffer(reader.id, 2))
    assert kinds(await reader.rest()) == ["created", "error", "failed"]
    again = await streamed(stage, background=False, key="k")
    assert (again.id, await again.rest()) == (reader.id, reader.received)


async def test_work_that_breaks_off_is_restarted_by_others(stage: Stage) -> None:
    """A break after the start is a restart by another holder, whose numbers are above all that were reserved."""
    stage.upstream.streams.breaks = [5]
    reader = await streamed(stage, background=False)
    await offered(stage, reader.id, 2)
    await (await stage.process()).drive(RunOffer(reader.id, 2))
    received = await reader.rest()
    assert text(received) == "d0d1d2d3d4d5"
    assert numbers(received)[:5] == [0, 1, 2, 3, 4]
    assert numbers(received)[5] >= 1 + RESERVED_BLOCK
    assert (await stage.record(reader.id)).upstream.starts == 2


async def test_a_death_before_the_first_flush_contradicts_no_reader(stage: Stage) -> None:
    """A process may die when readers have events of which nothing is stored. The next holder numbers above them."""
    reader, seen = await told_and_crashed(stage)
    await stage.fire_alarms(reader.id)
    await (await stage.process()).drive(RunOffer(reader.id, 2))
    rest = await replayed(stage, reader.id, seen[-1][0])
    assert kinds(rest)[0] == "in_progress"
    assert numbers(rest)[0] >= 1 + RESERVED_BLOCK
    assert text([*seen, *rest]) == "d0d1d2d3d4d5"


# The caller leaves


async def test_a_stream_that_is_left_before_its_work_begins_is_handed_over(stage: Stage) -> None:
    """If the client leaves before the upstream takes the work up, the run is offered to others at once."""
    stage.pace(begin_s=0.1)
    stage.upstream.hold_starts()
    reader = await streamed(stage, background=False)
    await reader.leave()
    await offered(stage, reader.id, 2)
    record = await stage.record(reader.id)
    assert (record.upstream.starts, record.run.claimed) == (0, False)


async def test_a_stream_that_is_left_later_goes_on(
    stage: Stage, until_logged: Callable[[str], Awaitable[None]]
) -> None:
    """If the client leaves afterwards, the work goes on here, as its connection is the work."""
    gate = stage.upstream.streams.hold(5)
    reader = await streamed(stage, background=False)
    await reader.take(3)
    await reader.leave()
    await until_logged("run.orphaned")
    gate.open()
    await reaches(stage, reader.id, lambda record: record.status is Status.COMPLETED)
    assert lines_of(await replayed(stage, reader.id)) == expected_lines(story(6))
    assert offers(stage, reader.id) == []


async def test_a_call_that_is_left_before_its_work_begins_is_handed_over(stage: Stage) -> None:
    """The run is offered to others."""
    stage.upstream.hold_starts()
    call = await stage.engine.call(ANN, parse_request(b'{"model": "m", "input": "q"}'), None, PATIENT)
    response_id = await run_id(stage)
    call.leave()
    await offered(stage, response_id, 2)


# Where a run is not in place


@pytest.mark.parametrize(
    "fields", [{"background": True}, {"callback_url": CALLBACK_URL}, {"reply_to": "replies"}], ids=["b", "c", "q"]
)
async def test_what_is_wanted_elsewhere_is_offered(stage: Stage, fields: dict[str, Any]) -> None:
    """A background response, and one whose end is also sent elsewhere, is offered on the queue from the start."""
    stage.pace(begin_s=0.1)
    reader = await streamed(stage, **{"background": False, **fields})
    assert offers(stage, reader.id) == [1]
    assert stage.upstream.streams.runs == []


async def test_a_process_that_may_not_work_alone_offers_every_run(stage: Stage) -> None:
    """With `WATCH` off, everything lives in the queue."""
    stage.limit(watch=False)
    stage.pace(begin_s=0.1)
    reader = await streamed(stage, background=False)
    assert offers(stage, reader.id) == [1]


@pytest.mark.parametrize(("count", "size"), [(MAX_IN_PLACE, 0), (1, MAX_IN_PLACE_BYTES)], ids=["runs", "bytes"])
async def test_what_is_beyond_the_bounds_of_a_process_is_offered(stage: Stage, count: int, size: int) -> None:
    """A process runs at most 100 responses in place, with 64 MiB of requests. A run that is over makes room."""
    assert (MAX_IN_PLACE, MAX_IN_PLACE_BYTES) == (100, 64 * 1_048_576)
    stage.pace(begin_s=0.1)
    for n in range(count):
        assert stage.ports.local.admit(f"resp_{n}", size)
    reader = await streamed(stage, background=False)
    assert offers(stage, reader.id) == [1]
    stage.ports.local.leave("resp_0")
    for _ in range(2):
        made = await stage.create(background=False)
        assert (made.status, offers(stage, made.id)) == (Status.COMPLETED, [])


async def test_a_repeat_reads_the_same_stream(stage: Stage) -> None:
    """A repeat with the same key, here or in another process, reads the same events and starts nothing."""
    gate = stage.upstream.streams.hold(4)
    first = await streamed(stage, background=False, key="k")
    here = await streamed(stage, background=False, key="k")
    there = await streamed(stage, await stage.process(), background=False, key="k")
    gate.open()
    whole = await first.rest()
    assert lines_of(whole) == expected_lines(story(6))
    assert [await one.rest() for one in (here, there)] == [whole] * 2
    assert stage.upstream.begun == {first.id: 1}
