"""Turns at gates, under a test's control: what a gate starts beside its caller, and the next grant."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from shared.core.alarms import Alarm, Kind
from shared.core.gates.state import NAMED_MS
from shared.core.records import Record
from shared.gates.gates import Gates
from shared.gates.tools import Tools
from shared.runtime.background import BackgroundTasks
from shared.runtime.clock import SystemClock
from shared.runtime.ports import Ports
from shared.storage.gates.gate_table import GateTable
from tests.support.clocks import Clock

T = TypeVar("T")
TIMER = "Timer._wait"  # it waits in real time, which no test needs


class GateTasks(BackgroundTasks):
    """The tasks of the gates of one process. Timers are not started, because the clock of a test stands still."""

    def start(
        self, work: Coroutine[Any, Any, T], on_error: Callable[[BaseException], None] | None = None
    ) -> asyncio.Task[T]:
        """Start a task, or one that does nothing in place of a timer."""
        if getattr(work, "__qualname__", "") == TIMER:
            work.close()
            work = _nothing()
        return super().start(work, on_error)

    async def finished(self) -> None:
        """Wait until none is left. What they raise is raised."""
        while self.tasks:
            await asyncio.gather(*self.tasks)

    async def stopped(self) -> None:
        """Cut off all of them, as a crash does."""
        for task in (tasks := self.tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def gates_of(table: GateTable, clock: SystemClock, tasks: GateTasks, *, goes_on: bool = True) -> Gates:
    """Return the gates of a process that has this clock and these tasks. `goes_on` is as in Tools."""
    return Gates(table, Tools(clock.now_ms, clock.elapsed_s, clock.sleep, lambda: 0.0, tasks.start, goes_on))


async def _nothing() -> Any:
    """Do nothing."""


def waits_for_turn(record: Record, first: Alarm) -> bool:
    """Return whether a response is started by a line. `first` is its first alarm."""
    return first.kind is Kind.START and bool(record.wait.reason) and first.due_ms >= record.deadline_ms


async def next_turn(ports: Ports, clock: Clock, tasks: GateTasks) -> None:
    """Move the clock to when a gate allows more, let it grant, and wait until what was granted has been tried."""
    for name in await ports.gates.registered():
        gate = ports.upstreams.gate_named(name)
        outlook = await ports.gates.round(gate)
        until_ms = max(outlook.until_ms, clock.ms + NAMED_MS * gate.is_gone) if outlook and outlook.waiting else 0
        if until_ms > clock.ms:
            clock.ms = until_ms
            await ports.gates.round(gate)
    await tasks.finished()
