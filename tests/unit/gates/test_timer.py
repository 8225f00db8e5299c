"""The timer of a gate rings when the gate allows more, in the process that has closed it."""

import asyncio

import pytest

from shared.core.gates.state import GateState, Phase
from shared.gates.timer import RETRY_S, Timer
from shared.gates.tools import Tools
from shared.runtime.background import BackgroundTasks
from tests.support.gate_places import NOW_MS, line, state_of


class Waits:
    """The waits of a timer, which a test ends."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.rings = 0
        self.is_over = asyncio.Event()
        self.tasks = BackgroundTasks()
        tools = Tools(lambda: NOW_MS, lambda: 0.0, self.sleep, lambda: 0.0, self.tasks.start)
        self.timer = Timer(tools, self.ring)

    async def sleep(self, seconds: float) -> None:
        """Wait until the test ends all waits."""
        self.seconds.append(seconds)
        await self.is_over.wait()

    def ring(self) -> None:
        """Count a ring."""
        self.rings += 1

    async def turn(self) -> list[float]:
        """Let tasks begin, and return the waits so far in seconds."""
        for _ in range(3):
            await asyncio.sleep(0)
        return self.seconds


@pytest.fixture
async def waits() -> Waits:
    """Return a timer."""
    return Waits()


def closed(until_ms: int) -> GateState:
    """Return a closed gate where somebody waits."""
    return state_of(line("ann", 1), phase=Phase.CLOSED, until_ms=until_ms)


async def test_it_rings_at_the_time_of_the_gate(waits: Waits) -> None:
    """Only in a process that keeps the time, and once for each time."""
    waits.timer.follow(closed(NOW_MS + 7_000))
    assert await waits.turn() == []
    waits.timer.keep()
    waits.timer.follow(closed(NOW_MS + 7_000))
    waits.timer.follow(closed(NOW_MS + 7_000))
    assert await waits.turn() == [7.0]
    waits.is_over.set()
    await waits.turn()
    assert waits.rings == 1
    assert waits.tasks.tasks == ()


async def test_a_time_that_has_not_helped_is_tried_again_ever_more_rarely(waits: Waits) -> None:
    """All permits are in use, so each ring leaves the gate as it was. Another time begins anew."""
    waits.timer.keep()
    waits.is_over.set()
    for _ in range(8):
        waits.timer.follow(closed(NOW_MS - 1))
        await waits.turn()
    assert waits.seconds == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    waits.timer.follow(closed(NOW_MS + 7_000))
    assert (await waits.turn())[8:] == [7.0]


async def test_a_later_time_replaces_an_earlier_one(waits: Waits) -> None:
    """A time that is past is now."""
    waits.timer.keep()
    waits.timer.follow(closed(NOW_MS + 7_000))
    await waits.turn()
    waits.timer.follow(closed(NOW_MS - 1))
    assert await waits.turn() == [7.0, 0.0]
    assert len(waits.tasks.tasks) == 1


@pytest.mark.parametrize("view", [None, state_of(line("ann", 1)), GateState(phase=Phase.CLOSED)])
async def test_it_stops_when_nobody_needs_it(waits: Waits, view: GateState | None) -> None:
    """The gate has no rows, is open, or nobody waits there. From then on this process does not keep the time."""
    waits.timer.keep()
    waits.timer.follow(closed(NOW_MS + 7_000))
    await waits.turn()
    waits.timer.follow(view)
    waits.timer.follow(closed(NOW_MS + 9_000))
    assert await waits.turn() == [7.0]
    assert waits.tasks.tasks == ()


async def test_it_tries_again_after_an_outage(waits: Waits) -> None:
    """In a second, if somebody waits, also in an open gate."""
    waits.timer.retry(None)
    waits.timer.retry(GateState())
    assert await waits.turn() == []
    waits.timer.retry(state_of(line("ann", 1)))
    assert await waits.turn() == [RETRY_S]
    waits.is_over.set()
    await waits.turn()
    assert waits.rings == 1
