"""The heartbeat: it is the only scan of all shards, and it finds every due alarm that has no wake-up."""

import orjson

from shared.core.alarms import Alarm, Kind
from shared.scheduler.heartbeat import beat
from shared.scheduler.sweeps import sweep
from shared.storage.messages import Wakeup
from tests.support.clocks import START_MS
from tests.support.queue_pump import swept
from tests.support.stage import NO_ALARMS, Stage, wakeup

NOW_S = START_MS // 1000
NEXT_S = NOW_S + 60  # when the next heartbeat is due


def in_shard(due_s: int, shard: str = "a") -> Alarm:
    """Return an alarm of a shard that is due in `due_s` seconds."""
    return Alarm(START_MS + due_s * 1000, Kind.PURGE, f"resp_{shard * 32}")


async def test_the_heartbeat_finds_alarms_without_a_wakeup(stage: Stage) -> None:
    """The heartbeat wakes exactly the shards whose first alarm is overdue or due within a minute, for that time."""
    dues_s = {"0": -300, "3": 0, "7": 30, "b": 59, "c": 60, "f": 3_600}
    for shard, due_s in dues_s.items():
        await stage.plant([in_shard(due_s, shard)])
    await beat(stage.ports)
    expected = [
        wakeup(NOW_S + due_s, max(0, due_s), shard, until=NEXT_S) for shard, due_s in dues_s.items() if due_s < 60
    ]
    assert sorted(stage.sent, key=str) == sorted(expected, key=str)


async def test_a_heartbeat_goes_on_past_an_alarm_that_was_removed(stage: Stage) -> None:
    """A heartbeat's wake-ups go on past an alarm that was removed before it was due.

    Alarms behind it that are due before the next heartbeat are found in time. Most leases are removed like this.
    """
    lease, behind, later = (in_shard(due_s) for due_s in (20, 40, 70))
    await stage.plant([lease, behind, later])
    await beat(stage.ports)
    await stage.ports.store.remove(lease)
    for due_s in (20, 40):
        stage.clock.ms = START_MS + due_s * 1000
        await swept(stage.engine, orjson.dumps(stage.sent[-1].content))
    assert stage.sent == [
        wakeup(NOW_S + 20, 20, until=NEXT_S),
        wakeup(NOW_S + 40, 20, until=NEXT_S),
        wakeup(NOW_S + 70, 30, until=NEXT_S),
    ]


async def test_a_heartbeat_does_not_go_on_beyond_the_next_one(stage: Stage) -> None:
    """A sweep that finds nothing due once the next heartbeat is due sends no wake-up, so wake-ups do not accumulate."""
    await stage.plant([in_shard(30)])
    assert await stage.engine.sweep(Wakeup("a", NOW_S, NOW_S)) == 0
    assert stage.sent == []


async def test_the_heartbeat_goes_on_beside_a_wakeup_for_the_same_second(stage: Stage) -> None:
    """The heartbeat sends its wake-up even if an ordinary one was sent for the same second.

    The ordinary one may find nothing due and end there. The heartbeat does not send the same wake-up twice.
    """
    await stage.plant([in_shard(30)])
    await stage.ports.wakeups.sweep("a", START_MS + 30_000)
    for _ in range(2):
        await beat(stage.ports)
        await stage.ports.wakeups.sweep("a", START_MS + 30_000)
    assert stage.sent == [wakeup(NOW_S + 30, 30), wakeup(NOW_S + 30, 30, until=NEXT_S)]


async def test_the_heartbeat_reads_one_row_of_each_shard(stage: Stage) -> None:
    """A heartbeat makes sixteen queries, one per shard."""
    before = stage.proxy.counts.copy()
    await beat(stage.ports)
    assert stage.proxy.counts - before == {"GET responses()": 16}


async def test_the_heartbeat_survives_a_storage_outage(stage: Stage) -> None:
    """A heartbeat during an outage of storage raises nothing and sends nothing. The next one follows in a minute."""
    async with stage.proxy.refusing():
        await beat(stage.ports)
    assert stage.sent == []


async def test_rows_that_are_not_alarms_do_not_stop_the_heartbeat(stage: Stage) -> None:
    """An unreadable alarm row delays no other shard.

    In its own shard, the sweep that the heartbeat causes finds the next alarm.
    """
    for key in NO_ALARMS:
        await stage.put("resp_a", key, facts="damaged", write_id="")
    for shard in "ab":
        await stage.plant([in_shard(30, shard)])
    await beat(stage.ports)
    assert wakeup(NOW_S + 30, 30, "b", until=NEXT_S) in stage.sent
    await sweep(stage.ports, "a", NOW_S)
    assert wakeup(NOW_S + 30, 30, "a") in stage.sent
