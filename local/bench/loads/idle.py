"""The run in which nothing happens, after a few responses: what an idle instance costs."""

import asyncio
from functools import partial

from local.bench.builds.build import Build
from local.bench.loads.driver import Driver
from local.bench.loads.load import burst
from local.bench.loads.runs import bounded, warm_up
from local.bench.loads.sizes import Sizes
from local.bench.loads.target import Contender, Target
from local.bench.meters.ratios import Measured
from local.bench.meters.usage import metered

SETTLE_S = 3.0
WARM_UP = partial(burst, count=10, clients=10)


def idle_run(contender: Contender, sizes: Sizes) -> Measured:
    """Measure CPU while idle. Storage requests are counted for a build of the service only."""
    if not isinstance(contender, Build):
        with contender.open() as target:
            return bounded(_rested(target, sizes.idle_s))
    with contender.stage(tapped=True) as running:
        requests = running.tap.requests if running.tap else []

        async def counted() -> Measured:
            found = await _rested(running.target, sizes.idle_s, requests.clear)
            return {**found, "requests_per_s": len(requests) / sizes.idle_s}

        return bounded(counted())


async def _rested(target: Target, idle_s: float, forget: object = None) -> dict[str, float | None]:
    async with Driver(target) as driver:
        await warm_up(target, driver, WARM_UP)
    await asyncio.sleep(SETTLE_S)
    if callable(forget):
        forget()
    async with metered(target.app_pids, target.store_cpu_s) as meter:
        await asyncio.sleep(idle_s)
        usage = meter.usage()
    app_ms, store_ms = (s * 1000 / idle_s for s in (usage.host_cpu_s, usage.azurite_cpu_s))
    return {"app_ms_per_s": app_ms, "store_ms_per_s": store_ms, "ms_per_s": app_ms + store_ms}
