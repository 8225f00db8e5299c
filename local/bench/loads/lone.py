"""The run of one response alone on the host: every storage request of its life.

Each minute, timers of an idle host send requests, too. They are counted beforehand, and are left out of the figures.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable
from functools import partial

from local.bench.builds.build import Build
from local.bench.loads.driver import Driver
from local.bench.loads.load import burst
from local.bench.loads.runs import bounded, warm_up
from local.bench.loads.sizes import Sizes
from local.bench.loads.stage import Stage
from local.bench.meters.figures import QUEUE
from local.bench.meters.ratios import Measured
from local.bench.meters.storage_requests import StorageRequest, kind_of

SHORT, TIMES = "sim-2s", 3
AFTER_S = 3.0  # requests that follow the callback
MINUTE_S = 60
EARLIEST_S, LATEST_S = 10.0, 45.0  # of a minute: a short life between them meets no timer
WARM_UP = partial(burst, count=2, clients=1)
UNCOUNTED = "queue get, empty"  # what a host does that waits


def lone_run(build: Build, sizes: Sizes) -> Measured:
    """Count the requests of a response of 2 s, the median of three, and of one of 60 s. Both have a callback."""
    with build.stage(tapped=True) as running:
        return bounded(_counted(running, f"sim-{sizes.long_s:g}s"))


async def _counted(running: Stage, long: str) -> Measured:
    async with Driver(running.target) as driver:
        await warm_up(running.target, driver, WARM_UP)
        minute = await _minute(running, driver)
        short = [await _short(running, driver) for _ in range(TIMES)]
        began_s = time.time()
        requests, messages = await _life(running, driver, long)
        minutes = minutes_begun(began_s, time.time())
    return {
        "short_requests": statistics.median(one[0] for one in short),
        "short_messages": statistics.median(one[1] for one in short),
        "long_requests": requests - minutes * minute[0],
        "long_messages": messages - minutes * minute[1],
        "minute_requests": minute[0],
    }


def minutes_begun(began_s: float, ended_s: float) -> int:
    """Return how many minutes begin between two unix times."""
    return int(ended_s // MINUTE_S - began_s // MINUTE_S)


def wait_s(now_s: float, earliest_s: float, latest_s: float) -> float:
    """Return how long to wait, in seconds, until the second of the minute is between two seconds."""
    second = now_s % MINUTE_S
    return 0.0 if earliest_s <= second <= latest_s else (earliest_s - second) % MINUTE_S


def counted(requests: list[StorageRequest]) -> int:
    """Return the number of requests without the polls of queues that found nothing."""
    return sum(kind_of(one).name != UNCOUNTED for one in requests)


async def _minute(running: Stage, driver: Driver) -> tuple[int, int]:
    """Return the requests and messages of an idle host around the beginning of a minute."""
    await asyncio.sleep(wait_s(time.time(), LATEST_S, MINUTE_S - AFTER_S))
    return await _passing(running, driver, asyncio.sleep(wait_s(time.time(), EARLIEST_S, EARLIEST_S)))


async def _short(running: Stage, driver: Driver) -> tuple[int, int]:
    await asyncio.sleep(wait_s(time.time(), EARLIEST_S, LATEST_S))
    return await _life(running, driver, SHORT)


async def _life(running: Stage, driver: Driver, model: str) -> tuple[int, int]:
    """Return the storage requests and the messages of one response, until a while after its callback."""

    async def live() -> None:
        await driver.submit(model)
        await driver.await_callbacks()
        await asyncio.sleep(AFTER_S)

    return await _passing(running, driver, live())


async def _passing(running: Stage, driver: Driver, doing: Awaitable[None]) -> tuple[int, int]:
    """Return the storage requests and the messages that pass while something is done."""
    seen = running.tap.requests if running.tap else []
    before = (await driver.invocations()).get(QUEUE, 0)
    seen.clear()
    await doing
    requests = counted(list(seen))
    return requests, (await driver.invocations()).get(QUEUE, 0) - before
