"""The sweep: acts on the due alarms of a shard. It moves an alarm first and acts on it after that.

A due alarm is moved to its next time before anything is done about it, in transactions of up to 50. Only alarms whose
move was committed are acted on. So a process that crashes delays the alarms that it had taken, and never loses them.
Each alarm is handled separately, and an exception ends only that one. Its attempt was counted before. The fifth
exception in a row ends the response in a way that reads nothing that could raise again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from shared.core.alarms import LEASE_MS, Alarm, Kind
from shared.core.backoff import MAX_UNEXPECTED, retry_delay
from shared.core.changesets import ChangeSet
from shared.core.errors import StoreError, UnreadableRow
from shared.core.records import Record
from shared.deliveries import attempts
from shared.erasure import erasing
from shared.lifecycle import cancellation, completion, endings, polling, retention
from shared.runs import claims
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import rearm, update
from shared.starts import submission
from shared.storage.agenda import Agenda
from shared.storage.messages import Wakeup
from shared.storage.store import MOVES_PER_TRANSACTION
from shared.telemetry import metrics, tracing
from shared.telemetry.logs import logger
from shared.transitions import delivery_transitions

_log = logger(__name__)

MAX_ALARMS = 500
MAX_S = 60.0
AHEAD_MAX_MS = 5_000
UNTIL_MAX_MS = 120_000  # a heartbeat names the next one, a minute later
READ_EVERY_MS = 60_000
WAKE_AFTER_S = 1.0
RETRY_AFTER_GIVING_UP_MS = 3_600_000
AT_ONCE = 64
_ACTIONS: Mapping[Kind, Callable[[Ports, Alarm], Awaitable[None]]] = {  # of all kinds but polls
    Kind.START: submission.on_start_alarm,
    Kind.DELIVER: attempts.on_deliver_alarm,
    Kind.STOP: cancellation.on_stop_alarm,
    Kind.PURGE: retention.on_purge_alarm,
    Kind.ERASE: erasing.on_erase_alarm,
    Kind.RUN: claims.on_run_alarm,
}


async def sweep(
    ports: Ports, shard: str, at_s: int, until_s: int = 0, *, most: int = MAX_ALARMS, within_s: float = MAX_S
) -> int:
    """Act on the alarms of a shard that are due by this process's clock, or by the wake-up's time if that is later.

    Takes at most `most` alarms in `within_s` seconds, and sends a wake-up for what is left. Before `until_s`, it sends
    one even if nothing was due. `at_s` and `until_s` are unix seconds. Returns how many alarms it acted on.
    """
    clock_ms = ports.clock.now_ms()
    now_ms = max(clock_ms, min(at_s * 1000, clock_ms + AHEAD_MAX_MS))
    if not now_ms < until_s * 1000 <= now_ms + UNTIL_MAX_MS:
        until_s = 0  # by now the next heartbeat has looked at the shard, or no heartbeat has sent this
    agenda = await ports.store.agenda(shard, now_ms, most)
    for key in agenda.bad:
        _log.error("alarm.unreadable", extra={"key": key})
    if not agenda.due and not agenda.bad and not until_s:
        return 0
    first_poll_ms = next((alarm.due_ms for alarm in agenda.due if alarm.kind is Kind.POLL), None)
    if first_poll_ms is not None:
        ports.poll_pace.note(shard, clock_ms - first_poll_ms)
    async with asyncio.TaskGroup() as group:
        taken = _Taken(ports.clock.elapsed_s() + within_s)
        await _take(ports, shard, agenda.due, now_ms - clock_ms, group, taken)
        if taken.actions:
            await asyncio.wait(taken.actions, timeout=WAKE_AFTER_S)
        if (due_ms := _next_due(ports, agenda, taken)) is not None:
            is_alone = len(agenda.due) > MOVES_PER_TRANSACTION
            await ports.wakeups.sweep(shard, due_ms, until_s, is_alone=is_alone)
    return len(taken.actions)


async def sweep_shards(ports: Ports, wakeup: Wakeup, *, most: int = MAX_ALARMS, within_s: float = MAX_S) -> int:
    """Sweep each shard of a wake-up as `sweep` does, and return how many alarms were acted on.

    What fails in one shard stops no other. A failure of storage is only logged, because the heartbeat finds what is
    due. Raises the first other exception, when all sweeps have ended.
    """
    sweeps = (sweep(ports, shard, wakeup.at_s, wakeup.until_s, most=most, within_s=within_s) for shard in wakeup.shards)
    results = await asyncio.gather(*sweeps, return_exceptions=True)
    for shard, result in zip(wakeup.shards, results, strict=True):
        if isinstance(result, StoreError):
            _log.warning("sweep.storage_failed", extra={"shard": shard})
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, StoreError):
            raise result
    return sum(result for result in results if isinstance(result, int))


@dataclass(slots=True)
class _Taken:
    """What a sweep has taken: the actions that it began, and their alarms as they were moved."""

    until_s: float  # when it takes no more, by the monotonic clock
    actions: list[asyncio.Task[None]] = field(default_factory=list)
    moved: list[Alarm] = field(default_factory=list)
    is_cut_short: bool = False  # alarms that are due were left


async def _take(
    ports: Ports, shard: str, alarms: Sequence[Alarm], ahead_ms: int, group: asyncio.TaskGroup, taken: _Taken
) -> None:
    """Move alarms and act on them, a transaction at a time, as many at once as can be acted on within their lease.

    Polls come after the other kinds. Alarms for which there is no room in time are not touched. They stay due, and no
    attempt is counted.
    """
    due = sorted(alarms, key=lambda alarm: alarm.kind is Kind.POLL)
    for start in range(0, len(due), MOVES_PER_TRANSACTION):
        if not await _has_room(ports, taken.actions, taken.until_s):
            taken.is_cut_short = True
            break
        now_ms = ports.clock.now_ms() + ahead_ms
        batch = due[start : start + MOVES_PER_TRANSACTION]
        try:
            moves = [_next(ports, alarm, now_ms) for alarm in batch]
            moved = await ports.store.move(shard, [(move.alarm, move.to) for move in moves])
        except StoreError:
            _log.warning("sweep.cut_short", extra={"shard": shard})
            taken.is_cut_short = True
            break
        put_off = {move.to.key for move in moves if move.is_put_off}
        claimed = [alarm for alarm in moved if alarm.key not in put_off]
        _measure_lag(batch, claimed, now_ms - ahead_ms)
        taken.moved += moved
        taken.actions += [group.create_task(_act_safely(ports, alarm, now_ms)) for alarm in claimed]


def _measure_lag(due: Sequence[Alarm], moved: Sequence[Alarm], now_ms: int) -> None:
    """Measure how late the polls that begin now are."""
    taken = {alarm.id for alarm in moved if alarm.kind is Kind.POLL}
    for alarm in due:
        if alarm.kind is Kind.POLL and alarm.id in taken:
            metrics.poll_lag.record(max(0, now_ms - alarm.due_ms) / 1000)


async def _has_room(ports: Ports, actions: Sequence[asyncio.Task[None]], until_s: float) -> bool:
    """Wait until another batch can be acted on at once. Return whether that happened in time."""
    while (left_s := until_s - ports.clock.elapsed_s()) > 0:
        running = [action for action in actions if not action.done()]
        if len(running) <= AT_ONCE - MOVES_PER_TRANSACTION:
            return True
        await asyncio.wait(running, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
    return False


@dataclass(frozen=True, slots=True)
class _Move:
    """The move of an alarm. One that is put off is not acted on, and its attempt is not counted."""

    alarm: Alarm
    to: Alarm
    is_put_off: bool = False


def _next(ports: Ports, alarm: Alarm, now_ms: int) -> _Move:
    """Return the move of an alarm that is due: to the end of its lease, or to the time until which it is put off."""
    if alarm.kind is Kind.DELIVER and (later_ms := attempts.put_off_alarm(ports, alarm)):
        return _Move(alarm, alarm.moved(later_ms), is_put_off=True)
    return _Move(alarm, _leased(ports, alarm, now_ms))


def _leased(ports: Ports, alarm: Alarm, now_ms: int) -> Alarm:
    """Return the alarm as it is moved before it is acted on, with its attempt counted."""
    if alarm.kind is not Kind.POLL:
        counted = alarm.counted + (alarm.kind is Kind.START)  # the try that this move precedes
        return alarm.moved(now_ms + LEASE_MS[alarm.kind], attempt=alarm.attempt + 1, counted=counted)
    delay_ms = polling.next_wait(ports, alarm, now_ms)
    attempt = 1 if ports.answered.take(alarm) else alarm.attempt + 1
    if attempt >= polling.CHECKED_ATTEMPT:
        delay_ms = max(delay_ms, LEASE_MS[Kind.POLL])  # a checked poll sets the count back, so it must own the alarm
    reads = now_ms + delay_ms - alarm.read_ms > READ_EVERY_MS  # the next poll would be too late for it
    return alarm.moved(now_ms + delay_ms, attempt=attempt, read_ms=now_ms if reads else alarm.read_ms)


def _next_due(ports: Ports, agenda: Agenda, taken: _Taken) -> int | None:
    """Return when the first alarm is due of which this sweep knows, in unix milliseconds, or None.

    That is now if due ones were left. The moved ones count as long as this process has not removed them since.
    """
    if taken.is_cut_short:
        return ports.clock.now_ms()
    standing = [alarm.due_ms for alarm in taken.moved if alarm.key not in ports.store.removed]
    return min(standing if agenda.next_ms is None else [agenda.next_ms, *standing], default=None)


# Acting on one alarm


async def _act_safely(ports: Ports, alarm: Alarm, now_ms: int) -> None:
    try:
        with tracing.under(alarm.trace):
            await (_give_up(ports, alarm) if _is_hopeless(alarm) else _act(ports, alarm, now_ms))
    except StoreError as error:
        _log.warning("alarm.unfinished", extra={"key": alarm.key, "error": type(error).__name__})
    except Exception:  # noqa: BLE001 - the edge between one alarm and the others
        _log.exception("alarm.failed", extra={"key": alarm.key, "attempt": alarm.attempt})
        await _back_off(ports, alarm)


def _act(ports: Ports, alarm: Alarm, now_ms: int) -> Awaitable[None]:
    if alarm.kind is Kind.POLL:
        return polling.on_poll_alarm(ports, alarm, now_ms)
    return _ACTIONS[alarm.kind](ports, alarm)


def _is_hopeless(alarm: Alarm) -> bool:
    """Return whether the last five attempts in a row failed."""
    return alarm.attempt > _last_attempt(alarm)


def _last_attempt(alarm: Alarm) -> int:
    """Return the number of the fifth failure in a row. Polls are counted from the first checked one."""
    return MAX_UNEXPECTED + (polling.CHECKED_ATTEMPT - 1 if alarm.kind is Kind.POLL else 0)


async def _back_off(ports: Ports, alarm: Alarm) -> None:
    # a poll that raises an unexpected error is a counted attempt, also before the first checked one
    attempt = max(alarm.attempt, polling.CHECKED_ATTEMPT) if alarm.kind is Kind.POLL else alarm.attempt
    try:
        due_ms = ports.clock.now_ms() + retry_delay(attempt, ports.random)
        await rearm(ports, alarm, due_ms, attempt=attempt)
    except StoreError:
        return  # it stays where it was moved to


# Giving up an alarm


async def _give_up(ports: Ports, alarm: Alarm) -> None:
    """End what cannot be handled, without reading what may be the cause. An unreadable record waits for an hour."""
    _log.error("alarm.given_up", extra={"key": alarm.key})
    now_ms = ports.clock.now_ms()
    if alarm.kind in (Kind.STOP, Kind.PURGE, Kind.ERASE):
        await _rest(ports, alarm)
        return
    try:
        record = await ports.store.read(alarm.id, with_body=False)
        if alarm.kind is Kind.DELIVER:
            await update(ports, record, alarm.id, lambda current: _fail_delivery(current, alarm.target, now_ms), alarm)
        else:
            await completion.end(ports, record, alarm.id, endings.internal_error(now_ms), alarm)
    except UnreadableRow as error:
        _log.error("row.unreadable", extra={"key": alarm.key, "reason": str(error)})
        await _rest(ports, alarm)


async def _rest(ports: Ports, alarm: Alarm) -> None:
    """Set an alarm to an hour from now, when it gets one more try."""
    due_ms = ports.clock.now_ms() + RETRY_AFTER_GIVING_UP_MS
    await rearm(ports, alarm, due_ms, attempt=_last_attempt(alarm) - 1)


def _fail_delivery(record: Record, target: str, now_ms: int) -> ChangeSet | None:
    delivery = record.delivery(target)
    return delivery_transitions.fail_delivery(record, delivery, now_ms) if delivery and delivery.is_open else None
