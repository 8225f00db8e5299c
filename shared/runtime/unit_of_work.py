"""Read, decide, write: again for as long as others come first."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from shared.core.alarms import Alarm
from shared.core.changesets import Write
from shared.core.errors import Conflict
from shared.core.ids import shard_of
from shared.core.records import Record
from shared.runtime.ports import World
from shared.telemetry import lifecycle

Plan = Callable[[Record], Write | None]


_DECISIONS = 10


async def decide(
    world: World, record: Record | None, response_id: str, plan: Plan, held: Alarm | None = None
) -> Record | None:
    """Write what the plan says of the record, read again and planned again for as long as others come first.

    The alarm that is held goes in the same transaction, or alone where the plan has nothing to write: it is spent.
    Returns the record as it then is, None if there is none. Raises Conflict if another row that was to go is gone
    while the record is unchanged, or if others never end.
    """
    for _ in range(_DECISIONS):
        record = record or await world.store.read(response_id)
        write = plan(record) if record else None
        if write is None:
            if held:
                await world.store.remove(held)
            return record
        try:
            return await commit(
                world, record, replace(write, alarms_out=(*write.alarms_out, held.key)) if held else write
            )
        except Conflict as conflict:
            if conflict.gone and not (held and conflict.gone == held.key):
                raise
            held = None if conflict.gone else held  # whoever took it over finds the record as we leave it
            record = None
    raise Conflict


async def commit(world: World, before: Record | None, write: Write) -> Record:
    """Carry out a write, tell of it, and ask for what it wakes; raises as `Store.commit` does.

    `before` is the record it was decided from, None for a new one.
    """
    record = await world.store.commit(write)
    lifecycle.told(before, write, world.upstreams.of(record.model).operation)
    for alarm in write.delivers:
        await world.nudges.deliver(alarm.key)
    for alarm in write.wakes:
        await world.nudges.sweep(shard_of(alarm.id), alarm.due_ms)
    if write.grants:
        await world.nudges.run(record.id, record.epoch)
    return record


async def rearm(world: World, alarm: Alarm, due_ms: int, **changes: Any) -> None:
    """Set an alarm that is held to another time, its attempt counted as ended well, and nudge for it."""
    now_ms = world.now_ms()
    if now_ms < alarm.deadline_ms:  # the deadline is not slept through; past it the back-off goes on
        due_ms = min(due_ms, max(alarm.deadline_ms, now_ms + 1_000))
    following = alarm.at(due_ms, **{"attempt": 0, **changes})
    if await world.store.move(shard_of(alarm.id), [(alarm, following)]):
        await world.nudges.sweep(shard_of(alarm.id), following.due_ms)
