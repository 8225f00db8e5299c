"""Setting an alarm to another time: when it is due then, what it keeps, and the wake-up for it."""

from dataclasses import replace

import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.errors import StoreUnavailable
from shared.core.ids import new_id, shard_of
from shared.runtime.unit_of_work import rearm
from tests.support.clocks import START_MS
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.sent_messages import wakeup
from tests.support.stage import Stage

NOW_S = START_MS // 1000
DUE_MS = START_MS + 20_000


async def planted(stage: Stage, *, deadline_ms: int = 0) -> Alarm:
    """Return an alarm in storage that is due in 20 s, as a sweep that has just moved it knows it."""
    alarm = Alarm(
        DUE_MS, Kind.POLL, new_id(), attempt=3, tries=2, token="t", born_ms=START_MS, deadline_ms=deadline_ms, epoch=5
    )
    await stage.plant([alarm])
    (found,) = await stage.alarms(alarm.id)
    return found


@pytest.mark.parametrize("wait_ms", [-1_000, 0, 1, 1_500, 19_999, 20_001, 59_000])
async def test_an_alarm_is_set_to_an_earlier_or_a_later_time(stage: Stage, wait_ms: int) -> None:
    """The alarm is in storage once, at its new time, and a wake-up is sent for the second in which it is due."""
    alarm = await planted(stage)
    await rearm(stage.ports, alarm, START_MS + wait_ms)
    (found,) = await stage.alarms(alarm.id)
    assert found.due_ms == START_MS + wait_ms
    wait_s = -(-wait_ms // 1000)
    assert stage.sent == [wakeup(NOW_S + wait_s, max(0, wait_s), shard_of(alarm.id))]


async def test_an_alarm_that_is_set_to_its_own_time_gets_a_new_key(stage: Stage) -> None:
    """An alarm whose new time is the old one is due 1 ms later, because its row key must be new."""
    alarm = await planted(stage)
    await rearm(stage.ports, alarm, DUE_MS)
    (found,) = await stage.alarms(alarm.id)
    assert found.due_ms == DUE_MS + 1


@pytest.mark.parametrize(
    ("deadline_ms", "wait_ms", "expected_ms"),
    [
        (30_000, 29_999, 29_999),
        (30_000, 30_001, 15_000),
        (30_000, 3_600_000, 15_000),
        (400, 300, 300),
        (400, 3_600_000, 1_000),
        (0, 40_000, 40_000),
        (-1_000, 40_000, 40_000),
        (-START_MS, 40_000, 40_000),
    ],
    ids=["before", "just after", "long after", "soon", "soon after", "now", "past", "none"],
)
async def test_an_alarm_is_due_before_its_deadline(
    stage: Stage, deadline_ms: int, wait_ms: int, expected_ms: int
) -> None:
    """Before its deadline, an alarm is not set beyond it: half of the time that is left is waited, and at least 1 s.

    Once the deadline has passed, or without one, the alarm is due when it is asked for.
    """
    alarm = await planted(stage, deadline_ms=START_MS + deadline_ms)
    await rearm(stage.ports, alarm, START_MS + wait_ms)
    (found,) = await stage.alarms(alarm.id)
    assert found.due_ms - START_MS == expected_ms


async def test_only_the_count_of_attempts_is_reset(stage: Stage) -> None:
    """The alarm keeps its members, except for those that are changed. Its count of attempts becomes 0."""
    alarm = await planted(stage)
    await rearm(stage.ports, alarm, START_MS + 1_000, tries=9)
    (found,) = await stage.alarms(alarm.id)
    assert found == replace(alarm, due_ms=START_MS + 1_000, attempt=0, tries=9, etag=found.etag)


async def test_the_count_of_attempts_may_be_set(stage: Stage) -> None:
    """An alarm whose action has failed keeps the count that its caller gives."""
    alarm = await planted(stage)
    await rearm(stage.ports, alarm, START_MS + 1_000, attempt=4)
    assert [found.attempt for found in await stage.alarms(alarm.id)] == [4]


async def test_an_alarm_due_in_over_a_minute_gets_no_wakeup(stage: Stage) -> None:
    """No wake-up is sent for an alarm that is due in more than 59 s, because the heartbeat finds it."""
    alarm = await planted(stage)
    await rearm(stage.ports, alarm, START_MS + 59_001)
    assert [found.due_ms for found in await stage.alarms(alarm.id)] == [START_MS + 59_001]
    assert stage.sent == []


@pytest.mark.parametrize("is_moved", [True, False], ids=["moved", "removed"])
async def test_an_alarm_that_is_gone_is_not_set(stage: Stage, is_moved: bool) -> None:
    """If another process has moved or removed the alarm, no second one is written and no wake-up is sent."""
    alarm = await planted(stage)
    if is_moved:
        await stage.ports.store.move(shard_of(alarm.id), [(alarm, alarm.moved(DUE_MS + 7_000))])
    else:
        await stage.ports.store.remove(alarm)
    before = await stage.alarms(alarm.id)
    await rearm(stage.ports, alarm, START_MS + 1_000)
    assert await stage.alarms(alarm.id) == before
    assert stage.sent == []


async def test_an_alarm_whose_move_was_not_answered_is_set_once(stage: Stage) -> None:
    """If storage loses the answer, the move is recognised and the wake-up is sent."""
    alarm = await planted(stage)
    lost = stage.proxy.drop_answer(is_transaction)
    await rearm(stage.ports, alarm, START_MS + 1_000)
    assert lost.happened.is_set()
    assert [found.due_ms for found in await stage.alarms(alarm.id)] == [START_MS + 1_000]
    assert stage.sent == [wakeup(NOW_S + 1, 1, shard_of(alarm.id))]


async def test_an_alarm_stays_while_storage_is_away(stage: Stage) -> None:
    """If storage does not answer, StoreUnavailable is raised, and the alarm stays where it was."""
    alarm = await planted(stage)
    async with stage.proxy.refusing():
        with pytest.raises(StoreUnavailable):
            await rearm(stage.ports, alarm, START_MS + 1_000)
    assert await stage.alarms(alarm.id) == [alarm]
    assert stage.sent == []
