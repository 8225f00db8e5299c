"""The runs. Each uses a new stack, warms it up, applies a load, and lets it come to rest."""

import asyncio
from dataclasses import dataclass
from functools import partial

import psutil

from local.bench.loads.driver import Driver
from local.bench.loads.load import Load, burst, paced
from local.bench.loads.stage import Stage, stage
from local.bench.meters.figures import Figures, Observed, figures
from local.bench.meters.storage_requests import Count, counts
from local.bench.meters.usage import Meter, metered
from local.stack.process import PartError

MODEL = "sim-2s"
RUN_DEADLINE_S = 300.0
# Time for the writes that follow the last callbacks.
REST_S = 1.0
CALLS = ("creates", "retrieves", "cancels", "deletes", "input_items")

WARM_UP = partial(burst, count=32, clients=16)
BURST = partial(burst, count=500, clients=16)
PACED = partial(paced, count=500, per_s=25)
COUNTED = partial(paced, count=200, per_s=25)
WITH_WEBHOOKS = partial(paced, count=100, per_s=5)


@dataclass(frozen=True)
class Run:
    """The figures of a load, the kind of Azurite, and the storage requests per response if they were tapped."""

    figures: Figures
    azurite: str
    storage_requests: list[Count]


def run(load: Load, *, tapped: bool = False, webhooks: bool = False) -> Run:
    """Make one run. Raise PartError, which names the part, if one fails."""
    with stage(tapped=tapped, webhooks=webhooks) as running:
        try:
            observed = asyncio.run(_observe(running, load))
        except TimeoutError:
            raise PartError("driver", f"the run has not ended within {RUN_DEADLINE_S:g} s") from None
        found = figures(observed)
        requests = running.tap.requests if running.tap else []
        return Run(found, running.stack.storage.kind, counts(requests, found.accepted))


async def _observe(running: Stage, load: Load) -> Observed:
    async with asyncio.timeout(RUN_DEADLINE_S), Driver(running.stack) as driver:
        await _apply(driver, WARM_UP)
        if not all(one.response_id for one in driver.submissions):
            raise running.stack.parts["host"].failure("it did not accept every response of the warm-up")
        await driver.forget()
        if running.tap:
            running.tap.requests.clear()
        async with metered(running.stack.parts["host"].pid, running.stack.storage) as meter:
            await _apply(driver, load)
            return await _observed(driver, meter)


async def _apply(driver: Driver, load: Load) -> None:
    await load(partial(driver.submit, MODEL))
    await driver.await_callbacks()
    await asyncio.sleep(REST_S)


async def _observed(driver: Driver, meter: Meter) -> Observed:
    usage = meter.usage()
    stats = await driver.stats()
    return Observed(
        submissions=driver.submissions,
        completions=await driver.completions(),
        callbacks=await driver.callbacks(),
        upstream_calls=sum(stats[name] for name in CALLS),
        started_twice=stats["started_twice"],
        usage=usage,
        load_average=psutil.getloadavg()[0],
    )
