"""The run of one response alone on the host: every storage request of its life."""

import asyncio
import statistics
from functools import partial

from local.bench.builds.build import Build
from local.bench.loads.driver import Driver
from local.bench.loads.load import burst
from local.bench.loads.runs import bounded, warm_up
from local.bench.loads.sizes import Sizes
from local.bench.loads.stage import Stage
from local.bench.meters.figures import QUEUE
from local.bench.meters.ratios import Measured
from local.bench.meters.storage_requests import kind_of

SHORT, TIMES = "sim-2s", 3
AFTER_S = 3.0  # requests that follow the callback
WARM_UP = partial(burst, count=2, clients=1)
UNCOUNTED = "queue get, empty"  # what an idle host does, too


def lone_run(build: Build, sizes: Sizes) -> Measured:
    """Count the requests of a response of 2 s, the median of three, and of one of 60 s. Both have a callback."""
    with build.stage(tapped=True) as running:
        return bounded(_counted(running, f"sim-{sizes.long_s:g}s"))


async def _counted(running: Stage, long: str) -> Measured:
    async with Driver(running.target) as driver:
        await warm_up(running.target, driver, WARM_UP)
        await asyncio.sleep(AFTER_S)
        short = [await _life(running, driver, SHORT) for _ in range(TIMES)]
        requests, messages = await _life(running, driver, long)
    return {
        "short_requests": statistics.median(one[0] for one in short),
        "short_messages": statistics.median(one[1] for one in short),
        "long_requests": requests,
        "long_messages": messages,
    }


async def _life(running: Stage, driver: Driver, model: str) -> tuple[int, int]:
    """Return the storage requests and the messages of one response, until a while after its callback."""
    seen = running.tap.requests if running.tap else []
    seen.clear()
    before = (await driver.invocations()).get(QUEUE, 0)
    await driver.submit(model)
    await driver.await_callbacks()
    await asyncio.sleep(AFTER_S)
    requests = sum(kind_of(one).name != UNCOUNTED for one in list(seen))
    return requests, (await driver.invocations()).get(QUEUE, 0) - before
