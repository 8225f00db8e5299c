"""Turns at gates, under a test's control: what a gate starts beside its caller, and the next grant."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from shared.core.alarms import Alarm, Kind
from shared.core.records import Record
from shared.runtime.ports import Ports
from tests.support.clocks import Clock

TIMER = "Timer._wait"  # it waits in real time, which no test needs
ROUNDS = 20


class GateTasks:
    """The tasks of the gates of one process. Timers are not started, because the clock of a test stands still."""

    def __init__(self) -> None:
        self._tasks = set[asyncio.Task[None]]()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task, or one that does nothing in place of a timer."""
        if getattr(work, "__qualname__", "") == TIMER:
            work.close()
            work = _nothing()
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def finished(self) -> None:
        """Wait until none is left. What they raise is raised."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def stopped(self) -> None:
        """Cut off all of them, as a crash does."""
        for task in (tasks := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _nothing() -> None:
    """Do nothing."""


def waits_for_turn(record: Record, first: Alarm) -> bool:
    """Return whether a response is started by a line. `first` is its first alarm."""
    return first.kind is Kind.START and bool(record.wait.reason) and first.due_ms >= record.deadline_ms


async def next_turn(ports: Ports, clock: Clock, tasks: GateTasks) -> None:
    """Move the clock to when a gate allows more, let it grant, and wait until what was granted has been tried."""
    for name in await ports.gates.registered():
        gate = ports.upstreams.gate_named(name)
        outlook = await ports.gates.round(gate)
        if outlook and outlook.waiting and outlook.until_ms > clock.ms:
            clock.ms = outlook.until_ms
            await ports.gates.round(gate)
    await tasks.finished()
