"""The heartbeat: it wakes every shard that has something to do. No other scan covers all shards.

A timer starts one every minute, and so does an invocation of a process that has had none for a minute. A shard that is
overdue is also swept by the heartbeat itself. Its wake-up may wait for minutes, because the platform scales each
function separately, and looks only now and then at the queue of a function without an instance.
"""

import asyncio
from collections.abc import Sequence

from shared.core.errors import StoreError
from shared.core.ids import SHARDS
from shared.runtime.ports import Ports
from shared.scheduler import rounds
from shared.scheduler.heartbeat_age import HeartbeatAge, Moment
from shared.scheduler.sweeps import sweep_shards
from shared.storage.messages import Wakeup
from shared.telemetry import metrics, tracing
from shared.telemetry.logs import logger

_log = logger(__name__)

HEARTBEAT_MS = 60_000
OVERDUE_MS = 5_000  # by then a wake-up should have been handled
MAX_ALARMS = 100  # of a shard, and
MAX_S = 10.0  # for a shard, because the sweeps that it wakes do the rest


class Heartbeats:
    """The heartbeats of one process. At most one runs at a time."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._age = HeartbeatAge()
        self._running: asyncio.Task[None] | None = None
        self._has_all = False

    def accompany(self) -> asyncio.Task[None] | None:
        """Start a heartbeat beside an invocation, if the last one that reached storage is over a minute old.

        Returns the heartbeat that is started or running, or None.
        """
        if self._age.is_due(self._now()):
            return self._start()
        return self._running if self._running and not self._running.done() else None

    async def run(self) -> None:
        """Run a heartbeat, or wait for the one that is running."""
        await asyncio.shield(self._running if self._running and not self._running.done() else self._start())

    def _start(self) -> "asyncio.Task[None]":
        self._age.begin(self._now())
        with tracing.under(""):  # the heartbeat is no part of the request that it happens to accompany
            self._running = self._ports.background.start(self._beat(), _log_failure)
        return self._running

    async def _beat(self) -> None:
        reached, overdue = False, list[str]()
        try:
            reached, overdue = await beat(self._ports)
            reached = reached and await self._create_missing()
        finally:
            self._age.end(reached=reached)
        await rounds.run_rounds(self._ports)
        await sweep_overdue(self._ports, overdue)

    async def _create_missing(self) -> bool:
        """Create the table and our queues that do not exist, once per process. Return whether that succeeded."""
        if not self._has_all:
            try:
                storage = (self._ports.store, self._ports.wakeups, self._ports.requests)
                await asyncio.gather(*(part.prepare() for part in storage))
            except StoreError:
                _log.warning("heartbeat.queues_missing")
                return False
            self._has_all = True
        return True

    def _now(self) -> Moment:
        clock = self._ports.clock
        return Moment(clock.now_ms(), clock.elapsed_s())


def _log_failure(error: BaseException) -> None:
    _log.error("heartbeat.failed", exc_info=error)


async def beat(ports: Ports) -> tuple[bool, list[str]]:
    """Send a wake-up for every shard whose first alarm is overdue or due within a minute.

    This takes 16 queries of one row each. These wake-ups repeat until the next heartbeat, past alarms that disappear
    before they fire. Returns whether storage answered all queries, and the shards that are overdue by more than 5 s.
    """
    now_ms = ports.clock.now_ms()
    async with asyncio.TaskGroup() as group:
        checks = [group.create_task(_check(ports, shard, now_ms)) for shard in SHARDS]
    late_ms = [check.result() for check in checks]
    overdue = [shard for shard, late in zip(SHARDS, late_ms, strict=True) if late is not None and late > OVERDUE_MS]
    return None not in late_ms, overdue


async def _check(ports: Ports, shard: str, now_ms: int) -> int | None:
    """Wake a shard if needed. Return by how many milliseconds it is overdue, or None if storage did not answer."""
    try:
        due_ms = await ports.store.first_due(shard)
    except StoreError:
        _log.warning("heartbeat.missed", extra={"shard": shard})
        return None
    late_ms = max(0, now_ms - (due_ms or now_ms))
    metrics.alarms_overdue.record(late_ms / 1000)
    if due_ms is not None and due_ms < now_ms + HEARTBEAT_MS:
        await ports.wakeups.sweep(shard, due_ms, (now_ms + HEARTBEAT_MS) // 1000)
    return late_ms


async def sweep_overdue(ports: Ports, shards: Sequence[str]) -> None:
    """Sweep shards beside each other, each for up to 100 alarms or 10 s, if the process may work between invocations.

    What fails in one stops no other.
    """
    if ports.config.limits.watch and shards:
        wakeup = Wakeup("".join(shards), ports.clock.now_ms() // 1000)
        await sweep_shards(ports, wakeup, most=MAX_ALARMS, within_s=MAX_S)
