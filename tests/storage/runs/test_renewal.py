"""The renewal of leases: together in one transaction a shard, and each lost alone."""

import asyncio
from collections.abc import Sequence

import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.records import Record
from shared.runs import renewal
from shared.runs.lease import Lost, RunLease
from tests.support.clocks import START_MS
from tests.support.conditions import until
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.stage import Stage

DURATION_MS = 30_000


async def leases_of(stage: Stage, shard: str, *ages_s: int) -> list[RunLease]:
    """Write the alarms of leases that were renewed so many seconds ago."""
    stage.pace(renew_s=0.02)
    made = [
        Alarm(START_MS + DURATION_MS - 1_000 * age_s, Kind.RUN, f"resp_{shard}{n:031x}", epoch=1)
        for n, age_s in enumerate(ages_s)
    ]
    await stage.plant(made)
    return [
        RunLease(stage.ports, Record(one.id, "ann", created_ms=START_MS, deadline_ms=one.due_ms), one, DURATION_MS)
        for one in made
    ]


def keeping(stage: Stage, leases: Sequence[RunLease]) -> list["asyncio.Task[None]"]:
    """Keep leases, each in a task of its own."""
    return [asyncio.create_task(renewal.keep(stage.ports, one)) for one in leases]


async def are_renewed(leases: Sequence[RunLease]) -> None:
    """Wait until leases are as new as can be."""

    async def is_so() -> bool:
        return all(one.alarm.due_ms == START_MS + DURATION_MS for one in leases)

    await until(is_so)


async def stop(tasks: Sequence["asyncio.Task[None]"]) -> None:
    """Cancel tasks."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_leases_of_a_shard_are_renewed_in_one_transaction(stage: Stage) -> None:
    """A lease is renewed after a third of its time, together with those of its shard that are half as old."""
    leases = await leases_of(stage, "a", 10, 5, 5, 4)
    before = stage.proxy.counts["POST $batch"]
    tasks = keeping(stage, leases)
    await are_renewed(leases[:3])
    assert stage.proxy.counts["POST $batch"] - before == 1
    assert leases[3].alarm.due_ms == START_MS + DURATION_MS - 4_000
    assert {(await stage.alarms(one.alarm.id))[0].key for one in leases} == {one.alarm.key for one in leases}
    assert len(stage.ports.local.leases) == 4
    await stop(tasks)
    assert not stage.ports.local.leases


async def test_a_lease_that_is_gone_costs_the_others_nothing(stage: Stage) -> None:
    """If an alarm has fired, its lease is lost, and the others of the transaction are renewed."""
    leases = await leases_of(stage, "a", 10, 10, 10)
    await stage.ports.store.remove(leases[1].alarm)
    tasks = keeping(stage, leases)
    with pytest.raises(Lost):
        await asyncio.wait_for(tasks[1], 10)
    await are_renewed([leases[0], leases[2]])
    assert [task.done() for task in tasks] == [False, True, False]
    await stop([tasks[0], tasks[2]])


async def test_a_run_that_ends_in_a_renewal_costs_the_others_nothing(stage: Stage) -> None:
    """The run that renews the leases may end before storage has answered. The others find where their alarms are."""
    leases = await leases_of(stage, "a", 10, 5)
    gate = stage.proxy.hold(is_transaction, carried_out=True)
    tasks = keeping(stage, leases)
    await gate.reached.wait()
    await stop(tasks[:1])
    stage.clock.advance(11)
    gate.open()
    stage.proxy.heal()

    async def is_renewed() -> bool:
        (there,) = await stage.alarms(leases[1].alarm.id)
        return leases[1].alarm.key == there.key and there.due_ms == stage.clock.ms + DURATION_MS

    await until(is_renewed)
    assert not tasks[1].done()
    await stop(tasks[1:])
