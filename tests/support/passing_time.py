"""Time that passes for a stage: its clock and the clock of the event loop move together, second by second.

A test that uses this runs on the loop of `fast_loop`.
"""

import asyncio
from typing import TypeVar

from shared.runtime.ports import Ports
from tests.support.conditions import until
from tests.support.fast_loop import skip
from tests.support.stage import Stage

T = TypeVar("T")
TURNS = 30  # of the loop, in which every task that needs no I/O comes to its next wait


async def pass_seconds(stage: Stage, seconds: float, *others: Ports) -> None:
    """Let seconds pass for a stage. After each one, what its process and `others` do to their leases is finished."""
    left_s = seconds
    while left_s > 0:
        step_s = min(1.0, left_s)
        stage.clock.advance(step_s)
        await pass_unnoticed(step_s)
        await until_quiet(stage.ports, *others)
        left_s -= step_s


async def pass_unnoticed(seconds: float) -> None:
    """Let only the loop's clock pass, as for a process whose wall clock stands still."""
    await _turn()
    skip(seconds)
    await _turn()


async def result_of(task: "asyncio.Task[T]") -> T:
    """Return the result of a task. The loop's clock passes until it is done."""

    async def is_done() -> bool:
        await pass_unnoticed(0.25)
        return task.done()

    await until(is_done)
    return task.result()


async def _turn() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def until_quiet(*processes: Ports) -> None:
    """Wait until no transaction about a lease is under way, and no lease waits to be handed over."""

    async def is_quiet() -> bool:
        held = [lease for ports in processes for lease in ports.leases]
        return not any(lease.writing.locked() or (lease.hand_over and not lease.is_over) for lease in held)

    await until(is_quiet)
