"""The agenda of a shard: which alarms are due, which one is next, and how many queries that takes."""

import pytest

from shared.core import keys
from shared.core.alarms import Alarm, Kind
from shared.core.errors import StoreUnavailable
from shared.storage.agenda import FIRST_PAGE, Agenda, RemovedAlarms
from tests.support.clocks import START_MS
from tests.support.stage import FOREVER_MS, Stage

SHARD = "a"


def alarms_at(due_ms: int, count: int) -> list[Alarm]:
    """Return the alarms of `count` responses of one shard, due at the same time."""
    return [Alarm(due_ms, Kind.POLL, f"resp_{SHARD}{n:031x}", token="t", born_ms=due_ms) for n in range(count)]


async def read(stage: Stage, now_ms: int = START_MS, limit: int = 1_000) -> tuple[list[str], Agenda, int]:
    """Read the agenda. Return the keys of the due alarms, the agenda, and the number of queries."""
    before = stage.proxy.counts.copy()
    agenda = await stage.ports.store.agenda(SHARD, now_ms, limit)
    return [alarm.key for alarm in agenda.due], agenda, (stage.proxy.counts - before).total()


def keys_of(alarms: list[Alarm]) -> list[str]:
    """Return the row keys of alarms."""
    return [alarm.key for alarm in alarms]


async def test_one_query_reads_the_due_alarms_and_the_next_one(stage: Stage) -> None:
    """Due alarms come in the order of their times, up to and including the given millisecond. The next one is known."""
    early, on_time, late = (alarms_at(due_ms, 2) for due_ms in (START_MS - 1, START_MS, START_MS + 7_000))
    await stage.plant([*late, *on_time, *early])
    due, agenda, queries = await read(stage)
    assert (due, agenda.bad, agenda.next_ms) == (keys_of(early + on_time), [], START_MS + 7_000)
    assert queries == 1
    assert await stage.ports.store.first_due(SHARD) == START_MS - 1


async def test_an_empty_shard_has_no_next_alarm(stage: Stage) -> None:
    """A shard without alarms has an empty agenda. One whose alarms are all due has no next one."""
    assert await read(stage) == ([], Agenda([], [], None), 1)
    assert await stage.ports.store.first_due(SHARD) is None
    await stage.plant(alarms := alarms_at(START_MS, 3))
    due, agenda, _ = await read(stage)
    assert (due, agenda.next_ms) == (keys_of(alarms), None)


async def test_an_agenda_holds_at_most_as_many_alarms_as_asked_for(stage: Stage) -> None:
    """A limit returns the earliest alarms. The one behind them is the next, although it is due."""
    await stage.plant([*alarms_at(START_MS - 5, 3), *alarms_at(START_MS - 2, 1)])
    due, agenda, _ = await read(stage, limit=3)
    assert (due, agenda.next_ms) == (keys_of(alarms_at(START_MS - 5, 3)), START_MS - 2)


@pytest.mark.parametrize(("count", "queries"), [(FIRST_PAGE - 1, 1), (FIRST_PAGE, 2), (5 * FIRST_PAGE, 3), (300, 3)])
async def test_a_long_agenda_takes_few_queries(stage: Stage, count: int, queries: int) -> None:
    """Each further query reads four times as many rows. No alarm is left out or read twice."""
    await stage.plant(alarms := alarms_at(START_MS, count))
    await stage.plant(alarms_at(START_MS + 1, 40))
    due, agenda, made = await read(stage)
    assert (due, agenda.next_ms, made) == (keys_of(alarms), START_MS + 1, queries)


BAD_ROWS = [
    ("alarm|!", "{}"),
    ("alarm|000000000000x|poll|resp_a" + "0" * 31, "{}"),
    ("alarm|0000000000001|dance|resp_a" + "0" * 31, "{}"),
    ("alarm|0000000000001|deliver|resp_a" + "0" * 31 + "|newer", "{}"),
    ("alarm|0000000000001|poll|no-id", "{}"),
    ("alarm|0000000000001|poll|resp_a" + "0" * 31, "not json"),
    ("alarm|0000000000001|poll|resp_a" + "0" * 31, "[]"),
    ("alarm|0000000000001|poll|resp_a" + "0" * 31, '{"attempt": "one"}'),
    ("alarm|0000000000001|poll|resp_a" + "0" * 31, '{"token": 1}'),
    ("alarm|0000000000001|poll|resp_a" + "0" * 31, 7),
]


