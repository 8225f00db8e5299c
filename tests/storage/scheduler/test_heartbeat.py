"""The heartbeat: it is the only scan of all shards, and it finds every due alarm that has no wake-up."""

import asyncio
from collections import Counter

import orjson
from azure.storage.queue.aio import QueueServiceClient

from shared.core.alarms import Alarm, Kind
from shared.engine import Engine
from shared.scheduler.heartbeat import beat
from shared.scheduler.sweeps import sweep
from shared.storage.messages import POISON, REQUESTS, WAKEUPS, Wakeup
from tests.support.clocks import START_MS
from tests.support.crash_points import new_process
from tests.support.log_capture import WrittenLines, log_events
from tests.support.queue_pump import swept
from tests.support.sent_messages import wakeup
from tests.support.stage import NO_ALARMS, Stage

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


async def test_a_wakeup_that_no_heartbeat_sends_is_no_chain(stage: Stage) -> None:
    """One that names a time far ahead would send others until then. Anybody who may write to the queue can send it."""
    await stage.plant([in_shard(30)])
    assert await stage.engine.sweep(Wakeup("a", NOW_S, NOW_S + 3_600)) == 0
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
    await stage.plant([Alarm(1, Kind.DELIVER, f"resp_{'a' * 32}", "newer")])
    for shard in "ab":
        await stage.plant([in_shard(30, shard)])
    await beat(stage.ports)
    assert wakeup(NOW_S + 30, 30, "b", until=NEXT_S) in stage.sent
    await sweep(stage.ports, "a", NOW_S)
    assert wakeup(NOW_S + 30, 30, "a") in stage.sent


# Overdue shards


async def test_a_heartbeat_sweeps_overdue_shards_itself(stage: Stage) -> None:
    """If an alarm is overdue by more than 5 s, its wake-up may lie in a queue that nobody asks. It is acted on at once.

    The wake-up is sent all the same. Shards that are less overdue, or not yet due, are only woken.
    """
    for shard, due_s in (("0", -6), ("3", -5), ("a", -4_000), ("f", 20)):
        await stage.plant([in_shard(due_s, shard)])
    await stage.engine.heartbeat()
    left = [shard for shard in "03af" if await stage.alarms(in_shard(0, shard).id)]
    assert left == ["3", "f"]
    assert {sent.content["shards"] for sent in stage.sent} == {"0", "3", "a", "f"}


async def test_a_heartbeat_sweeps_a_hundred_alarms_of_a_shard(stage: Stage) -> None:
    """A heartbeat is no sweep of a backlog. It takes 100 alarms and asks for a sweep of what is left."""
    await stage.plant([Alarm(START_MS - 9_000, Kind.PURGE, f"resp_a{n:031x}") for n in range(130)])
    await stage.engine.heartbeat()
    assert len((await stage.ports.store.agenda("a", START_MS, 1_000)).due) == 30
    assert wakeup(NOW_S - 9, 0) in stage.sent


async def test_a_process_that_works_only_in_invocations_sweeps_nothing_beside_them(stage: Stage) -> None:
    """With `WATCH` off a heartbeat only sends wake-ups."""
    stage.limit(watch=False)
    await stage.plant([in_shard(-600)])
    await stage.engine.heartbeat()
    assert await stage.alarms(in_shard(0).id)
    assert stage.sent == [wakeup(NOW_S - 600, 0, until=NEXT_S)]


async def test_a_sweep_that_fails_does_not_fail_its_heartbeat(stage: Stage, written: WrittenLines) -> None:
    """The heartbeat has reached storage, so no other follows within a minute. The wake-up has been sent."""
    await stage.plant([in_shard(-600)])
    gate = stage.proxy.pause(lambda request: request.kind == "GET responses()", BEAT.total() + 1)
    beating = asyncio.create_task(stage.engine.heartbeat())
    await gate.reached.wait()
    async with stage.proxy.refusing():
        gate.open()
        await beating
    assert "sweep.storage_failed" in log_events(written)
    assert stage.sent == [wakeup(NOW_S - 600, 0, until=NEXT_S)]
    assert await invoked(stage, stage.engine) == 0


# Beside invocations


BEAT = Counter({"GET responses()": 17})  # one of each shard, and one that finds no gates
CREATED = "POST Tables"  # by the first heartbeat of a process


async def invoked(stage: Stage, engine: Engine, *, times: int = 1) -> int:
    """Let invocations come at once. Return how many heartbeats read storage beside them, when those have ended."""
    before = stage.proxy.counts.copy()
    for _ in range(times):
        engine.accompany_invocation()
    await asyncio.gather(*stage.ports.background.tasks)
    found = stage.proxy.counts - before
    del found[CREATED]
    beats = found.total() // BEAT.total()
    assert found == {name: count * beats for name, count in BEAT.items() if found}
    return beats


