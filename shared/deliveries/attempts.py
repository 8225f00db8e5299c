"""Pushing the terminal event to its targets: at least once, always with the same id.

Every attempt goes through the same steps: breaker, slot, claim (the attempt is counted and its alarm put out of reach,
fenced by the record), sign, send, record. What the first two keep back is not counted. After a 2xx a living process
repeats only the recording.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import urlsplit

import orjson

from shared.core import alarms, response_transitions
from shared.core.alarms import Alarm
from shared.core.backoff import retry_delay
from shared.core.changesets import Row, Write
from shared.core.errors import Conflict, StoreError
from shared.core.outcomes import Answer, SendError
from shared.core.records import CALLBACK, TARGETS, Delivery, Record
from shared.deliveries import retry_policy, sending
from shared.deliveries.retry_policy import Attempt, Decision, Delivered, GiveUp, Retry
from shared.runtime.ports import World
from shared.runtime.unit_of_work import decide
from shared.senders.bulkhead import Busy
from shared.senders.circuit_breaker import Line
from shared.telemetry import metrics, tracing
from shared.telemetry.logs import logger

_log = logger(__name__)

PATIENCE_S = 10.0
RECORDING_S = 300.0
SPREAD_MS = 10_000  # those who wait for a breaker do not all come back at once
_PAUSE_MAX_S = 5.0
_WAITED = 4  # as if it were the fourth error in a row: about 15 s


async def ring(world: World, alarm: Alarm) -> None:
    """Make the attempt whose alarm a sweep has taken, or put it off."""
    record = await world.store.read(alarm.id)
    delivery = record.delivery(alarm.target) if record else None
    if record is None or delivery is None or not delivery.is_open:
        await world.store.remove(alarm)
        return
    wait = await _attempt(world, record, delivery, alarm)
    if wait:
        await _hold_back(world, record, delivery, alarm, wait)


async def deliver(world: World, alarm_key: str) -> None:
    """Make the attempt that a message asks for, if its alarm is still the delivery's one alarm.

    What has to wait is left to that alarm: a message that waits stands in the way of others.
    """
    alarm = alarms.read_key(alarm_key)
    record = await world.store.read(alarm.id)
    delivery = record.delivery(alarm.target) if record else None
    if record and delivery and delivery.is_open and delivery.alarm == alarm_key:
        with tracing.under(record.trace):
            await _attempt(world, record, delivery, replace(alarm, trace=record.trace))


def begin(world: World, record: Record) -> None:
    """Make the first attempts of a response that has just ended without waiting for their messages, which still come.

    Nobody waits for this: what dies with the process, or fails, is left to the message and the alarm.
    """
    for delivery in record.deliveries:
        attempt = asyncio.create_task(_attempt_early(world, delivery.alarm))
        world.deliveries.add(attempt)
        attempt.add_done_callback(world.deliveries.discard)


async def _attempt_early(world: World, alarm_key: str) -> None:
    with suppress(StoreError):
        await deliver(world, alarm_key)


@dataclass(frozen=True, slots=True)
class _Wait:
    """An attempt that cannot be made now: why, and when to try again."""

    why: str
    at_ms: int


async def _attempt(world: World, record: Record, delivery: Delivery, alarm: Alarm) -> _Wait | None:
    """Make an attempt, unless it is another's; return why and until when where it has to wait, uncharged.

    That is for the host, for a slot, or for storage to take what another attempt of this process brought.
    """
    ours = (record.id, delivery.target)
    if ours in world.unrecorded:
        return _soon(world, "")
    line = _line(record, delivery.target)
    if line and (at_ms := world.breakers.admit(line, world.now_ms())):
        return _Wait("breaker", at_ms + int(SPREAD_MS * world.dice()))
    made = None
    try:
        async with world.senders[delivery.target].slot(
            sending.address(record, delivery.target), first=delivery.attempt == 0, patience_s=PATIENCE_S
        ):
            made = await _make(world, record, delivery, alarm)
    except Busy:
        return _soon(world, "slot")
    finally:
        if line:
            _tell(world, line, made[1].answer if made else None)
    if made:
        world.unrecorded.add(ours)
        try:
            await _persist(world, *made)
        finally:
            world.unrecorded.discard(ours)
    return None


def _soon(world: World, why: str) -> _Wait:
    return _Wait(why, world.now_ms() + retry_delay(_WAITED, world.dice))


def _line(record: Record, target: str) -> Line | None:
    """Return whose breaker it is; our own queues have none."""
    if target != CALLBACK:
        return None
    return Line(record.caller, (urlsplit(record.callback_url or "").hostname or "").removesuffix("."))


def _tell(world: World, line: Line, answer: Answer | None) -> None:
    """Tell the breaker what an attempt says about its host."""
    failed = retry_policy.is_trouble(answer) if answer else None
    if failed is None:
        world.breakers.leave(line)
    elif until_ms := world.breakers.note(line, world.now_ms(), failed=failed):
        seconds = (until_ms - world.now_ms()) // 1000
        _log.warning("breaker.opened", extra={"caller": line.caller, "host": line.host, "seconds": seconds})


async def _hold_back(world: World, record: Record, delivery: Delivery, alarm: Alarm, wait: _Wait) -> None:
    """Put an attempt off, and say so in the record, which knows the one alarm; nothing where it is another's now."""
    later = alarm.at(wait.at_ms, attempt=0)

    def plan(current: Record) -> Write | None:
        now = current.delivery(delivery.target)
        if now is None or not now.is_open or now.attempt != delivery.attempt:
            return None
        return response_transitions.held_back(current, now, alarm, later, wait.why)

    with suppress(Conflict):
        await decide(world, record, record.id, plan)


