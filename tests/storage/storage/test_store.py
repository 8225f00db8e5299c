"""The table: what is committed, which write loses, and how a write whose answer was lost is recognised."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from shared.core import blobs
from shared.core.alarms import Alarm, Kind
from shared.core.blobs import MAX_PACKED
from shared.core.changesets import ChangeSet
from shared.core.errors import Conflict, StoreRefused, StoreUnavailable
from shared.core.ids import new_id, shard_of
from shared.core.records import Record
from shared.core.states import Status
from shared.storage.store import Store
from shared.transitions import response_transitions, upstream_transitions
from shared.transitions.response_transitions import Ending
from tests.support.clocks import START_MS
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.stage import FOREVER_MS, Stage

SHARD = "a"
RETENTION_MS = 86_400_000


@pytest.fixture(params=[0, 2], ids=["sdk gives up", "sdk repeats"])
async def lossy(request: pytest.FixtureRequest, connection_string: str) -> AsyncIterator[Stage]:
    """Give a stage for lost answers, once with an SDK that reports them and once with an SDK that repeats requests."""
    async with Stage(connection_string, sdk_retries=request.param) as stage:
        yield stage


def opening(request: bytes = b"packed") -> ChangeSet:
    """Return the change set that accepts a new response."""
    record = Record(new_id(), "ann", created_ms=START_MS, deadline_ms=START_MS + 1_000)
    return response_transitions.accept(record, request, START_MS)


def alarms_at(due_ms: int, count: int) -> list[Alarm]:
    """Return the alarms of `count` responses of one shard, due at the same time."""
    return [Alarm(due_ms, Kind.POLL, f"resp_{SHARD}{n:031x}", token="t", born_ms=due_ms) for n in range(count)]


def later(alarms: list[Alarm]) -> list[tuple[Alarm, Alarm]]:
    """Return the moves that set alarms to a second later."""
    return [(alarm, alarm.moved(alarm.due_ms + 1_000, attempt=1)) for alarm in alarms]


async def due(store: Store) -> list[Alarm]:
    """Return every alarm of the shard."""
    return (await store.agenda(SHARD, FOREVER_MS, 1_000)).due


# Records


async def test_a_commit_returns_the_record_as_it_can_be_read(stage: Stage) -> None:
    """A commit returns the record as a read would, with the ETag that the next write needs."""
    committed = await stage.ports.store.commit(opening())
    assert await stage.record(committed.id) == committed


async def test_a_record_is_inserted_once(stage: Stage) -> None:
    """The second of two inserts with the same id raises Conflict and changes nothing."""
    write = opening()
    committed = await stage.ports.store.commit(write)
    with pytest.raises(Conflict):
        await stage.ports.store.commit(
            replace(write, record=replace(write.record, request=replace(write.record.request, model="other")))
        )
    assert await stage.record(committed.id) == committed


async def test_a_write_based_on_an_older_record_loses(stage: Stage) -> None:
    """A write based on an old version of the record raises Conflict and changes nothing."""
    store = stage.ports.store
    old = await store.commit(opening())
    new = await store.commit(ChangeSet(replace(old, acknowledged=True)))
    alarm = upstream_transitions.stop_alarm(old, "token", START_MS)
    with pytest.raises(Conflict):
        await store.commit(ChangeSet(replace(old, deleted=True), alarms_in=(alarm,)))
    assert await stage.record(old.id) == new
    assert await stage.kinds(old.id) == [Kind.START]


async def test_a_conflict_names_the_alarm_that_did_not_exist(stage: Stage) -> None:
    """A change set that removes an alarm that does not exist raises a Conflict that names it, and changes nothing."""
    record = await stage.ports.store.commit(opening())
    gone = upstream_transitions.stop_alarm(record, "token", START_MS).key
    with pytest.raises(Conflict) as conflict:
        await stage.ports.store.commit(ChangeSet(record, alarms_out=(gone,)))
    assert conflict.value.gone == gone
    assert await stage.record(record.id) == record


async def test_a_record_can_be_read_without_its_body(stage: Stage) -> None:
    """A record with a damaged body can be read without its body."""
    record = await stage.ports.store.commit(opening())
    await stage.ports.store.commit(ChangeSet(replace(record, body=b"damaged"), writes_body=True))
    bare = await stage.ports.store.read(record.id, with_body=False)
    assert bare is not None
    assert bare.body == b""
    assert (await stage.record(record.id)).body == b"damaged"


@pytest.mark.parametrize("size", [0, 60_000, 60_001, 655_360, 655_361, MAX_PACKED])
async def test_bodies_and_requests_of_every_size_are_kept(stage: Stage, size: int) -> None:
    """A packed body or request up to the size limit is read back unchanged, from the record or from rows beside it."""
    store, packed = stage.ports.store, bytes(range(256)) * (size // 256) + bytes(size % 256)
    record = await store.commit(opening(packed))
    assert await store.request(record.id) == packed

    await store.commit(response_transitions.end(record, Ending(Status.COMPLETED, packed), START_MS, RETENTION_MS))
    assert await store.body(await stage.record(record.id)) == packed


# Answers that are lost after a commit


async def test_an_insert_whose_answer_was_lost_is_recognised(lossy: Stage) -> None:
    """An insert whose answer is lost succeeds, because the record carries its `write_id`."""
    fault = lossy.proxy.drop_answer(is_transaction)
    committed = await lossy.ports.store.commit(opening())
    assert fault.happened.is_set()
    assert await lossy.record(committed.id) == committed


async def test_an_update_whose_answer_was_lost_is_recognised(lossy: Stage) -> None:
    """An update whose answer is lost succeeds. The record that it returns has the ETag that the next write needs."""
    record = await lossy.ports.store.commit(opening())
    fault = lossy.proxy.drop_answer(is_transaction)
    ending = Ending(Status.COMPLETED, blobs.pack({}))
    ended = await lossy.ports.store.commit(response_transitions.end(record, ending, START_MS, RETENTION_MS))
    assert fault.happened.is_set()
    assert await lossy.ports.store.commit(ChangeSet(replace(ended, deleted=True)))
    assert await lossy.kinds(record.id) == [Kind.START, Kind.PURGE]


async def test_a_move_whose_answer_was_lost_is_recognised(lossy: Stage) -> None:
    """A move whose answer is lost succeeds for the whole batch.

    A move changes no record, so its `write_id` is in the new row of the alarm.
    """
    await lossy.plant(alarms_at(START_MS, 5))
    planned = later(await due(lossy.ports.store))
    fault = lossy.proxy.drop_answer(is_transaction)
    moved = await lossy.ports.store.move(SHARD, planned)
    assert fault.happened.is_set()
    assert [alarm.key for alarm in moved] == [new.key for _, new in planned]
    assert [alarm.key for alarm in await due(lossy.ports.store)] == [alarm.key for alarm in moved]


async def test_a_removal_whose_answer_was_lost_is_recognised(lossy: Stage) -> None:
    """A removal whose answer is lost succeeds, because the record no longer exists."""
    write = opening()
    record = await lossy.ports.store.commit(write)
    fault = lossy.proxy.drop_answer(is_transaction)
    assert await lossy.ports.store.remove_all(record, write.alarms_in[0].key)
    assert fault.happened.is_set()


async def test_a_write_that_never_arrived_does_not_succeed(stage: Stage) -> None:
    """If storage cannot be reached, commits, moves and reads raise StoreUnavailable, and the record does not change."""
    record = await stage.ports.store.commit(opening())
    await stage.plant(alarms_at(START_MS, 1))
    alarms = await due(stage.ports.store)
    async with stage.proxy.refusing():
        with pytest.raises(StoreUnavailable):
            await stage.ports.store.commit(ChangeSet(replace(record, acknowledged=True)))
        with pytest.raises(StoreUnavailable):
            await stage.ports.store.move(SHARD, later(alarms))
        with pytest.raises(StoreUnavailable):
            await stage.ports.store.read(record.id)
    assert await stage.record(record.id) == record


# Alarms


async def test_one_alarm_that_is_gone_does_not_stop_the_other_49(stage: Stage) -> None:
    """If one alarm of a batch is gone, the other 49 are moved.

    The failed transaction names one operation. That alarm is dropped and the rest is sent again.
    """
    await stage.plant(alarms_at(START_MS, 50))
    alarms = await due(stage.ports.store)
    await stage.ports.store.remove(alarms[17])
    moved = await stage.ports.store.move(SHARD, later(alarms))
    assert {alarm.id for alarm in moved} == {alarm.id for alarm in alarms} - {alarms[17].id}
    assert {alarm.key for alarm in await due(stage.ports.store)} == {alarm.key for alarm in moved}


async def test_two_alarms_that_go_to_one_key_hold_up_no_others(stage: Stage) -> None:
    """After a redelivery there may be two alarms of one delivery. If both are due, a sweep moves them to the same time.

    Storage refuses a transaction that has a key twice. So one of them is moved, with all others, and one stays due.
    """
    twice = [Alarm(START_MS + late_ms, Kind.DELIVER, alarms_at(START_MS, 1)[0].id, "c") for late_ms in range(2)]
    await stage.plant([*alarms_at(START_MS, 20), *twice])
    moves = [(alarm, alarm.moved(START_MS + 20_000)) for alarm in await due(stage.ports.store)]
    moved = await stage.ports.store.move(SHARD, moves)
    assert {new.key for _, new in moves} == {alarm.key for alarm in moved}
    assert len(moved) == len(moves) - 1
    (left,) = [alarm for alarm in await due(stage.ports.store) if alarm.due_ms < START_MS + 20_000]
    assert await stage.ports.store.move(SHARD, [(left, left.moved(START_MS + 20_001))])


async def test_an_alarm_that_storage_refuses_holds_up_no_others(stage: Stage) -> None:
    """It is told in the log, and raised only if it is moved alone."""
    await stage.plant(alarms_at(START_MS, 8))
    moves = later(await due(stage.ports.store))
    refused = (moves[3][0], replace(moves[3][1], token="t" * 70_000))
    moves[3] = refused
    moved = await stage.ports.store.move(SHARD, moves)
    assert {alarm.key for alarm in moved} == {new.key for _, new in moves} - {refused[1].key}
    with pytest.raises(StoreRefused):
        await stage.ports.store.move(SHARD, [refused])


async def test_an_alarm_that_was_written_again_is_not_moved(stage: Stage) -> None:
    """An alarm that was written again since it was read is not moved, because its ETag differs."""
    await stage.plant(alarms_at(START_MS, 3))
    alarms = await due(stage.ports.store)
    await stage.put(alarms[1].id, alarms[1].key, facts="{}", write_id="")
    moved = await stage.ports.store.move(SHARD, later(alarms))
    assert [alarm.id for alarm in moved] == [alarms[0].id, alarms[2].id]


async def test_two_moves_of_the_same_alarms_share_them(stage: Stage) -> None:
    """When two processes move the same alarms at the same time, each alarm is moved by exactly one of them."""
    await stage.plant(alarms_at(START_MS, 120))
    alarms = await due(stage.ports.store)
    other = (await stage.new_ports(stage.clock)).store
    ours, theirs = await asyncio.gather(
        stage.ports.store.move(SHARD, later(alarms)), other.move(SHARD, later(alarms)[::-1])
    )
    assert sorted(alarm.id for alarm in ours + theirs) == [alarm.id for alarm in alarms]


async def test_a_new_account_serves_its_first_response_before_a_heartbeat(stage: Stage) -> None:
    """A write that finds no table creates it and is sent again. What is read before that is not there."""
    await (await stage.table()).delete_table()
    store, record = stage.ports.store, Record(new_id(), "ann", created_ms=1, deadline_ms=2)
    assert await store.read(record.id) is None
    assert (await store.agenda(shard_of(record.id), 2, 10)).due == []
    written = await store.commit(ChangeSet(record))
    assert await store.read(record.id) == written
