"""The renewal of leases: one transaction a shard, and what happens if storage or another process comes in between."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.ids import new_id
from shared.runtime import lease_renewal
from shared.runtime.leases import Lease
from tests.support.clocks import START_MS
from tests.support.conditions import until
from tests.support.fast_loop import BACKEND
from tests.support.passing_time import pass_seconds, pass_unnoticed, result_of, until_quiet
from tests.support.proxies.fault_proxy import StorageRequest, is_transaction
from tests.support.sent_messages import wakeup
from tests.support.stage import Stage

DEADLINE_MS = START_MS + 3_600_000


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run the tests of this module on a loop whose clock can be moved forward."""
    return BACKEND


async def leases_of(stage: Stage, shard: str, count: int) -> list[Lease]:
    """Write alarms of a shard that fire after 15 s, and hold them."""
    alarms = [
        Alarm(START_MS + 15_000, Kind.POLL, f"resp_{shard}{new_id()[6:]}", deadline_ms=DEADLINE_MS)
        for _ in range(count)
    ]
    await stage.plant(alarms)
    return [lease_renewal.hold(stage.ports, alarm) for alarm in alarms]


async def stored(stage: Stage, lease: Lease) -> list[Alarm]:
    """Return the alarms of a lease as they are stored."""
    return await stage.alarms(lease.alarm.id)


def all_but(count: int) -> Callable[[StorageRequest], bool]:
    """Return a condition that holds for every transaction but so many first ones."""
    seen = Counter[str]()

    def holds(request: StorageRequest) -> bool:
        seen[request.kind] += is_transaction(request)
        return is_transaction(request) and seen[request.kind] > count

    return holds


async def test_leases_of_a_shard_are_renewed_in_one_transaction(stage: Stage) -> None:
    """Sixty leases in one shard and one in another take three: 50 alarms are moved in one. Nothing is woken."""
    leases = [*await leases_of(stage, "a", 60), *await leases_of(stage, "b", 1)]
    before = stage.proxy.counts.copy()
    await pass_seconds(stage, 12)
    assert stage.proxy.counts - before == Counter({"POST $batch": 3})
    due = {lease.alarm.due_ms for lease in leases}
    assert due <= {START_MS + 15_000 + seconds * 1000 for seconds in (9, 10, 11)}
    assert [alarm.due_ms for alarm in await stored(stage, leases[0])] == [leases[0].alarm.due_ms]
    assert stage.sent == []


async def test_a_process_without_leases_does_nothing(stage: Stage) -> None:
    """The task ends with the last lease, and begins again with the next one."""
    (lease,) = await leases_of(stage, "a", 1)
    stage.ports.leases.drop(lease)
    await pass_seconds(stage, 4)
    assert stage.ports.background.tasks == ()
    (again,) = await leases_of(stage, "a", 1)
    await pass_seconds(stage, 9)
    assert again.alarm.due_ms > START_MS + 15_000


async def test_a_renewal_that_storage_did_not_take_is_repeated(stage: Stage) -> None:
    """The next pass moves it, as long as its time is not past."""
    (lease,) = await leases_of(stage, "a", 1)
    async with stage.proxy.refusing():
        await pass_seconds(stage, 12)
        assert lease.alarm.due_ms == START_MS + 15_000
    await pass_seconds(stage, 2)
    await until_quiet(stage.ports)
    assert lease.alarm.due_ms > START_MS + 25_000
    assert not lease.is_over
    assert len(await stored(stage, lease)) == 1


async def test_a_renewal_whose_answer_was_lost_is_not_taken_for_a_loss(stage: Stage) -> None:
    """Storage carried it out and then was away. The next pass finds the alarm where that has put it."""
    (lease,) = await leases_of(stage, "a", 1)
    stage.proxy.drop_answer(is_transaction)
    stage.proxy.refuse(all_but(1), status=None)
    stage.proxy.refuse(lambda request: request.method == "GET", status=None)
    await pass_seconds(stage, 11)
    assert lease.doubtful
    stage.proxy.heal()
    await pass_seconds(stage, 3)

    async def is_renewed() -> bool:
        await pass_seconds(stage, 0)
        return lease.alarm.due_ms > START_MS + 15_000 and lease.doubtful is None

    await until(is_renewed)
    assert not lease.is_over
    assert [alarm.key for alarm in await stored(stage, lease)] == [lease.alarm.key]


async def test_a_past_lease_is_not_moved(stage: Stage) -> None:
    """Another process may have its alarm."""
    (lease,) = await leases_of(stage, "a", 1)
    stage.clock.advance(16)
    await pass_seconds(stage, 4)
    assert [alarm.due_ms for alarm in await stored(stage, lease)] == [START_MS + 15_000]


async def test_a_lease_that_another_process_has_taken_is_over(stage: Stage) -> None:
    """Its holder learns that, and the other leases of the transaction are renewed."""
    taken, kept = await leases_of(stage, "a", 2)
    await stage.ports.store.remove(taken.alarm)
    await pass_seconds(stage, 12)
    assert taken.is_over
    assert not kept.is_over
    assert kept.alarm.due_ms > START_MS + 15_000


async def test_hand_overs_send_one_wakeup_for_each_second(stage: Stage) -> None:
    """Those of the same moment go with one transaction."""
    leases = await leases_of(stage, "a", 4)
    before = stage.proxy.counts["POST $batch"]
    due = [START_MS + 2_100, START_MS + 2_900, START_MS + 3_000, START_MS + 4_001]
    for lease, due_ms in zip(leases, due, strict=True):
        stage.ports.background.start(lease_renewal.hand_over(stage.ports, lease, due_ms, tries=1))
    await pass_seconds(stage, 0.5)
    await until_quiet(stage.ports)
    assert stage.proxy.counts["POST $batch"] - before == 1
    assert [(await stored(stage, lease))[0].due_ms for lease in leases] == due
    at = START_MS // 1000

    async def are_sent() -> bool:
        return len(stage.sent) >= 2

    await until(are_sent)
    assert stage.sent == [wakeup(at + 3, 2), wakeup(at + 5, 4)]


async def test_a_hand_over_that_storage_does_not_take_is_left_to_the_lease(stage: Stage) -> None:
    """The holder waits until the time of the lease is past, and no longer."""
    (lease,) = await leases_of(stage, "a", 1)
    async with stage.proxy.refusing():
        task = stage.ports.background.start(lease_renewal.hand_over(stage.ports, lease, START_MS + 20_000))
        for _ in range(14):
            stage.clock.advance(1)
            await pass_unnoticed(1)
        assert not task.done()
        stage.clock.advance(1)
        await result_of(task)
    assert [alarm.due_ms for alarm in await stored(stage, lease)] == [START_MS + 15_000]


async def test_an_alarm_is_held_for_a_block(stage: Stage) -> None:
    """After the block the lease names the alarm as it stands, and it is renewed no more."""
    (planted,) = await leases_of(stage, "a", 1)
    stage.ports.leases.drop(planted)
    async with lease_renewal.holding(stage.ports, planted.alarm) as lease:
        await pass_seconds(stage, 12)
    assert [alarm.key for alarm in await stored(stage, lease)] == [lease.alarm.key]
    assert lease.alarm.due_ms > START_MS + 15_000
    assert not stage.ports.leases
