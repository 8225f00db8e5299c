"""Crashes at every point of a life: a process is killed at its first write to the table, at its second, and so on.

A crash at a read is the same as a crash before the next write.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

from shared.engine import Engine
from shared.runtime.leases import Leases
from shared.runtime.local_runs import LocalRuns
from shared.runtime.ports import Ports
from shared.runtime.single_flight import InProgress, SingleFlight, Turns
from shared.runtime.watches import Watches
from tests.support.proxies.fault_proxy import is_write
from tests.support.stage import Stage
from tests.support.tasks import stopped
from tests.support.turns import GateTasks, gates_of


@dataclass(frozen=True)
class CrashPoint:
    """A write of a process, counted from 1, and whether storage carried it out before the crash."""

    write: int
    carried_out: bool


def new_process(stage: Stage) -> Ports:
    """Return the ports of a process that has done nothing yet. It shares the connections of the stage."""
    tasks = GateTasks()  # with those of the gates, so that they are cut off, too
    return replace(
        stage.ports,
        gates=gates_of(stage.gate_table, stage.clock, tasks),
        polls=SingleFlight(),
        background=tasks,
        local=LocalRuns(),
        noting=InProgress(),
        notes=Turns(),
        leases=Leases(),
        watches=Watches(stage.watched),
    )


async def crash_points(
    stage: Stage, life: Callable[[Engine, CrashPoint], Awaitable[object]]
) -> AsyncIterator[CrashPoint]:
    """Run a life again and again, each time in a new process that is killed one point later. Yield after each crash.

    The iteration ends with a life that is over before it reaches its point.
    """
    for write in itertools.count(1):
        for carried_out in (False, True):
            point = CrashPoint(write, carried_out)
            if not await _crashes(stage, life, point):
                return
            yield point


async def _crashes(stage: Stage, life: Callable[[Engine, CrashPoint], Awaitable[object]], point: CrashPoint) -> bool:
    """Run a life up to a point. Return whether it got there, and was killed."""
    ports = new_process(stage)
    gate = stage.proxy.hold(is_write, point.write, carried_out=point.carried_out)
    process = asyncio.ensure_future(life(Engine(ports), point))
    reached = asyncio.create_task(gate.reached.wait())
    try:
        await asyncio.wait({process, reached}, return_when=asyncio.FIRST_COMPLETED)
        if not reached.done():
            await process
            return False
        tasks = {process, *ports.background.tasks}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return True
    finally:
        reached.cancel()
        await stopped(ports)
        gate.open()
        stage.proxy.heal()
