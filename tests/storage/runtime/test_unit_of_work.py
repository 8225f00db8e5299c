"""The unit of work: a transition is decided from the newest record, and its messages are sent once it is written."""

import asyncio
from dataclasses import replace

import pytest

from shared.core.alarms import Alarm
from shared.core.changesets import ChangeSet
from shared.core.errors import Conflict, StoreUnavailable
from shared.core.ids import new_id, shard_of
from shared.core.records import Record, RequestInfo
from shared.core.states import Status
from shared.runtime.unit_of_work import apply, commit, update
from shared.storage.messages import RUNS
from shared.transitions import response_transitions, run_transitions
from shared.transitions.response_transitions import Ending
from tests.support.clocks import START_MS
from tests.support.log_capture import WrittenLines, log_events
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.sent_messages import Sent, wakeup
from tests.support.stage import CALLBACK_URL, Stage

RETENTION_MS = 86_400_000
MINUTE_MS = 60_000


def new_record() -> Record:
    """Return the record of a response that was not accepted yet."""
    request = RequestInfo(model="m", callback_url=CALLBACK_URL)
    return Record(new_id(), "ann", created_ms=START_MS, deadline_ms=START_MS + 10 * MINUTE_MS, request=request)


def counted(record: Record) -> ChangeSet:
    """Return the change that counts one more start of the work."""
    return ChangeSet(replace(record, upstream=replace(record.upstream, starts=record.upstream.starts + 1)))


def count(record: Record) -> tuple[ChangeSet, int]:
    """Count one more start, and return the number that the record had before."""
    return counted(record), record.upstream.starts


async def accepted(stage: Stage) -> tuple[Record, Alarm]:
    """Return the record of a response that was accepted, and its only alarm."""
    record = await stage.ports.store.commit(response_transitions.accept(new_record(), b"packed", START_MS))
    (alarm,) = await stage.alarms(record.id)
    return record, alarm


async def keys(stage: Stage, response_id: str) -> list[str]:
    """Return the keys of a response's alarms."""
    return [alarm.key for alarm in await stage.alarms(response_id)]


# Applying a transition


@pytest.mark.parametrize("is_read", [True, False])
async def test_a_transition_is_written_and_its_result_returned(stage: Stage, is_read: bool) -> None:
    """A transition gets the record as it was read, or as `apply` reads it.

    The record that is returned is the one in storage, and the result is that of the transition.
    """
    record, alarm = await accepted(stage)
    written, before = await apply(stage.ports, record if is_read else None, record.id, count)
    assert before == 0
    assert written == await stage.record(record.id)
    assert written.upstream.starts == 1
    assert await keys(stage, record.id) == [alarm.key]


async def test_a_transition_without_a_change_writes_nothing(stage: Stage) -> None:
    """If a transition returns no change set, its result and the record are returned, and storage is not called."""
    record, _ = await accepted(stage)
    before = stage.proxy.counts.copy()
    assert await apply(stage.ports, record, record.id, lambda _: (None, "nothing")) == (record, "nothing")
    assert await update(stage.ports, record, record.id, lambda _: None) == record
    assert stage.proxy.counts == before


async def test_a_record_that_does_not_exist_has_no_transition(stage: Stage) -> None:
    """Without a record, the transition is not called and there is no result. The alarm of the caller is removed."""
    _, alarm = await accepted(stage)
    response_id = f"{alarm.id[:-1]}{'0' if alarm.id[-1] != '0' else '1'}"

    def never(_: Record) -> tuple[ChangeSet | None, int]:
        raise AssertionError("called without a record")

    assert await apply(stage.ports, None, response_id, never, alarm) == (None, None)
    assert await keys(stage, alarm.id) == []


# The alarm of the caller


async def test_the_alarm_of_the_caller_is_removed_in_the_same_transaction(stage: Stage) -> None:
    """The alarm that the caller owns is removed with the change."""
    record, alarm = await accepted(stage)
    before = stage.proxy.counts.copy()
    await update(stage.ports, record, record.id, counted, alarm)
    assert stage.proxy.counts - before == {"POST $batch": 1}
    assert (await stage.record(record.id)).upstream.starts == 1
    assert await keys(stage, record.id) == []


async def test_the_alarm_of_the_caller_is_removed_without_a_change(stage: Stage) -> None:
    """If there is nothing to write, the alarm is removed alone and the record stays as it is."""
    record, alarm = await accepted(stage)
    assert await update(stage.ports, record, record.id, lambda _: None, alarm) == record
    assert await stage.record(record.id) == record
    assert await keys(stage, record.id) == []


async def test_an_alarm_that_another_process_has_taken_does_not_stop_the_change(stage: Stage) -> None:
    """If the caller's alarm is gone, the change is written without its removal. The alarm's new owner sees the change.

    The alarm that the other process has written in its place stays.
    """
    record, alarm = await accepted(stage)
    taken = alarm.moved(alarm.due_ms + MINUTE_MS)
    await stage.ports.store.move(shard_of(record.id), [(alarm, taken)])
    written = await update(stage.ports, record, record.id, counted, alarm)
    assert written == await stage.record(record.id)
    assert written.upstream.starts == 1
    assert await keys(stage, record.id) == [taken.key]


# Conflicts


async def test_a_transition_is_decided_again_after_another_write(stage: Stage) -> None:
    """If another write came first, the transition decides again from the record as it then is. Both changes are kept.

    The result is that of the last decision.
    """
    record, alarm = await accepted(stage)
    await stage.ports.store.commit(counted(record))
    written, before = await apply(stage.ports, record, record.id, count, alarm)
    assert before == 1
    assert written == await stage.record(record.id)
    assert written.upstream.starts == 2
    assert await keys(stage, record.id) == []


