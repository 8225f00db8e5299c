"""The lease of a run: its holder writes, ends and hands over the run, and a process that has lost the run does not."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from shared.core.alarms import LEASE_MS, Kind
from shared.core.changesets import ChangeSet
from shared.core.records import Record
from shared.core.states import RunState, Status
from shared.lifecycle import endings
from shared.runs import claims
from shared.runs.lease import Lost, RunLease
from shared.runs.unstored import Start
from shared.storage.messages import RunOffer
from shared.transitions import run_transitions
from shared.transitions.run_transitions import CLAIM_WITHIN_MS, RESERVED_BLOCK, Ownership
from tests.support.conditions import until
from tests.support.fakes.streams import story
from tests.support.log_capture import WrittenLines, log_events
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.run_holders import offered, start_of
from tests.support.stage import ANN, CALLBACK_URL, Stage
from tests.support.stream_clients import expected_lines, lines_of, offers, replayed, streamed

Loss = Callable[[Stage, RunLease], Awaitable[object]]


async def offered_again(stage: Stage, lease: RunLease) -> None:
    """Let the lease expire, so that the run is offered to the next holder."""
    await stage.fire_alarms(lease.record.id)


async def cancelled(stage: Stage, lease: RunLease) -> None:
    """Let the caller cancel the response."""
    await stage.engine.cancel(ANN, lease.record.id)


async def removed(stage: Stage, lease: RunLease) -> None:
    """Remove the rows of the response."""
    assert await stage.ports.store.remove_all(await stage.record(lease.record.id), lease.alarm.key)


LOSSES = pytest.mark.parametrize("lose", [offered_again, cancelled, removed])


def acknowledge(record: Record) -> ChangeSet:
    """Return a change that any holder may write."""
    return ChangeSet(replace(record, acknowledged=True, run=replace(record.run, expirations=3)))


def resumption_of(lease: RunLease) -> Start:
    """Return the resumption of the work, as the holder of the run records it."""
    return lambda current: run_transitions.record_resumption(current, lease.record.run.epoch)


async def state_of(stage: Stage, response_id: str) -> tuple[Record | None, list[Kind]]:
    """Return the record of a response, or None, and the kinds of its alarms."""
    return await stage.ports.store.read(response_id), await stage.kinds(response_id)


# Writing


async def test_a_write_by_the_holder_is_known_to_the_lease(stage: Stage, lease: RunLease) -> None:
    """The holder writes what its transition decides, and its lease then has the record as written."""
    await lease.write(acknowledge)
    assert lease.record == await stage.record(lease.record.id)
    assert lease.record.run.expirations == 3


async def test_a_transition_sees_what_another_process_has_written(stage: Stage, lease: RunLease) -> None:
    """A write of another process does not lose the run. The transition is decided from the record as it then is."""
    other = await stage.record(lease.record.id)
    await stage.ports.store.commit(ChangeSet(replace(other, upstream=replace(other.upstream, checkpoints=7))))
    await lease.write(acknowledge)
    assert (lease.record.upstream.checkpoints, lease.record.run.expirations) == (7, 3)
    assert lease.record == await stage.record(lease.record.id)


CALLS: dict[str, Callable[[RunLease], Awaitable[object]]] = {
    "write": lambda lease: lease.write(acknowledge),
    "record_start": lambda lease: lease.begin(
        start_of(lease, "up_0", Status.IN_PROGRESS, is_background=False, live=True)
    ),
    "record_resumption": lambda lease: lease.begin(resumption_of(lease)),
    "hand_over": lambda lease: lease.hand_over(),
    "hand_over later": lambda lease: lease.hand_over(lease.alarm.due_ms + 1_000),
}


@LOSSES
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_process_that_has_lost_the_run_writes_nothing(
    stage: Stage, lease: RunLease, call: Callable[[RunLease], Awaitable[object]], lose: Loss
) -> None:
    """If the run has been offered again, or the response has ended or been removed, every write raises Lost."""
    await lose(stage, lease)
    before = await state_of(stage, lease.record.id)
    with pytest.raises(Lost):
        await call(lease)
    assert await state_of(stage, lease.record.id) == before


async def test_a_write_is_repeated_until_storage_is_back(
    stage: Stage, waits: list[float], lease: RunLease, written: WrittenLines
) -> None:
    """While storage is away, a write is tried again every second. It is made once storage is back."""
    async with stage.proxy.refusing():
        writing = asyncio.create_task(lease.write(acknowledge))

        async def is_repeated() -> bool:
            return log_events(written).count("run.unwritten") >= 3

        await until(is_repeated)
        assert not writing.done()
    await writing
    assert lease.record == await stage.record(lease.record.id)
    assert set(waits) == {1.0}


# The start of the work


@pytest.mark.parametrize(("live", "reserved"), [(True, 1 + RESERVED_BLOCK), (False, 1)])
async def test_a_start_is_recorded_with_its_token(stage: Stage, lease: RunLease, live: bool, reserved: int) -> None:
    """A start records token, status and count. Event numbers are reserved only for a live reader."""
    assert (
        await lease.begin(start_of(lease, "up_0", Status.IN_PROGRESS, is_background=False, live=live)) is Ownership.OURS
    )
    record = await stage.record(lease.record.id)
    assert record == lease.record
    assert (record.status, record.upstream.token, record.upstream.starts) == (Status.IN_PROGRESS, "up_0", 1)
    assert record.log.high_water_mark == reserved


async def test_a_background_response_keeps_only_its_first_work(stage: Stage, lease: RunLease) -> None:
    """If a background upstream accepts the same work again, nothing changes. Any other work is stopped."""
    for _ in range(2):
        assert (
            await lease.begin(start_of(lease, "up_0", Status.QUEUED, is_background=True, live=False)) is Ownership.OURS
        )
    assert lease.record.upstream.starts == 1
    assert await lease.begin(start_of(lease, "up_1", Status.QUEUED, is_background=True, live=False)) is Ownership.OTHERS
    assert lease.record.upstream.token == "up_0"
    (stop,) = [alarm for alarm in await stage.alarms(lease.record.id) if alarm.kind is Kind.STOP]
    assert stop.token == "up_1"


async def test_a_resumption_is_no_start(stage: Stage, lease: RunLease) -> None:
    """Work that resumes is in progress, keeps its token and does not count as started again."""
    await lease.begin(start_of(lease, "up_0", Status.QUEUED, is_background=False, live=False))
    assert await lease.begin(resumption_of(lease)) is Ownership.OURS
    record = await stage.record(lease.record.id)
    assert (record.status, record.upstream.token, record.upstream.starts) == (Status.IN_PROGRESS, "up_0", 1)


# The end


async def test_an_end_removes_the_lease(stage: Stage, lease: RunLease) -> None:
    """The end and the removal of the lease are one transaction."""
    before = stage.proxy.counts["POST $batch"]
    await lease.end(endings.by_failure("broken", "It broke.", stage.clock.ms))
    assert stage.proxy.counts["POST $batch"] - before == 1
    record, kinds = await state_of(stage, lease.record.id)
    assert record
    assert (record.status, kinds) == (Status.FAILED, [Kind.PURGE])
    assert lease.concluded.is_set()


@LOSSES
async def test_a_process_that_has_lost_the_run_does_not_end_the_response(
    stage: Stage, lease: RunLease, lose: Loss
) -> None:
    """An end by a process that has lost the run leaves the record as it is and raises nothing. Its lease is gone."""
    await lose(stage, lease)
    before = await stage.ports.store.read(lease.record.id)
    await lease.end(endings.by_failure("broken", "It broke.", stage.clock.ms))
    assert await stage.ports.store.read(lease.record.id) == before
    assert lease.alarm.key not in [alarm.key for alarm in await stage.alarms(lease.record.id)]


async def test_an_end_is_under_way_until_it_is_written(
    stage: Stage, waits: list[float], lease: RunLease, until_logged: Callable[[str], Awaitable[None]]
) -> None:
    """While storage is away, an end stays under way and is tried again. So its process can wait for it."""
    async with stage.proxy.refusing():
        ending = asyncio.create_task(lease.end(endings.by_failure("broken", "It broke.", stage.clock.ms)))
        await until_logged("run.unwritten")
        assert not lease.concluded.is_set()
    await ending
    assert lease.concluded.is_set()
    assert (await stage.record(lease.record.id)).status is Status.FAILED
    assert set(waits) <= {1.0}


async def test_an_end_whose_answer_was_lost_is_delivered_at_once(stage: Stage, waits: list[float]) -> None:
    """Storage carried it out and then was away. The next try finds its own write, and the delivery begins."""
    stage.upstream.is_background = False
    made = await stage.create(stream=True, callback_url=CALLBACK_URL)
    claimed = await claims.claim(stage.ports, made.id, made.run.epoch)
    assert claimed
    lost = stage.proxy.drop_answer(is_transaction)
    refused = stage.proxy.refuse(lambda _request: lost.happened.is_set(), status=None)
    ending = asyncio.create_task(
        RunLease(stage.ports, *claimed).end(endings.by_failure("broken", "It broke.", stage.clock.ms))
    )
    await refused.happened.wait()
    stage.proxy.heal()
    await ending

    async def is_delivered() -> bool:
        return len(stage.receiver.posts) == 1

    await until(is_delivered)
    assert set(waits) <= {1.0}


# The hand-over


async def test_a_hand_over_offers_the_next_epoch_at_once(stage: Stage, lease: RunLease) -> None:
    """The run is offered for the next epoch by a message. An alarm in place of the lease repeats the offer later."""
    await lease.hand_over()
    record = await stage.record(lease.record.id)
    assert (record.run.state, record.run.epoch, record.run.expirations) == (RunState.OFFERED, 2, 0)
    assert offers(stage, record.id) == [1, 2]
    (alarm,) = await stage.alarms(record.id)
    assert (alarm.kind, alarm.due_ms, alarm.epoch) == (Kind.RUN, stage.clock.ms + CLAIM_WITHIN_MS, 2)


@pytest.mark.parametrize(
    ("wait_ms", "due_in_ms"), [(5_000, 5_000), (LEASE_MS[Kind.RUN], LEASE_MS[Kind.RUN] + 1)], ids=["before", "the same"]
)
async def test_a_hand_over_at_a_time_waits_until_then(
    stage: Stage, lease: RunLease, wait_ms: int, due_in_ms: int
) -> None:
    """A hand-over at a later time sends no offer before. It may be the time at which the lease expires."""
    await lease.hand_over(stage.clock.ms + wait_ms)
    assert offers(stage, lease.record.id) == [1]
    (alarm,) = await stage.alarms(lease.record.id)
    assert (alarm.due_ms, alarm.epoch) == (stage.clock.ms + due_in_ms, 2)
    await stage.fire_alarms(lease.record.id)
    assert offers(stage, lease.record.id) == [1, 2]
    assert await claims.claim(stage.ports, lease.record.id, 2)


async def test_a_hand_over_beyond_the_deadline_is_for_half_of_the_time_until_it(stage: Stage, lease: RunLease) -> None:
    """At the deadline the response would fail without another try."""
    left_ms = lease.record.deadline_ms - stage.clock.ms
    await lease.hand_over(lease.record.deadline_ms + 1)
    (alarm,) = await stage.alarms(lease.record.id)
    assert alarm.due_ms == stage.clock.ms + left_ms // 2


async def test_nothing_is_written_after_a_hand_over(stage: Stage, lease: RunLease) -> None:
    """After a hand-over the run is lost for its holder, even before another process claims it."""
    await lease.hand_over()
    before = await state_of(stage, lease.record.id)
    with pytest.raises(Lost):
        await lease.write(acknowledge)
    assert await state_of(stage, lease.record.id) == before


async def test_an_outage_at_a_hand_over_loses_nothing(stage: Stage) -> None:
    """If storage fails while a run is handed over, the run is offered once storage is back, and no event is lost."""
    gate = stage.upstream.streams.hold(5)
    reader = await streamed(stage)
    await reader.take(4)
    async with stage.proxy.refusing():
        await reader.leave()
    await offered(stage, reader.id, 2)
    gate.open()
    await (await stage.process()).drive(RunOffer(reader.id, 2))
    assert lines_of(await replayed(stage, reader.id)) == expected_lines(story(6))