async def _make(world: World, record: Record, delivery: Delivery, alarm: Alarm) -> "tuple[Record, _Made] | None":
    """Claim an attempt and send; None if the attempt is another's."""
    claim = alarm.moved(world.now_ms() + response_transitions.CLAIM_MS)
    claimed = await _claim(world, record, delivery, alarm, claim)
    mine = claimed.delivery(delivery.target) if claimed else None
    if claimed is None or mine is None:
        return None
    at_ms = world.now_ms()
    answer = await sending.send(world, claimed, mine)
    return claimed, _judged(world, claimed, mine, claim, at_ms, answer)


async def _claim(world: World, record: Record, delivery: Delivery, alarm: Alarm, claim: Alarm) -> Record | None:
    """Take the attempt; None if it is another's."""
    mine = False

    def plan(current: Record) -> Write | None:
        nonlocal mine
        now = current.delivery(delivery.target)
        mine = now is not None and now.is_open and now.attempt == delivery.attempt
        return response_transitions.claimed(current, now, alarm, claim) if now and mine else None

    try:
        claimed = await decide(world, record, record.id, plan)
    except Conflict:
        return None
    return claimed if mine else None


@dataclass(frozen=True, slots=True)
class _Made:
    """An attempt that was made: under which claim, as which number, when, and what it brought."""

    claim: Alarm
    number: int
    at_ms: int
    answer: Answer
    decision: Decision


def _judged(world: World, record: Record, delivery: Delivery, claim: Alarm, at_ms: int, answer: Answer) -> _Made:
    decision = retry_policy.decide(
        Attempt(delivery.attempt - delivery.before, answer, delivery.refused),
        now_ms=world.now_ms(),
        until_ms=response_transitions.kept_until(record, world.limits.retention_ms),
        dice=world.dice,
    )
    made = _Made(claim, delivery.attempt, at_ms, answer, decision)
    _tell_made(record, delivery, made, world.now_ms())
    return made


def _tell_made(record: Record, delivery: Delivery, made: _Made, now_ms: int) -> None:
    """Tell what an attempt brought, recorded or not: its receiver has seen it."""
    answer, state = made.answer, _state(made.decision)
    _log.info(
        "delivery.attempted",
        extra={
            "response": record.id,
            "caller": record.caller,
            "target": TARGETS[delivery.target],
            "attempt": made.number,
            "status": answer.status,
            "error": answer.error,
            "duration_ms": answer.duration_ms,
            "state": state,
            "next_at": made.decision.at_ms / 1000 if isinstance(made.decision, Retry) else None,
        },
    )
    target = {"target": TARGETS[delivery.target]}
    metrics.attempts.add(1, target | {"class": answer.error or f"{(answer.status or 0) // 100}xx"})
    if state != "pending":
        metrics.deliveries.add(1, target | {"state": state})
    if state == "delivered" and not delivery.before:
        metrics.delivered.record(max(0, now_ms - record.ended_ms) / 1000, target)  # two clocks


async def _persist(world: World, record: Record | None, made: _Made) -> None:
    """Write what an attempt brought, for as long as it takes storage to take it: the receiver has its event."""
    loop = asyncio.get_running_loop()
    until, pause_s, holds = loop.time() + RECORDING_S, 0.2, True
    while loop.time() < until:
        try:
            noted = partial(_concluded, made=made, holds=holds, now_ms=world.now_ms())
            await decide(world, record, made.claim.id, noted)
        except Conflict as conflict:
            holds = holds and conflict.gone != made.claim.key  # a sweep has taken the alarm: it found us too slow
        except StoreError:
            await world.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)
        else:
            return
        record = None
    _log.error("delivery.unrecorded", extra={"response": made.claim.id, "status": made.answer.status})


def _concluded(record: Record, made: _Made, holds: bool, now_ms: int) -> Write | None:
    """Decide what an attempt changes, unless the delivery is over or another attempt has the word."""
    delivery = record.delivery(made.claim.target)
    if delivery is None or not delivery.is_open:
        return None
    if not isinstance(made.decision, Delivered) and (delivery.attempt != made.number or not holds):
        return None
    following = made.claim.at(made.decision.at_ms, attempt=0) if isinstance(made.decision, Retry) else None
    changed = replace(
        delivery,
        state=_state(made.decision),
        refused=made.answer.error is SendError.ADDRESS_REFUSED,
        alarm=following.key if following else "",
    )
    row = Row(f"attempt|{made.claim.target}|{made.number:04d}", {"facts": _facts(made, following)})
    return response_transitions.concluded(record, changed, row, (made.claim.key,) if holds else (), following, now_ms)


def _state(decision: Decision) -> str:
    match decision:
        case Delivered():
            return "delivered"
        case GiveUp(state):
            return state
        case Retry():
            return "pending"


def _facts(made: _Made, following: Alarm | None) -> str:
    facts = {
        "attempt": made.number,
        "at": made.at_ms / 1000,
        "status": made.answer.status,
        "error": made.answer.error,
        "duration_ms": made.answer.duration_ms,
        "next_at": following.due_ms / 1000 if following else None,
    }
    return orjson.dumps(facts).decode()
