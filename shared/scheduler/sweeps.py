"""Ringing the due alarms of a shard: move first, act after.

A due alarm is moved to its next time before anything is done about it, in transactions of up to 50; only alarms whose
move committed are acted on. So a process that dies delays what it had taken, and never loses it. Each alarm is
handled apart: an exception ends only that one, and as its attempt was counted before, the fifth in a row ends the
response by a path that reads nothing that could raise again.
"""

import asyncio
from collections.abc import Awaitable, Sequence

from shared.core import response_transitions
from shared.core.alarms import LEASE_MS, Alarm, Kind
from shared.core.backoff import MAX_UNEXPECTED, poll_delay, retry_delay
from shared.core.changesets import Write
from shared.core.errors import StoreError
from shared.core.ids import SHARDS
from shared.core.records import Record
from shared.deliveries import attempts
from shared.lifecycle import cancellation, completion, polling, retention, submission
from shared.runs import claims
from shared.runtime.ports import World
from shared.runtime.unit_of_work import decide, rearm
from shared.storage.store import MOVES_A_TRANSACTION
from shared.telemetry import metrics, tracing
from shared.telemetry.logs import logger

_log = logger(__name__)

MAX_ALARMS = 500
MAX_S = 60.0
AHEAD_MAX_MS = 5_000
READ_EVERY_MS = 60_000
NUDGE_AFTER_S = 1.0
HEARTBEAT_MS = 60_000
RETRY_AFTER_GIVING_UP_MS = 3_600_000
AT_ONCE = 64


async def sweep(world: World, shard: str, at_s: int, until_s: int = 0) -> int:
    """Ring the alarms of a shard that are due by its clock, or by the time the nudge was for if that is later.

    Takes at most 500 alarms or 60 s, and nudges for what is left; before `until_s`, also where nothing was due.
    Returns how many it rang.
    """
    clock_ms = world.now_ms()
    now_ms = max(clock_ms, min(at_s * 1000, clock_ms + AHEAD_MAX_MS))
    if now_ms >= until_s * 1000:
        until_s = 0  # the next heartbeat has looked
    due, bad = await world.store.due(shard, now_ms, MAX_ALARMS)
    for key in bad:
        _log.error("alarm.unreadable", extra={"key": key})
    if not due and not bad and not until_s:
        return 0
    async with asyncio.TaskGroup() as group:
        rings = await _take(world, shard, due, now_ms - clock_ms, group)
        if rings:
            await asyncio.wait(rings, timeout=NUDGE_AFTER_S)
        more = len(rings) < len(due) or len(due) + len(bad) == MAX_ALARMS
        await _nudge_on(world, shard, now_ms, until_s, more=more)
    return len(rings)


async def _take(
    world: World, shard: str, due: Sequence[Alarm], ahead_ms: int, group: asyncio.TaskGroup
) -> list[asyncio.Task[None]]:
    """Move and ring alarms a transaction at a time, as many at once as can be acted on within their lease.

    What no place is found for in a minute is not touched: it stays due, and no attempt is charged.
    """
    loop = asyncio.get_running_loop()
    until_s, rings = loop.time() + MAX_S, list[asyncio.Task[None]]()
    for start in range(0, len(due), MOVES_A_TRANSACTION):
        if not await _has_room(rings, until_s - loop.time()):
            break
        now_ms = world.now_ms() + ahead_ms
        batch = due[start : start + MOVES_A_TRANSACTION]
        try:
            moved = await world.store.move(shard, [(alarm, _next(world, alarm, now_ms)) for alarm in batch])
        except StoreError:
            _log.warning("sweep.cut_short", extra={"shard": shard})
            break
        _measure(batch, moved, now_ms - ahead_ms)
        rings += [group.create_task(_ring_safely(world, alarm, now_ms)) for alarm in moved]
    return rings


def _measure(due: Sequence[Alarm], moved: Sequence[Alarm], now_ms: int) -> None:
    """Measure how late the polls are that begin now."""
    ringing = {alarm.id for alarm in moved if alarm.kind is Kind.POLL}
    for alarm in due:
        if alarm.kind is Kind.POLL and alarm.id in ringing:
            metrics.poll_lag.record(max(0, now_ms - alarm.due_ms) / 1000)


