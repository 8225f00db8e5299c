"""The heartbeat: once a minute, it wakes every shard that has something to do. No other scan covers all shards."""

import asyncio

from shared.core.errors import StoreError
from shared.core.ids import SHARDS
from shared.runtime.ports import Ports
from shared.telemetry import metrics
from shared.telemetry.logs import logger

_log = logger(__name__)

HEARTBEAT_MS = 60_000


async def beat(ports: Ports) -> None:
    """Send a wake-up for every shard whose first alarm is overdue or due within a minute.

    This takes 16 queries of one row each. These wake-ups repeat until the next heartbeat, past alarms that disappear
    before they fire.
    """
    now_ms = ports.clock.now_ms()
    async with asyncio.TaskGroup() as group:
        for shard in SHARDS:
            group.create_task(_check(ports, shard, now_ms))


async def _check(ports: Ports, shard: str, now_ms: int) -> None:
    try:
        due_ms = await ports.store.first_due(shard)
    except StoreError:
        _log.warning("heartbeat.missed", extra={"shard": shard})
        return
    metrics.alarms_overdue.record(max(0, now_ms - (due_ms or now_ms)) / 1000)
    if due_ms is not None and due_ms < now_ms + HEARTBEAT_MS:
        await ports.wakeups.sweep(shard, due_ms, (now_ms + HEARTBEAT_MS) // 1000)
