"""The watcher and the faults around it: other processes, a death, a frozen process, storage that is away."""

import asyncio
from typing import Any

import pytest

from shared.core.alarms import Kind
from shared.core.ids import shard_of
from shared.core.states import Status
from shared.scheduler.sweeps import sweep
from tests.support.clocks import START_MS
from tests.support.conditions import until
from tests.support.fast_loop import BACKEND
from tests.support.log_capture import WrittenLines
from tests.support.passing_time import pass_seconds, until_quiet
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.stage import ANN, CALLBACK_URL, Stage
from tests.support.watched_responses import dies, is_ended, is_over, watch_of, watched


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run the tests of this module on a loop whose clock can be moved forward."""
    return BACKEND


# Other processes


async def test_a_get_in_another_process_leaves_the_lease_to_the_watch(stage: Stage) -> None:
    """The watch meets a terminal record at its next end, takes the lease out, and changes nothing else."""
    made = await watched(stage, Status.COMPLETED, callback_url=CALLBACK_URL)
    other = await stage.process()
    ended, _ = await other.retrieve(ANN, made.id)
    assert Kind.POLL in await stage.kinds(made.id)
    await pass_seconds(stage, 2)
    await is_over(stage)
    assert Kind.POLL not in await stage.kinds(made.id)
    assert (await stage.record(made.id)).ended_ms == ended.ended_ms


async def test_a_lease_whose_response_was_ended_elsewhere_fires_once_and_goes(stage: Stage) -> None:
    """The watch has died. Its lease finds a terminal record, and the upstream is not asked."""
    made = await watched(stage, Status.COMPLETED)
    await dies(stage.ports)
    other = await stage.process()
    await other.cancel(ANN, made.id)
    stage.upstream.poll_errors = [AssertionError("polled")]
    while Kind.POLL in await stage.kinds(made.id):
        await stage.fire_alarms(made.id)
    assert stage.clock.ms == START_MS + 15_000
    assert stage.upstream.polls == 0


async def test_a_death_after_the_start_costs_the_lease(stage: Stage) -> None:
    """The lease fires in another process within 15 s. It reads the record before it asks the upstream."""
    made = await watched(stage, Status.COMPLETED)
    await dies(stage.ports)
    other = await stage.new_ports(stage.clock)
    stage.clock.advance(15)
    before = stage.proxy.counts.copy()
    gate = stage.upstream.hold_polls()
    ring = asyncio.create_task(sweep(other, shard_of(made.id), 0))
    await gate.reached.wait()
    assert (stage.proxy.counts - before)["GET responses(key)"] == 1
    gate.open()
    await ring
    assert (await stage.record(made.id)).status is Status.COMPLETED
    assert await stage.kinds(made.id) == [Kind.PURGE]


# The wall clock, and storage


async def test_a_frozen_process_polls_no_more_and_moves_nothing(stage: Stage) -> None:
    """Its lease is past when it goes on. The alarm stays where it was, for another process."""
    made = await watched(stage)
    await pass_seconds(stage, 2)
    alarms, polls = await stage.alarms(made.id), stage.upstream.polls
    stage.clock.advance(14)
    await pass_seconds(stage, 3)
    await is_over(stage)
    assert await stage.alarms(made.id) == alarms
    assert stage.upstream.polls == polls


async def test_an_end_in_hand_is_written_after_the_lease(stage: Stage) -> None:
    """The process was frozen in a poll, and a sweep has taken the lease. The record decides, and the end is kept."""
    made = await watched(stage, Status.COMPLETED)
    gate = stage.upstream.hold_polls()
    await pass_seconds(stage, 1)
    await gate.reached.wait()
    (lease,) = await stage.alarms(made.id)
    taken = lease.moved(lease.due_ms + 20_000)
    await stage.ports.store.move(shard_of(made.id), [(lease, taken)])
    stage.clock.advance(20)
    gate.open()
    assert (await is_ended(stage, made)).status is Status.COMPLETED
    await stage.fire_alarms(made.id)
    assert await stage.kinds(made.id) == [Kind.PURGE]


async def test_an_outage_of_storage_delays_the_end(stage: Stage) -> None:
    """The watch tries again until the time of its lease is past."""
    made = await watched(stage, Status.COMPLETED)
    async with stage.proxy.refusing():
        await pass_seconds(stage, 1)
        await until_quiet(stage.ports)
        assert not watch_of(stage, made).is_over
    await pass_seconds(stage, 3)
    assert (await is_ended(stage, made)).status is Status.COMPLETED
    await is_over(stage)
    assert await stage.kinds(made.id) == [Kind.PURGE]


async def test_an_outage_beyond_the_lease_leaves_the_end_to_the_alarm(stage: Stage) -> None:
    """After that the watch is over. The alarm finds the end when storage is back."""
    made = await watched(stage, Status.COMPLETED)
    async with stage.proxy.refusing():
        await pass_seconds(stage, 18)
        await is_over(stage)
    assert not (await stage.record(made.id)).status.is_terminal
    await stage.sweep(made.id)
    assert (await stage.record(made.id)).status is Status.COMPLETED


async def test_an_end_that_storage_refuses_counts_as_an_attempt(stage: Stage) -> None:
    """Even one without an output is refused. The watch is over at once, and the alarm has no endless tries."""
    made = await watched(stage, Status.COMPLETED)
    ends = (b'"status":"completed"', b'"status":"failed"')
    is_end = stage.proxy.refuse(lambda request: any(end in request.body for end in ends), 413)
    await pass_seconds(stage, 1)
    await is_over(stage)
    assert is_end.happened.is_set()
    (alarm,) = await stage.alarms(made.id)
    assert alarm.attempt == 4
    assert not (await stage.record(made.id)).status.is_terminal


async def test_an_end_whose_answer_was_lost_is_delivered_by_the_watch(stage: Stage) -> None:
    """Storage carried it out and then was away. The next try finds its own write, and its delivery begins at once."""
    made = await watched(stage, Status.COMPLETED, callback_url=CALLBACK_URL)
    lost = stage.proxy.drop_answer(is_transaction)
    refused = stage.proxy.refuse(lambda _request: lost.happened.is_set(), status=None)
    await pass_seconds(stage, 1)
    await refused.happened.wait()
    await pass_seconds(stage, 1)
    assert not watch_of(stage, made).is_over
    stage.proxy.heal()
    await pass_seconds(stage, 2)
    await is_over(stage)

    async def is_delivered() -> bool:
        return len(stage.receiver.posts) == 1

    await until(is_delivered)
    assert stage.proxy.counts["POST $batch"] >= 3


async def test_a_lease_that_is_gone_ends_the_watch(stage: Stage) -> None:
    """A renewal finds that the alarm is gone. Whoever has it goes on, so nothing is handed over."""
    made = await watched(stage)
    (lease,) = await stage.alarms(made.id)
    await stage.ports.store.remove(lease)
    await pass_seconds(stage, 13)
    await is_over(stage)
    assert await stage.alarms(made.id) == []
    assert stage.sent == []


async def test_an_unexpected_error_hands_over_with_a_counted_attempt(stage: Stage, written: WrittenLines) -> None:
    """It is logged, and counts as one of the five failures after which a response is given up."""
    made = await watched(stage)
    stage.upstream.poll_errors = [RuntimeError("a fault")]
    await pass_seconds(stage, 1)
    await is_over(stage)
    (alarm,) = await stage.alarms(made.id)
    assert (alarm.attempt, alarm.read_ms) == (4, 0)
    assert [line["event"] for line in written.whole() if line["level"] == "error"] == ["watch.failed"]
