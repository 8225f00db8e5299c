"""The system's clock: unix time in milliseconds, durations on the event loop's clock, and waits."""

import asyncio
import time
from typing import Any

import pytest

from shared.runtime.clock import Clock, SystemClock
from tests.support import clocks
from tests.support.fast_loop import BACKEND, skip

HOUR_S = 3600.0


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run the tests on a loop whose clock can be moved forward."""
    return BACKEND


def test_the_time_is_unix_time_in_whole_milliseconds() -> None:
    """The time is that of the machine's wall clock, rounded down to a millisecond."""
    before_s = time.time()
    now_ms = SystemClock().now_ms()
    assert isinstance(now_ms, int)
    assert int(before_s * 1000) <= now_ms <= time.time() * 1000


async def test_durations_are_measured_on_the_loops_clock() -> None:
    """A deadline of the event loop and a duration agree. The wall clock may be set meanwhile."""
    clock = SystemClock()
    began_s, began_ms = clock.elapsed_s(), clock.now_ms()
    skip(HOUR_S)
    assert HOUR_S <= clock.elapsed_s() - began_s < HOUR_S + 60
    assert clock.now_ms() - began_ms < 60_000


async def test_a_wait_lasts_as_long_as_it_says() -> None:
    """A wait of an hour has not ended a minute early, and has ended an hour later. Other tasks run meanwhile."""
    waiting = asyncio.create_task(SystemClock().sleep(HOUR_S))
    await asyncio.sleep(0)
    skip(HOUR_S - 60)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    skip(60)
    async with asyncio.timeout(60):
        await waiting


async def test_a_wait_can_be_cancelled() -> None:
    """A task that waits ends at once when it is cancelled."""
    waiting = asyncio.create_task(SystemClock().sleep(HOUR_S))
    await asyncio.sleep(0)
    waiting.cancel()
    async with asyncio.timeout(60):
        await asyncio.wait([waiting])
    assert waiting.cancelled()


@pytest.mark.parametrize(
    "clock", [SystemClock(), clocks.Clock(), clocks.SkewedClock(-5_000)], ids=lambda one: type(one).__name__
)
async def test_every_clock_has_a_time_durations_and_waits(clock: Clock) -> None:
    """The flows use a clock only through the protocol, so a test may replace it."""
    began_s = clock.elapsed_s()
    await clock.sleep(0)
    assert isinstance(clock.now_ms(), int)
    assert clock.elapsed_s() >= began_s