@pytest.mark.parametrize(("key", "facts"), BAD_ROWS)
async def test_a_row_that_is_not_an_alarm_is_reported(stage: Stage, key: str, facts: object) -> None:
    """The key of a row that cannot be read as an alarm is reported, and the alarms beside it are returned."""
    good = alarms_at(START_MS, 1)
    await stage.plant(good)
    await stage.put(good[0].id, key, facts=facts, write_id="")
    due, agenda, _ = await read(stage, FOREVER_MS)
    assert (due, agenda.bad) == (keys_of(good), [key])


async def test_a_row_without_properties_is_reported(stage: Stage) -> None:
    """An alarm row without its properties is reported as unreadable."""
    key = "alarm|0000000000001|poll|resp_a" + "0" * 31
    await stage.put("resp_a", key)
    assert (await read(stage))[1].bad == [key]


async def test_rows_that_are_not_alarms_are_stepped_over(stage: Stage) -> None:
    """However many rows cannot be read, the due alarms behind them are found, and so is the next one.

    A row that is not due yet is not reported.
    """
    stuck = [Alarm(START_MS - 9_000, Kind.POLL, f"resp_{SHARD}{n:031x}") for n in range(3 * FIRST_PAGE)]
    await stage.plant(stuck)
    for alarm in stuck:
        await stage.put(alarm.id, alarm.key, facts="damaged", write_id="")
    await stage.put("resp_a", "alarm|0", facts="{}", write_id="")
    await stage.put("resp_a", f"alarm|{START_MS + 2}|dance|resp_a", facts="{}", write_id="")
    await stage.plant([*alarms_at(START_MS, 2), *alarms_at(START_MS + 5, 1)])
    due, agenda, _ = await read(stage, limit=5)
    assert (due, agenda.next_ms) == (keys_of(alarms_at(START_MS, 2)), START_MS + 5)
    assert agenda.bad == ["alarm|0", *keys_of(stuck)]


async def test_the_first_alarm_is_found_behind_rows_that_are_not_alarms(stage: Stage) -> None:
    """The first alarm of a shard is found behind rows with unreadable alarm keys."""
    await stage.plant(alarms_at(START_MS, 1))
    for key in ("alarm|!", "alarm|0|poll", "alarm|000|dance|resp_a", "alarm|junk"):
        await stage.put("resp_a", key, facts="{}", write_id="")
    assert await stage.ports.store.first_due(SHARD) == START_MS
    assert await stage.ports.store.first_due("b") is None


async def test_the_first_alarm_is_found_behind_many_alarms_of_a_newer_version(stage: Stage) -> None:
    """They stay behind after a roll-back. Each further query reads four times as many rows."""
    await stage.plant([Alarm(START_MS - 1, Kind.DELIVER, f"resp_{SHARD}{n:031x}", "newer") for n in range(60)])
    await stage.plant(alarms_at(START_MS, 1))
    before = stage.proxy.counts.copy()
    assert await stage.ports.store.first_due(SHARD) == START_MS
    assert (stage.proxy.counts - before).total() == 4


# What this process has removed


async def test_the_store_knows_which_alarms_it_has_removed(stage: Stage) -> None:
    """An alarm that this process removes or moves away is known as removed. One that it moves to is not."""
    store = stage.ports.store
    first, second = alarms_at(START_MS, 2)
    await stage.plant([first, second])
    (moved,) = await store.move(SHARD, [(first, first.moved(START_MS + 1_000))])
    await store.remove(second)
    assert [one.key in store.removed for one in (first, moved, second)] == [True, False, True]
    await store.move(SHARD, [(moved, moved.at(START_MS))])
    assert [one.key in store.removed for one in (first, moved)] == [False, True]


async def test_an_alarm_that_could_not_be_removed_is_not_known_as_removed(stage: Stage) -> None:
    """After an outage the alarm may still be there, so a sweep still asks for a wake-up."""
    (alarm,) = alarms_at(START_MS, 1)
    await stage.plant([alarm])
    async with stage.proxy.refusing():
        with pytest.raises(StoreUnavailable):
            await stage.ports.store.remove(alarm)
    assert alarm.key not in stage.ports.store.removed


def test_only_the_last_removals_are_remembered() -> None:
    """What a process keeps is bounded. Rows that are not alarms are not kept."""
    removed, (first, last) = RemovedAlarms(), alarms_at(START_MS, 2)
    removed.add([first.key, keys.record_key(first.id)])
    assert first.key in removed
    assert keys.record_key(first.id) not in removed
    removed.add(Alarm(START_MS, Kind.POLL, f"resp_{n:032x}").key for n in range(4_000))
    removed.add([last.key])
    assert first.key not in removed
    assert last.key in removed
