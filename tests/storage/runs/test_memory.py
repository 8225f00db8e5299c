"""Checkpoints of a run: they are kept in order, once each, and only by the holder of the run."""

import asyncio
import random
import string

import pytest

from shared.core import blobs
from shared.core.blobs import Oversized
from shared.core.ids import shard_of
from shared.core.keys import child_key
from shared.core.states import Status
from shared.runs import claims
from shared.runs.lease import RunLease
from shared.runs.log_writer import LogWriter
from shared.runs.memory import RunCheckpoints
from shared.runs.unstored import Beginning
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.run_holders import start_of
from tests.support.stage import Stage


def noise(size: int) -> str:
    """Return a text that hardly becomes smaller when it is packed."""
    return "".join(random.Random(1).choices(string.printable[:94], k=size))


def memory_of(stage: Stage, lease: RunLease) -> RunCheckpoints:
    """Return the checkpoints of a run that this process holds."""
    return RunCheckpoints(stage.ports, lease, LogWriter(stage.ports, lease, None))


async def test_checkpoints_are_loaded_in_the_order_they_were_saved(stage: Stage, lease: RunLease) -> None:
    """Checkpoints are loaded in the order in which they were saved, even if they were saved at once.

    This holds for large ones and for another holder.
    """
    checkpoints = memory_of(stage, lease)
    saved = [{"n": n, "text": noise(1_000_000) if n == 3 else ""} for n in range(12)]
    await asyncio.gather(*(checkpoints.save(one) for one in saved))
    assert await checkpoints.load() == saved
    assert await memory_of(stage, RunLease(stage.ports, lease.record, lease.alarm)).load() == saved
    assert (await stage.record(lease.record.id)).upstream.checkpoints == 12


async def test_more_checkpoints_than_a_page_of_the_table_are_all_loaded(stage: Stage, lease: RunLease) -> None:
    """All checkpoints are loaded, even if they fill more than one page of the table."""
    table, owner = await stage.table(), {"PartitionKey": shard_of(lease.record.id), "p0": blobs.pack({})}
    rows = [owner | {"RowKey": child_key(lease.record.id, f"memo|{n:06d}|00")} for n in range(1_050)]
    for start in range(0, len(rows), 100):
        await table.submit_transaction([("create", row) for row in rows[start : start + 100]])
    assert len(await memory_of(stage, lease).load()) == 1_050


async def test_a_checkpoint_whose_answer_was_lost_is_kept_once(stage: Stage, lease: RunLease) -> None:
    """If the answer to a save is lost, the repeat finds the checkpoint and does not save it twice."""
    checkpoints = memory_of(stage, lease)
    lost = stage.proxy.drop_answer(is_transaction)
    await checkpoints.save({"n": 1})
    await checkpoints.save({"n": 2})
    assert lost.happened.is_set()
    assert await checkpoints.load() == [{"n": 1}, {"n": 2}]


async def test_a_process_that_has_lost_the_run_saves_nothing(stage: Stage, lease: RunLease) -> None:
    """A process that has lost the run cannot save a checkpoint, and its call does not return."""
    await stage.fire_alarms(lease.record.id)
    saving = asyncio.create_task(memory_of(stage, lease).save({"n": 1}))
    other = memory_of(stage, await taken_over(stage, lease.record.id))
    await other.save({"n": 2})
    done, _ = await asyncio.wait({saving}, timeout=0.2)
    assert not done
    saving.cancel()
    assert await other.load() == [{"n": 2}]


async def taken_over(stage: Stage, response_id: str) -> RunLease:
    """Return the lease of the next holder."""
    claimed = await claims.claim(stage.ports, response_id, 2)
    assert claimed
    return RunLease(stage.ports, *claimed)


async def test_a_token_is_kept_with_its_checkpoint(stage: Stage, lease: RunLease) -> None:
    """A token that is saved with a checkpoint is kept in the record. The record then says that it has a checkpoint."""
    checkpoints = memory_of(stage, lease)
    await checkpoints.save({"n": 1}, "t1")
    await checkpoints.save({"n": 2})
    record = await stage.record(lease.record.id)
    assert (record.upstream.token, record.upstream.has_checkpoint) == ("t1", True)


async def test_a_checkpoint_over_the_limit_is_refused(stage: Stage, lease: RunLease) -> None:
    """A checkpoint over the size limit raises Oversized before anything is written. The next one is kept."""
    checkpoints = memory_of(stage, lease)
    with pytest.raises(Oversized):
        await checkpoints.save({"text": noise(4_000_000)})
    await checkpoints.save({"n": 1})
    assert await checkpoints.load() == [{"n": 1}]


async def test_a_checkpoint_that_storage_refuses_is_as_one_that_is_too_large(stage: Stage, lease: RunLease) -> None:
    """A tool that has acted must not end its run as a fault of the agent."""
    stage.proxy.refuse(is_transaction, 413)
    with pytest.raises(Oversized):
        await memory_of(stage, lease).save({"n": 1})


async def test_a_response_without_a_previous_one_has_no_previous_session(stage: Stage, lease: RunLease) -> None:
    """A response without a previous one has no previous session."""
    assert await memory_of(stage, lease).previous_session() is None


async def test_the_start_of_the_work_is_recorded_before_its_checkpoint(stage: Stage, lease: RunLease) -> None:
    """A start that waits for its first events is recorded before a checkpoint, whose token would be lost else."""
    log = LogWriter(stage.ports, lease, None)
    writing = asyncio.create_task(log.write())
    start = start_of(lease, "up_0", Status.IN_PROGRESS, is_background=False, live=False)
    log.begin(Beginning(start, lambda _: None))
    await RunCheckpoints(stage.ports, lease, log).save({"n": 1}, "t1")
    assert (await stage.record(lease.record.id)).upstream.token == "t1"
    writing.cancel()


async def test_a_holder_whose_lease_is_past_looks_before_it_acts(stage: Stage, lease: RunLease) -> None:
    """Before a tool is called, a holder whose time is past reads its record. If it has lost the run, nothing happens.

    So a tool that blocks its process for longer than a lease is not followed by a tool that another holder calls, too.
    """
    memory, reads = memory_of(stage, lease), "GET responses(key)"
    before = stage.proxy.counts[reads]
    await memory.confirm()
    assert stage.proxy.counts[reads] == before
    stage.clock.advance(40)
    await memory.confirm()
    assert stage.proxy.counts[reads] == before + 1
    await stage.sweep(lease.record.id)
    confirming = asyncio.create_task(memory.confirm())
    done, _ = await asyncio.wait({confirming}, timeout=0.2)
    assert not done
    confirming.cancel()
