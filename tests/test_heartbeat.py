"""The heartbeat: the only scan, and what finds everything that no message tells of."""

import pytest

from shared.alarms import Alarm, Kind
from shared.sweeping import heartbeat, sweep
from tests.worlds import NO_ALARMS, START_MS, Stage, nudge

pytestmark = pytest.mark.anyio

NOW_S = START_MS // 1000


async def test_the_heartbeat_finds_what_no_nudge_is_for(stage: Stage) -> None:
    """Every shard with an alarm that is overdue or due within a minute is nudged, to that time; no other is."""
    dues_s = {"0": -300, "3": 0, "7": 30, "b": 59, "c": 60, "f": 3_600}
    for shard, due_s in dues_s.items():
        await stage.plant([Alarm(START_MS + due_s * 1000, Kind.PURGE, f"resp_{shard * 32}")])
    await heartbeat(stage.world)
    expected = [nudge(NOW_S + due_s, max(0, due_s), shard) for shard, due_s in dues_s.items() if due_s < 60]
    assert sorted(stage.sent, key=str) == sorted(expected, key=str)


async def test_the_heartbeat_reads_one_row_of_each_shard(stage: Stage) -> None:
    """Sixteen point queries are the only scan."""
    before = stage.proxy.counts.copy()
    await heartbeat(stage.world)
    assert stage.proxy.counts - before == {"GET responses()": 16}


async def test_the_heartbeat_survives_a_storage_outage(stage: Stage) -> None:
    """There is another one in a minute."""
    async with stage.proxy.refusing():
        await heartbeat(stage.world)
    assert stage.sent == []


async def test_rows_that_are_no_alarms_do_not_stop_the_heartbeat(stage: Stage) -> None:
    """Neither for other shards nor for their own, where the sweep they lead to finds what comes next."""
    for key in NO_ALARMS:
        await stage.put("resp_a", key, facts="damaged", write_id="")
    for shard in "ab":
        await stage.plant([Alarm(START_MS + 30_000, Kind.PURGE, f"resp_{shard * 32}")])
    await heartbeat(stage.world)
    assert nudge(NOW_S + 30, 30, "b") in stage.sent
    await sweep(stage.world, "a", NOW_S)
    assert nudge(NOW_S + 30, 30, "a") in stage.sent
