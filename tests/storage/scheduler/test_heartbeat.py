"""The heartbeat: the only scan, and what finds everything that no message tells of."""

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
    """Return an alarm of a shard that is due so much later."""
    return Alarm(START_MS + due_s * 1000, Kind.PURGE, f"resp_{shard * 32}")


async def test_the_heartbeat_finds_what_no_nudge_is_for(stage: Stage) -> None:
    """Every shard with an alarm that is overdue or due within a minute is nudged, to that time; no other is."""
    dues_s = {"0": -300, "3": 0, "7": 30, "b": 59, "c": 60, "f": 3_600}
    for shard, due_s in dues_s.items():
        await stage.plant([in_shard(due_s, shard)])
    await beat(stage.ports)
    expected = [
        wakeup(NOW_S + due_s, max(0, due_s), shard, until=NEXT_S) for shard, due_s in dues_s.items() if due_s < 60
    ]
    assert sorted(stage.sent, key=str) == sorted(expected, key=str)


async def test_a_heartbeat_goes_on_past_an_alarm_that_has_gone(stage: Stage) -> None:
    """A lease mostly goes before it rings; what is due behind it before the next heartbeat rings in time."""
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
    """A sweep that then finds nothing due ends, so that its nudges do not add to the next one's."""
    await stage.plant([in_shard(30)])
    assert await stage.engine.sweep(Wakeup("a", NOW_S, NOW_S)) == 0
    assert stage.sent == []


async def test_the_heartbeat_goes_on_where_another_nudge_is_for_the_same_second(stage: Stage) -> None:
    """That one may end there; a second of its own kind is not sent."""
    await stage.plant([in_shard(30)])
    await stage.ports.wakeups.sweep("a", START_MS + 30_000)
    for _ in range(2):
        await beat(stage.ports)
        await stage.ports.wakeups.sweep("a", START_MS + 30_000)
    assert stage.sent == [wakeup(NOW_S + 30, 30), wakeup(NOW_S + 30, 30, until=NEXT_S)]


async def test_the_heartbeat_reads_one_row_of_each_shard(stage: Stage) -> None:
    """Sixteen point queries are the only scan."""
    before = stage.proxy.counts.copy()
    await beat(stage.ports)
    assert stage.proxy.counts - before == {"GET responses()": 16}


async def test_the_heartbeat_survives_a_storage_outage(stage: Stage) -> None:
    """There is another one in a minute."""
    async with stage.proxy.refusing():
        await beat(stage.ports)
    assert stage.sent == []


async def test_rows_that_are_no_alarms_do_not_stop_the_heartbeat(stage: Stage) -> None:
    """Neither for other shards nor for their own, where the sweep they lead to finds what comes next."""
    for key in NO_ALARMS:
        await stage.put("resp_a", key, facts="damaged", write_id="")
    for shard in "ab":
        await stage.plant([in_shard(30, shard)])
    await beat(stage.ports)
    assert wakeup(NOW_S + 30, 30, "b", until=NEXT_S) in stage.sent
    await sweep(stage.ports, "a", NOW_S)
    assert wakeup(NOW_S + 30, 30, "a") in stage.sent
