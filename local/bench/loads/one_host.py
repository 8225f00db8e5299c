"""The run in which many responses end at once, and all their callbacks go to one slow host."""

import asyncio
import time

from local.bench.builds.build import Build
from local.bench.loads.driver import Driver
from local.bench.loads.load import burst
from local.bench.loads.runs import CLIENTS, bounded, warm_up
from local.bench.loads.sizes import Sizes
from local.bench.loads.target import Target
from local.bench.meters.figures import percentile
from local.bench.meters.ratios import Measured

RECEIVER_S = 0.2


def one_host_run(build: Build, sizes: Sizes) -> Measured:
    """Let all responses end at the same moment, with a receiver that takes 0.2 s for each callback."""
    with build.open() as target:
        return bounded(_ended(target, sizes))


async def _ended(target: Target, sizes: Sizes) -> Measured:
    async with Driver(target) as driver:
        await warm_up(target, driver)
        await driver.slow_receiver(RECEIVER_S)
        end_s = time.time() + sizes.ends_after_s
        await burst(
            lambda: driver.submit(f"sim-{max(0.0, end_s - time.time()):.3f}s"), count=sizes.ends, clients=CLIENTS
        )
        in_time = time.time() < end_s
        await asyncio.sleep(end_s - time.time())
        await driver.await_callbacks()
        received = await driver.callbacks()
    first_s = {one.response_id: one.received_s for one in reversed(received)}
    waits_s = [at_s - end_s for at_s in first_s.values()]
    accepted = {one.response_id for one in driver.submissions if one.response_id}
    return {
        "accepted": len(accepted),
        "lost": len(accepted - first_s.keys()),
        "p50_s": percentile(waits_s, 50) if in_time else None,
        "last_s": percentile(waits_s, 100) if in_time else None,
    }


def _until(end_s: float) -> str:
    """Return the model that ends at this unix time if it is asked now."""
    return f"sim-{max(0.0, end_s - time.time()):.3f}s"
