"""The unit of work: read a record, decide, write, and start over while other writes come first (optimistic locking)."""

from collections.abc import Callable
from typing import Any, TypeVar

from shared.core.alarms import Alarm
from shared.core.changesets import ChangeSet
from shared.core.errors import Conflict
from shared.core.ids import shard_of
from shared.core.records import Record
from shared.runtime.ports import Ports
from shared.telemetry import lifecycle

_TRIES = 10
R = TypeVar("R")

Transition = Callable[[Record], ChangeSet | None]
"""Decides what is written about a record as it is now; None for nothing."""

TransitionWithResult = Callable[[Record], tuple[ChangeSet | None, R]]
"""A transition that also returns what it has found out."""


async def update(
    ports: Ports, record: Record | None, response_id: str, transition: Transition, held: Alarm | None = None
) -> Record | None:
    """Apply a transition that has no result; return the record. See `apply`."""
    record, _ = await apply(ports, record, response_id, lambda current: (transition(current), None), held)
    return record


async def apply(
    ports: Ports,
    record: Record | None,
    response_id: str,
    transition: TransitionWithResult[R],
    held: Alarm | None = None,
) -> tuple[Record | None, R | None]:
    """Write what the transition says about a record, deciding again for as long as other writes come first.

    `record` is the record as last read, if it was. `held` is an alarm that the caller owns: it is removed in the same
    transaction, or alone if there is nothing to write. Returns the record as it then is and the transition's last
    result; None and None if there is no record.

    Raises Conflict if another row that was to be removed is gone while the record is unchanged, or after ten tries.
    """
    for _ in range(_TRIES):
        record = record or await ports.store.read(response_id)
        change, result = transition(record) if record else (None, None)
        if change is None:
            if held:
                await ports.store.remove(held)
            return record, result
        try:
            return await commit(ports, record, change.removing(held)), result
        except Conflict as conflict:
            if conflict.gone and not (held and conflict.gone == held.key):
                raise
            held = None if conflict.gone else held  # its new owner will find the record as it is now
            record = None
    raise Conflict


async def commit(ports: Ports, before: Record | None, change: ChangeSet) -> Record:
    """Write a change set, emit it, and send the messages that it asks for; raises as `Store.commit` does.

    `before` is the record that it was decided from, None for a new response.
    """
    record = await ports.store.commit(change)
    lifecycle.record_transition(before, change, ports.upstreams.of(record.request.model).operation)
    for alarm in change.deliver_now:
        await ports.wakeups.deliver(alarm.key)
    for alarm in change.wake_for:
        await ports.wakeups.sweep(shard_of(alarm.id), alarm.due_ms)
    if change.offers_run:
        await ports.wakeups.offer(record.id, record.run.epoch)
    return record


async def rearm(ports: Ports, alarm: Alarm, due_ms: int, **changes: Any) -> None:
    """Set an alarm that the caller owns to another time and ask for a sweep then. Its attempt counts as ended well."""
    now_ms = ports.clock.now_ms()
    if now_ms < alarm.deadline_ms:  # not later than the deadline; past the deadline the back-off goes on
        due_ms = min(due_ms, max(alarm.deadline_ms, now_ms + 1_000))
    following = alarm.at(due_ms, **{"attempt": 0, **changes})
    if await ports.store.move(shard_of(alarm.id), [(alarm, following)]):
        await ports.wakeups.sweep(shard_of(alarm.id), following.due_ms)