async def _has_room(rings: Sequence[asyncio.Task[None]], wait_s: float) -> bool:
    """Wait until another batch can be acted on at once; say whether that came about in time."""
    running = [ring for ring in rings if not ring.done()]
    while len(running) > AT_ONCE - MOVES_A_TRANSACTION and wait_s > 0:
        began_s = asyncio.get_running_loop().time()
        await asyncio.wait(running, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        wait_s -= asyncio.get_running_loop().time() - began_s
        running = [ring for ring in running if not ring.done()]
    return wait_s > 0


async def heartbeat(world: World) -> None:
    """Nudge every shard whose first alarm is overdue or due within a minute: 16 point queries, the only scan.

    These nudges go on until the next heartbeat, past alarms that go before they ring.
    """
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
    metrics.overdue.record(max(0, now_ms - (due_ms or now_ms)) / 1000)
    if due_ms is not None and due_ms < now_ms + HEARTBEAT_MS:
        await world.nudges.sweep(shard, due_ms, (now_ms + HEARTBEAT_MS) // 1000)


def _next(world: World, alarm: Alarm, now_ms: int) -> Alarm:
    """Return the alarm where it goes before it is acted on, its attempt counted."""
    if alarm.kind is not Kind.POLL:
        return alarm.moved(now_ms + LEASE_MS[alarm.kind], attempt=alarm.attempt + 1)
    delay_ms = poll_delay(now_ms - alarm.born_ms, world.dice, world.limits.poll_min_ms)
    if alarm.attempt + 1 >= polling.CHECKED_ATTEMPT:
        delay_ms = max(delay_ms, LEASE_MS[Kind.POLL])  # this poll puts the count back, for which it must hold the key
    reads = now_ms - alarm.read_ms >= READ_EVERY_MS
    return alarm.moved(now_ms + delay_ms, attempt=alarm.attempt + 1, read_ms=now_ms if reads else alarm.read_ms)


def _is_hopeless(alarm: Alarm) -> bool:
    """Say whether the last five attempts in a row did not end well; polls are counted from the first checked one."""
    uncounted = polling.CHECKED_ATTEMPT - 1 if alarm.kind is Kind.POLL else 0
    return alarm.attempt > uncounted + MAX_UNEXPECTED


async def _nudge_on(world: World, shard: str, now_ms: int, until_s: int, *, more: bool) -> None:
    """Nudge for the first alarm after those that were due: a row that is no alarm stays before it for good."""
    try:
        due_ms = world.now_ms() if more else await world.store.first_due(shard, now_ms)
    except StoreError:
        return  # the heartbeat finds it
    if due_ms is not None:
        await world.nudges.sweep(shard, due_ms, until_s)


async def _ring_safely(world: World, alarm: Alarm, now_ms: int) -> None:
    try:
        with tracing.under(alarm.trace):
            await (_give_up(world, alarm) if _is_hopeless(alarm) else _ring(world, alarm, now_ms))
    except StoreError as error:
        _log.warning("alarm.unfinished", extra={"key": alarm.key, "error": type(error).__name__})
    except Exception:  # noqa: BLE001 - the edge between one alarm and the others
        _log.exception("alarm.failed", extra={"key": alarm.key, "attempt": alarm.attempt})
        await _back_off(world, alarm)


def _ring(world: World, alarm: Alarm, now_ms: int) -> Awaitable[None]:
    match alarm.kind:
        case Kind.START:
            return submission.ring(world, alarm)
        case Kind.POLL:
            return polling.ring(world, alarm, now_ms)
        case Kind.DELIVER:
            return attempts.ring(world, alarm)
        case Kind.STOP:
            return cancellation.ring(world, alarm)
        case Kind.PURGE:
            return retention.ring(world, alarm)
        case Kind.RUN:
            return claims.ring(world, alarm)


async def _back_off(world: World, alarm: Alarm) -> None:
    # what has failed before our eyes is a counted attempt, also before the first checked poll
    attempt = max(alarm.attempt, polling.CHECKED_ATTEMPT) if alarm.kind is Kind.POLL else alarm.attempt
    try:
        await rearm(world, alarm, world.now_ms() + retry_delay(attempt, world.dice), attempt=attempt)
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
        await decide(world, record, alarm.id, lambda current: _undeliverable(current, alarm.target, now_ms), alarm)
    else:
        await completion.end(world, record, alarm.id, completion.by_fault(now_ms), alarm, reads_request=False)


def _undeliverable(record: Record, target: str, now_ms: int) -> Write | None:
    delivery = record.delivery(target)
    return response_transitions.undeliverable(record, delivery, now_ms) if delivery and delivery.is_open else None
