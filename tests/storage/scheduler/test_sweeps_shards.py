"""Sweeps of several shards for one message, and of shards in which much is due."""

from dataclasses import replace

import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.errors import StoreUnavailable
from shared.scheduler.sweeps import sweep, sweep_shards
from shared.storage.agenda import Agenda
from shared.storage.messages import Wakeup
from shared.storage.store import Store
from tests.support.clocks import START_MS
from tests.support.log_capture import WrittenLines, log_lines
from tests.support.sent_messages import wakeup
from tests.support.stage import Stage

NOW_S = START_MS // 1000


async def plant(stage: Stage, shard: str, count: int) -> None:
    """Plant alarms of responses that do not exist. `count` of them are due, and one is due in 9 s."""
    due = [Alarm(START_MS, Kind.PURGE, f"resp_{shard}{n:031x}") for n in range(count)]
    await stage.plant([*due, Alarm(START_MS + 9_000, Kind.PURGE, f"resp_{shard}{'e' * 31}")])


class FaultyStore(Store):
    """A store in which the shard `a` cannot be read."""

    error: Exception

    async def agenda(self, shard: str, now_ms: int, limit: int) -> Agenda:
        """Return the agenda, or raise the error."""
        if shard == "a":
            raise self.error
        return await super().agenda(shard, now_ms, limit)


async def break_shard(stage: Stage, error: Exception) -> None:
    """Let every read of the shard `a` raise an error."""
    store = FaultyStore(await stage.table())
    store.error = error
    stage.change(store=store)


async def test_each_shard_of_a_message_is_swept(stage: Stage) -> None:
    """A message may name several shards. Each is swept, and its next wake-up is asked for. Others are left alone."""
    for shard in "0abf":
        await plant(stage, shard, 2)
    assert await stage.engine.sweep(Wakeup("0af", NOW_S)) == 6
    assert sorted(stage.sent, key=str) == [wakeup(NOW_S + 9, 9, shard) for shard in "0af"]
    assert len((await stage.ports.store.agenda("b", START_MS, 10)).due) == 2


async def test_a_shard_whose_storage_fails_stops_no_other(stage: Stage, written: WrittenLines) -> None:
    """The other shards of the message are swept. The heartbeat finds what is due in the one that failed."""
    for shard in "ab":
        await plant(stage, shard, 1)
    await break_shard(stage, StoreUnavailable())
    assert await stage.engine.sweep(Wakeup("ab", NOW_S)) == 1
    assert stage.sent == [wakeup(NOW_S + 9, 9, "b")]
    assert [line["shard"] for line in log_lines(written) if line["event"] == "sweep.storage_failed"] == ["a"]


async def test_a_fault_in_one_shard_is_raised_after_the_others(stage: Stage) -> None:
    """An error that is not storage's fails the message, so that the platform repeats it. The others are swept."""
    await plant(stage, "b", 1)
    await break_shard(stage, ZeroDivisionError("a bug of ours"))
    with pytest.raises(ZeroDivisionError):
        await stage.engine.sweep(Wakeup("ab", NOW_S))
    assert stage.sent == [wakeup(NOW_S + 9, 9, "b")]


async def test_a_shard_with_much_to_do_is_woken_alone(connection_string: str) -> None:
    """The next wake-up of a shard with more than 50 due alarms names no other shard, so other instances can help."""
    async with Stage(connection_string, gather_s=4) as stage:
        for shard, count in (("0", 50), ("1", 51), ("2", 1)):
            await plant(stage, shard, count)
        await stage.engine.sweep(Wakeup("012", NOW_S))
        await stage.ports.wakeups.aclose()
        assert sorted(stage.sent, key=str) == [wakeup(NOW_S + 9, 9, "02"), wakeup(NOW_S + 9, 9, "1")]


async def test_a_sweep_takes_no_more_than_it_may(stage: Stage) -> None:
    """The limits of a sweep can be lowered. What is left is asked for at once."""
    await plant(stage, "a", 5)
    assert await sweep_shards(stage.ports, Wakeup("a", NOW_S), most=3) == 3
    assert await sweep(stage.ports, "a", NOW_S, within_s=0) == 0
    assert stage.sent == [wakeup(NOW_S, 0)] * 2
    assert await sweep(replace(stage.ports), "a", NOW_S) == 2