async def test_a_transition_may_find_that_the_other_write_was_enough(stage: Stage) -> None:
    """After another write, a transition may have nothing left to do. The record is returned as it then is."""
    record, _ = await accepted(stage)
    other = await stage.ports.store.commit(counted(record))
    assert await update(stage.ports, record, record.id, lambda r: None if r.upstream.starts else counted(r)) == other
    assert await stage.record(record.id) == other


async def test_no_update_is_lost(stage: Stage) -> None:
    """When processes update a record at the same time, every update is in the record, and each saw a different one."""
    record, _ = await accepted(stage)
    processes = [stage.ports, *[await stage.new_ports(stage.clock) for _ in range(4)]]
    results = await asyncio.gather(*(apply(ports, record, record.id, count) for ports in processes))
    assert sorted(before for _, before in results if before is not None) == [0, 1, 2, 3, 4]
    assert (await stage.record(record.id)).upstream.starts == 5


async def test_a_missing_row_that_is_not_the_callers_alarm_raises(stage: Stage) -> None:
    """If another row that the change removes is gone while the record is unchanged, Conflict names that row.

    Nothing is written, because deciding again would give the same change.
    """
    record, alarm = await accepted(stage)
    gone = alarm.moved(alarm.due_ms + 1).key
    with pytest.raises(Conflict) as conflict:
        await update(stage.ports, record, record.id, lambda one: replace(counted(one), alarms_out=(gone,)), alarm)
    assert conflict.value.gone == gone
    assert await stage.record(record.id) == record
    assert await keys(stage, record.id) == [alarm.key]


async def test_a_transition_that_always_conflicts_is_given_up(stage: Stage) -> None:
    """After ten conflicts in a row, Conflict is raised, so that no process tries for ever."""
    record, alarm = await accepted(stage)
    newest = await stage.ports.store.commit(counted(record))
    before = stage.proxy.counts["POST $batch"]
    with pytest.raises(Conflict):
        await update(stage.ports, None, record.id, lambda _: counted(record), alarm)
    assert stage.proxy.counts["POST $batch"] - before == 10
    assert await stage.record(record.id) == newest


# Storage that fails


async def test_an_update_whose_answer_was_lost_is_made_once(stage: Stage) -> None:
    """If storage loses the answer to an update, the write is recognised, and the transition is not applied twice."""
    record, alarm = await accepted(stage)
    lost = stage.proxy.drop_answer(is_transaction)
    written, before = await apply(stage.ports, record, record.id, count, alarm)
    assert lost.happened.is_set()
    assert (before, written) == (0, await stage.record(record.id))
    assert written
    assert written.upstream.starts == 1
    assert await keys(stage, record.id) == []


async def test_an_outage_is_passed_on(stage: Stage) -> None:
    """If storage does not answer, StoreUnavailable is raised and nothing has changed."""
    record, alarm = await accepted(stage)
    async with stage.proxy.refusing():
        for known in (record, None):
            with pytest.raises(StoreUnavailable):
                await update(stage.ports, known, record.id, counted, alarm)
    assert await stage.record(record.id) == record
    assert await keys(stage, record.id) == [alarm.key]


# Committing


async def test_a_commit_sends_the_messages_that_its_change_asks_for(stage: Stage, written: WrittenLines) -> None:
    """A commit asks for the wake-ups of its change, and logs what has happened to the response."""
    record = await commit(stage.ports, None, response_transitions.accept(new_record(), b"packed", START_MS))
    poll = response_transitions.poll_alarm(record, "t", START_MS, lambda: 0.0)
    start = response_transitions.record_start(record, Status.QUEUED, "t", "t", poll, b"")
    started = await commit(stage.ports, record, start)
    ending = Ending(Status.COMPLETED, b"", stop=True)
    ended = await commit(stage.ports, started, response_transitions.end(started, ending, START_MS, RETENTION_MS))
    assert ended == await stage.record(record.id)
    shard = shard_of(record.id)
    assert stage.sent == [
        wakeup(START_MS // 1000 + 1, 1, shard),
        wakeup(START_MS // 1000, 0, shard),
    ]
    assert log_events(written) == ["response.accepted", "response.started", "response.completed"]


async def test_a_commit_offers_a_run_for_its_epoch(stage: Stage) -> None:
    """A commit that offers a run sends the offer with the epoch of the record as written."""
    accepting = response_transitions.accept(new_record(), b"packed", START_MS)
    record = await commit(stage.ports, None, run_transitions.accept_run(accepting, START_MS))
    assert stage.sent == [Sent(RUNS, {"response": record.id, "epoch": 1}, 0)]


async def test_a_change_that_was_not_written_sends_nothing(stage: Stage, written: WrittenLines) -> None:
    """If another write came first or storage is away, no message is sent and nothing is logged about the response."""
    record, _ = await accepted(stage)
    await stage.ports.store.commit(counted(record))
    change = response_transitions.end(record, Ending(Status.COMPLETED, b"", stop=True), START_MS, RETENTION_MS)
    with pytest.raises(Conflict):
        await commit(stage.ports, record, change)
    async with stage.proxy.refusing():
        with pytest.raises(StoreUnavailable):
            await commit(stage.ports, record, change)
    assert (stage.sent, log_events(written)) == ([], [])