async def test_a_process_whose_timer_never_fires_finds_overdue_alarms(stage: Stage) -> None:
    """The first invocation of a process wakes the shards of overdue alarms that a dead process has left."""
    stage.limit(watch=False)
    await stage.plant([in_shard(-3)])
    assert await invoked(stage, stage.engine) == 1
    assert stage.sent == [wakeup(NOW_S - 3, 0, until=NEXT_S)]
    stage.clock.advance(61)
    await stage.plant([in_shard(50, "b")])
    assert await invoked(stage, stage.engine) == 1
    assert wakeup(NOW_S + 50, 0, "b", until=NEXT_S + 61) in stage.sent


async def test_invocations_of_one_minute_share_a_heartbeat(stage: Stage) -> None:
    """A hundred invocations at once start one heartbeat, and those of the next minute none."""
    assert await invoked(stage, stage.engine, times=100) == 1
    for second_s in (1, 30, 29):
        stage.clock.advance(second_s)
        assert await invoked(stage, stage.engine) == 0
    stage.clock.advance(1)
    assert await invoked(stage, stage.engine, times=100) == 1


async def test_the_timers_heartbeat_counts(stage: Stage) -> None:
    """After a heartbeat of the timer, invocations start none for a minute."""
    await stage.engine.heartbeat()
    assert await invoked(stage, stage.engine) == 0
    stage.clock.advance(61)
    assert await invoked(stage, stage.engine) == 1


async def test_the_timer_waits_for_the_heartbeat_that_runs(stage: Stage) -> None:
    """If the timer fires while a heartbeat runs beside an invocation, there is no second one."""
    before = stage.proxy.counts.copy()
    stage.engine.accompany_invocation()
    await asyncio.gather(stage.engine.heartbeat(), stage.engine.heartbeat())
    assert stage.proxy.counts - before == BEAT + Counter({CREATED: 1})


async def test_a_failed_heartbeat_is_repeated_by_a_later_invocation(stage: Stage, written: WrittenLines) -> None:
    """During an outage invocations try again every few seconds, and no more. After it the next one succeeds."""
    stage.limit(watch=False)
    await stage.plant([in_shard(-3)])
    async with stage.proxy.refusing():
        for _ in range(3):
            for _ in range(20):
                stage.engine.accompany_invocation()
                await asyncio.gather(*stage.ports.background.tasks)
            stage.clock.advance(6)
    assert log_events(written).count("heartbeat.missed") == 3 * 16
    assert log_events(written).count("gates.missed") == 3
    assert stage.sent == []
    assert await invoked(stage, stage.engine) == 1
    assert len(stage.sent) == 1


async def test_an_invocation_does_not_wait_for_its_heartbeat(stage: Stage) -> None:
    """A heartbeat that hangs delays no invocation and fails none, and no second one is started beside it."""
    gate = stage.proxy.hold(lambda request: request.method == "GET", 1, carried_out=False)
    for _ in range(3):
        stage.engine.accompany_invocation()
        stage.clock.advance(61)
    await gate.reached.wait()
    assert len(stage.ports.background.tasks) == 1
    gate.open()
    stage.proxy.heal()
    await asyncio.gather(*stage.ports.background.tasks)
    assert await invoked(stage, stage.engine) == 1


# Queues


async def test_the_first_heartbeat_of_a_process_creates_what_is_missing(stage: Stage, connection_string: str) -> None:
    """The table and our queues, also that of requests and its poison queue, to which we do not send. Later ones do not.

    A process that is new creates them again.
    """
    async with QueueServiceClient.from_connection_string(connection_string) as queues:
        for name in (REQUESTS, REQUESTS + POISON, WAKEUPS):
            await queues.delete_queue(name)
        await (await stage.table()).delete_table()
        await stage.engine.heartbeat()
        assert await stage.ports.store.missing() == []
        assert [await stage.ports.wakeups.missing(), await stage.ports.requests.missing()] == [[], []]
        await queues.delete_queue(REQUESTS)
        await stage.engine.heartbeat()
        assert await stage.ports.requests.missing() == [REQUESTS]
        await Engine(new_process(stage)).heartbeat()
        assert await stage.ports.requests.missing() == []


async def test_a_heartbeat_that_did_not_reach_storage_creates_no_queue(stage: Stage, connection_string: str) -> None:
    """The queues are created by the first heartbeat that reaches storage."""
    async with QueueServiceClient.from_connection_string(connection_string) as queues:
        await queues.delete_queue(REQUESTS)
    async with stage.proxy.refusing():
        await stage.engine.heartbeat()
    assert await stage.ports.requests.missing() == [REQUESTS]
    await stage.engine.heartbeat()
    assert await stage.ports.requests.missing() == []
