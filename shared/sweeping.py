"""Ringing the due alarms of a shard: move first, act after.

A due alarm is moved to its next time before anything is done about it, in transactions of up to 50; only alarms whose
move committed are acted on. So a process that dies delays what it had taken, and never loses it. Each alarm is
handled apart: an exception ends only that one, and as its attempt was counted before, the fifth in a row ends the
response by a path that reads nothing that could raise again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Iterable

from shared import cancelling, delivering, ending, polling, purging, starting
from shared.alarms import LEASE_MS, Alarm, Kind
from shared.errors import StoreError
from shared.ids import SHARDS
from shared.records import Delivery, Record, Write
from shared.schedule import MAX_UNEXPECTED, poll_delay, retry_delay
from shared.world import World, decide, rearm

_log = logging.getLogger(__name__)

MAX_ALARMS = 500
MAX_S = 60.0
AHEAD_MAX_MS = 5_000
READ_EVERY_MS = 60_000
NUDGE_AFTER_S = 1.0
HEARTBEAT_MS = 60_000
RETRY_AFTER_GIVING_UP_MS = 3_600_000
_AT_ONCE = 64


async def sweep(world: World, shard: str, at_s: int) -> int:
    """Ring the alarms of a shard that are due by its clock, or by the time the nudge was for if that is later.

    Takes at most 500 alarms or 60 s; what is left has been nudged for. Returns how many it rang.
    """
    clock_ms = world.now_ms()
    now_ms = max(clock_ms, min(at_s * 1000, clock_ms + AHEAD_MAX_MS))
    due, bad = await world.store.due(shard, now_ms, MAX_ALARMS)
    for row in bad:
        _log.error("alarm.unreadable", extra={"key": row.key})
    moved = await world.store.move(shard, [(alarm, _next(world, alarm, now_ms)) for alarm in due])
    if moved or bad:
        more = bool(moved) and len(due) + len(bad) == MAX_ALARMS
        await _ring_all(world, shard, moved, now_ms, more=more)
    return len(moved)


async def heartbeat(world: World) -> None:
    """Nudge every shard whose first alarm is overdue or due within a minute: 16 point queries, the only scan."""
    now_ms = world.now_ms()
    async with asyncio.TaskGroup() as group:
        for shard in SHARDS:
            group.create_task(_check(world, shard, now_ms))


async def _check(world: World, shard: str, now_ms: int) -> None:
    try:
        due_ms = await world.store.first_due(shard)
    except StoreError:
        _log.warning("heartbeat.missed", extra={"shard": shard})
        return
    if due_ms is not None and due_ms < now_ms + HEARTBEAT_MS:
        await world.nudges.sweep(shard, due_ms)


def _next(world: World, alarm: Alarm, now_ms: int) -> Alarm:
    """Return the alarm where it goes before it is acted on, its attempt counted."""
    if alarm.kind is not Kind.POLL:
        return alarm.moved(now_ms + LEASE_MS[alarm.kind], attempt=alarm.attempt + 1)
    reads = now_ms - alarm.read_ms >= READ_EVERY_MS
    return alarm.moved(
        now_ms + poll_delay(now_ms - alarm.born_ms, world.dice),
        attempt=alarm.attempt + 1,
        read_ms=now_ms if reads else alarm.read_ms,
    )


async def _ring_all(world: World, shard: str, moved: Iterable[Alarm], now_ms: int, *, more: bool) -> None:
    """Act on all; nudge for the shard's next alarm when that is done, or after a second: none waits for the slow."""
    gate, until_s = asyncio.Semaphore(_AT_ONCE), asyncio.get_running_loop().time() + MAX_S

    async def one(alarm: Alarm) -> None:
        async with gate:
            if asyncio.get_running_loop().time() < until_s:
                await _ring_safely(world, alarm, now_ms)

    async with asyncio.TaskGroup() as group:
        if tasks := [group.create_task(one(alarm)) for alarm in moved]:
            await asyncio.wait(tasks, timeout=NUDGE_AFTER_S)
        await _nudge_on(world, shard, now_ms, more=more)


async def _nudge_on(world: World, shard: str, now_ms: int, *, more: bool) -> None:
    """Nudge for the first alarm after those that were due: a row that is no alarm stays before it for good."""
    try:
        due_ms = world.now_ms() if more else await world.store.first_due(shard, now_ms)
    except StoreError:
        return  # the heartbeat finds it
    if due_ms is not None:
        await world.nudges.sweep(shard, due_ms)


async def _ring_safely(world: World, alarm: Alarm, now_ms: int) -> None:
    try:
        await (_give_up(world, alarm) if alarm.attempt > MAX_UNEXPECTED else _ring(world, alarm, now_ms))
    except StoreError as error:
        _log.warning("alarm.unfinished", extra={"key": alarm.key, "error": type(error).__name__})
    except Exception:  # noqa: BLE001 - the edge between one alarm and the others
        _log.exception("alarm.failed", extra={"key": alarm.key, "attempt": alarm.attempt})
        await _back_off(world, alarm)


def _ring(world: World, alarm: Alarm, now_ms: int) -> Awaitable[None]:
    match alarm.kind:
        case Kind.START:
            return starting.ring(world, alarm)
        case Kind.POLL:
            return polling.ring(world, alarm, now_ms)
        case Kind.DELIVER:
            return delivering.ring(world, alarm)
        case Kind.STOP:
            return cancelling.ring(world, alarm)
        case Kind.PURGE:
            return purging.ring(world, alarm)
        case Kind.RUN:
            return world.store.remove(alarm)  # no response of this version runs


async def _back_off(world: World, alarm: Alarm) -> None:
    due_ms = world.now_ms() + retry_delay(alarm.attempt, world.dice)
    try:
        await rearm(world, alarm, due_ms, attempt=alarm.attempt)
    except StoreError:
        return  # it stays where it was moved to


async def _give_up(world: World, alarm: Alarm) -> None:
    """End what cannot be handled, without reading what may be the cause."""
    _log.error("alarm.given_up", extra={"key": alarm.key})
    now_ms = world.now_ms()
    if alarm.kind in (Kind.STOP, Kind.PURGE):
        await rearm(world, alarm, now_ms + RETRY_AFTER_GIVING_UP_MS, attempt=MAX_UNEXPECTED - 1)  # one more try then
        return
    record = await world.store.read(alarm.id, with_body=False)
    if alarm.kind is Kind.DELIVER:
        await decide(world, record, alarm.id, lambda current: _undeliverable(current, alarm.target), alarm)
    else:
        await ending.end(world, record, alarm.id, ending.by_fault(now_ms), alarm)


def _undeliverable(record: Record, target: str) -> Write | None:
    delivery = record.delivery(target)
    if delivery is None or not delivery.is_open:
        return None
    return Write(record.with_delivery(Delivery(target, "failed", delivery.attempt)))
