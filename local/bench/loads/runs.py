"""Runs of background responses with callbacks: a warm-up, a load, and the time until everything is at rest."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import psutil

from local.bench.builds.build import Build
from local.bench.loads.driver import Driver
from local.bench.loads.load import Load, burst, paced
from local.bench.loads.sizes import Sizes
from local.bench.loads.target import Contender, Target
from local.bench.meters.figures import Figures, Observed, Usage, figures
from local.bench.meters.ratios import Measured
from local.bench.meters.storage_requests import Count, counts
from local.bench.meters.usage import metered
from local.stack.process import PartError

MODEL = "sim-2s"
SEED = 2_000
JITTER_S = (1.6, 2.4)
RUN_DEADLINE_S = 300.0
# Time for the writes that follow the last callbacks.
REST_S = 1.0
CALLS = ("creates", "retrieves", "cancels", "deletes", "input_items")
PER_S = 25
CLIENTS = 16

WARM_UP = partial(burst, count=32, clients=CLIENTS)
T = TypeVar("T")
Models = Callable[[], Iterator[str]]
"""Makes an endless sequence of names of models."""


def same() -> Iterator[str]:
    """Yield the model that takes 2 s, for ever."""
    while True:
        yield MODEL


def jittered() -> Iterator[str]:
    """Yield models that take 1.6 to 2.4 s, the same sequence for every system.

    With exactly 2 s, a system that polls every 0.5 s finds each end at once. That is an artefact of the load.
    """
    dice = random.Random(SEED)
    while True:
        yield f"sim-{dice.uniform(*JITTER_S):.3f}s"


def paced_run(contender: Contender, sizes: Sizes) -> Measured:
    """Measure responses of 2 s at 25 a second."""
    return _measured(contender, partial(paced, count=sizes.responses, per_s=PER_S), same)


def jittered_run(contender: Contender, sizes: Sizes) -> Measured:
    """Measure responses of 1.6 to 2.4 s at 25 a second."""
    return _measured(contender, partial(paced, count=sizes.responses, per_s=PER_S), jittered)


def burst_run(contender: Contender, sizes: Sizes) -> Measured:
    """Measure responses of 1.6 to 2.4 s, as fast as 16 closed-loop clients submit them."""
    return _measured(contender, partial(burst, count=sizes.responses, clients=CLIENTS), jittered)


def counted_run(build: Build, sizes: Sizes) -> Measured:
    """Count what a response of 2 s causes at 25 a second: storage requests, messages and invocations."""
    load = partial(paced, count=sizes.counted, per_s=PER_S)
    with build.stage(tapped=True) as running:
        passed = running.tap.requests if running.tap else []
        found = run_on(running.target, load, same, before=passed.clear)
        requests = by_name(counts(list(passed), found.accepted))
    return {**requests, "invocations": found.invocations, "messages": found.messages}


def webhooks_run(sizes: Sizes) -> Figures:
    """Measure responses of 2 s at 5 a second, when the model sends a webhook as soon as each one ends."""
    load = partial(paced, count=max(1, sizes.responses // 5), per_s=5)
    with Build().stage(webhooks=True) as running:
        return run_on(running.target, load, same)


def run_on(target: Target, load: Load, models: Models, *, before: Callable[[], None] = lambda: None) -> Figures:
    """Apply a load to a target and return its figures. `before` is called after the warm-up."""
    return figures(bounded(_observe(target, load, models, before)))


def bounded(work: Awaitable[T], deadline_s: float = RUN_DEADLINE_S) -> T:
    """Return what the work returns. Raise PartError if it has not ended by the deadline."""

    async def in_time() -> T:
        async with asyncio.timeout(deadline_s):
            return await work

    try:
        return asyncio.run(in_time())
    except TimeoutError:
        raise PartError("driver", f"the run has not ended within {deadline_s:g} s") from None


async def warm_up(target: Target, driver: Driver, load: Load = WARM_UP) -> None:
    """Submit a few responses, wait until all is at rest, and forget them. Raise PartError if one is not accepted."""
    await load(partial(driver.submit, MODEL))
    await driver.await_callbacks()
    await asyncio.sleep(REST_S)
    target.check()
    if not all(one.response_id for one in driver.submissions):
        raise PartError("target", "it did not accept every response of the warm-up")
    await driver.forget()


async def collected(driver: Driver, usage: Usage, invocations: Mapping[str, int] | None = None) -> Observed:
    """Return everything observed since the driver last forgot. `invocations` are those of the run."""
    stats = await driver.stats()
    return Observed(
        submissions=driver.submissions,
        completions=await driver.completions(),
        callbacks=await driver.callbacks(),
        upstream_calls=sum(stats[name] for name in CALLS),
        started_twice=stats["started_twice"],
        usage=usage,
        load_average=psutil.getloadavg()[0],
        asked_twice=stats["asked_twice"],
        invocations=invocations or {},
    )


async def _observe(target: Target, load: Load, models: Models, before: Callable[[], None]) -> Observed:
    async with Driver(target) as driver:
        await warm_up(target, driver)
        before()
        invoked = await driver.invocations()
        names = models()
        async with metered(target.app_pids, target.store_cpu_s) as meter:
            await load(lambda: driver.submit(next(names)))
            await driver.await_callbacks()
            await asyncio.sleep(REST_S)
            usage = meter.usage()
        since = {kind: times - invoked.get(kind, 0) for kind, times in (await driver.invocations()).items()}
        return await collected(driver, usage, since)


def _measured(contender: Contender, load: Load, models: Models) -> Measured:
    with contender.open() as target:
        return values(run_on(target, load, models))


def values(found: Figures) -> dict[str, float | None]:
    """Return every figure by its name, and the CPU of app and store together as `cpu_ms`."""
    parts = (found.host_cpu_ms, found.azurite_cpu_ms)
    whole = None if None in parts else sum(one or 0.0 for one in parts)
    return {**{name: getattr(found, name) for name in Figures.__slots__}, "cpu_ms": whole}


def by_name(found: Sequence[Count]) -> dict[str, float | None]:
    """Return the storage requests per response by name, and the sums of a response's own and of all."""
    sums = {"own": sum(one.own for one in found), "all": sum(one.in_full for one in found)}
    return {**{one.name: one.in_full for one in found}, **sums}
