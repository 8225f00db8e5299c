"""What a run keeps beyond its process: in order, once each, whole, and only while it is held."""

import asyncio
import random
import string

import pytest

from shared.core import blobs
from shared.core.blobs import Oversized
from shared.core.ids import shard_of
from shared.core.keys import child_key
from shared.runs import claims
from shared.runs.lease import Lease
from shared.runs.memory import RunCheckpoints
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.stage import Stage


def noise(size: int) -> str:
    """Return a text that does not become smaller by packing as texts do."""
    return "".join(random.Random(1).choices(string.printable[:94], k=size))


async def holder(stage: Stage) -> Lease:
    """Return the lease of a run that was just claimed."""
    stage.upstream.is_background = False
    made = await stage.create()
    claimed = await claims.claim(stage.ports, made.id, made.run.epoch)
    assert claimed
    return Lease(stage.ports, *claimed)


async def test_facts_come_back_in_the_order_they_were_kept(stage: Stage) -> None:
    """Also where they were kept at the same time, and whatever their size; another holder finds them."""
    lease = await holder(stage)
    notes = RunCheckpoints(stage.ports, lease)
    facts = [{"n": n, "text": noise(1_000_000) if n == 3 else ""} for n in range(12)]
    await asyncio.gather(*(notes.save(fact) for fact in facts))
    assert await notes.load() == facts
    assert await RunCheckpoints(stage.ports, Lease(stage.ports, lease.record, lease.alarm)).load() == facts
    assert (await stage.record(lease.record.id)).upstream.checkpoints == 12


async def test_more_facts_than_a_page_of_the_table_are_all_found(stage: Stage) -> None:
    """Page by page."""
    lease = await holder(stage)
    table, owner = await stage.table(), {"PartitionKey": shard_of(lease.record.id), "p0": blobs.pack({})}
    rows = [owner | {"RowKey": child_key(lease.record.id, f"memo|{n:06d}|00")} for n in range(1_050)]
    for start in range(0, len(rows), 100):
        await table.submit_transaction([("create", row) for row in rows[start : start + 100]])
    assert len(await RunCheckpoints(stage.ports, lease).load()) == 1_050


async def test_a_fact_whose_answer_was_lost_is_kept_once(stage: Stage) -> None:
    """Storage had written it: what is repeated finds it there."""
    lease = await holder(stage)
    notes = RunCheckpoints(stage.ports, lease)
    lost = stage.proxy.drop_answer(is_transaction)
    await notes.save({"n": 1})
    await notes.save({"n": 2})
    assert lost.happened.is_set()
    assert await notes.load() == [{"n": 1}, {"n": 2}]


async def test_whoever_has_lost_the_run_keeps_nothing(stage: Stage) -> None:
    """And goes no further: the call does not return."""
    lease = await holder(stage)
    await stage.ring(lease.record.id)
    keeping = asyncio.create_task(RunCheckpoints(stage.ports, lease).save({"n": 1}))
    other = RunCheckpoints(stage.ports, await taken_over(stage, lease.record.id))
    await other.save({"n": 2})
    done, _ = await asyncio.wait({keeping}, timeout=0.2)
    assert not done
    keeping.cancel()
    assert await other.load() == [{"n": 2}]


async def taken_over(stage: Stage, response_id: str) -> Lease:
    """Return the lease of the next holder."""
    claimed = await claims.claim(stage.ports, response_id, 2)
    assert claimed
    return Lease(stage.ports, *claimed)


async def test_a_token_is_kept_with_its_fact(stage: Stage) -> None:
    """It is what the work is stopped by from then on, and says that it goes on."""
    lease = await holder(stage)
    notes = RunCheckpoints(stage.ports, lease)
    await notes.save({"n": 1}, "t1")
    await notes.save({"n": 2})
    record = await stage.record(lease.record.id)
    assert (record.upstream.token, record.upstream.has_checkpoint) == ("t1", True)


async def test_a_fact_over_the_limit_is_refused(stage: Stage) -> None:
    """Before anything is written; the next one is kept."""
    notes = RunCheckpoints(stage.ports, await holder(stage))
    with pytest.raises(Oversized):
        await notes.save({"text": noise(4_000_000)})
    await notes.save({"n": 1})
    assert await notes.load() == [{"n": 1}]


async def test_a_response_that_continues_none_inherits_nothing(stage: Stage) -> None:
    """Nor is anything read."""
    assert await RunCheckpoints(stage.ports, await holder(stage)).previous_session() is None
