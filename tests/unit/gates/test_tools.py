"""What gates act with is what a process has."""

import random

from shared.core.gates.state import Gate, GateState, Place
from shared.gates.tools import Tools
from shared.runtime.background import BackgroundTasks
from shared.runtime.clock import SystemClock


async def test_the_parts_of_a_process_fit() -> None:
    """Its clock and its tasks are passed on as they are."""
    clock, tasks = SystemClock(), BackgroundTasks()
    tools = Tools(clock.now_ms, clock.elapsed_s, clock.sleep, random.random, tasks.start)
    seen: list[int] = []

    async def work() -> None:
        await tools.sleep(0)
        seen.append(tools.now_ms())

    await tools.start(work())
    assert len(seen) == 1
    assert 0 <= tools.random() < 1
    assert tools.elapsed_s() > 0


def test_a_gate_is_a_value() -> None:
    """Two with the same name and limit are equal, so settings may make them anew."""
    assert Gate("g", 1) == Gate("g", 1)
    assert GateState() == GateState()
    assert Place("a", "b") == Place("a", "b")
