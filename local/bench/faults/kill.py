"""The runs in which the app is killed, as a crash does, and started again after a fixed time.

One kill is in the middle of a load. The others fall while start calls are out: the model has begun the work, and holds
its answer back for 300 ms, so that the killed app never learns the work's id.
"""

import asyncio
import time
from dataclasses import dataclass

from local.bench.loads.driver import Driver
from local.bench.loads.load import paced
from local.bench.loads.runs import PER_S, bounded, collected, jittered, warm_up
from local.bench.loads.sizes import Sizes
from local.bench.loads.target import PROMPT, Contender, Target, Upstream
from local.bench.meters.figures import Observed, Usage, callback_ms, figures, percentile
from local.bench.meters.ratios import Measured
from local.stack.process import PartError

CALLBACKS_DEADLINE_S = 120.0
HELD_DEADLINE_S = 15.0
LOOK_EVERY_S = 0.01
COMPLETED = "response.completed"
HELD = Upstream(held_s=0.3)
HELD_KEYLESS = Upstream(held_s=0.3, honours_keys=False)
WAITS = {"p50_s": 50, "p99_s": 99, "worst_s": 100}
UNMEASURED = Usage(0.0, 0.0, 0)  # the processor time of a killed process is not known


@dataclass(frozen=True)
class Blow:
    """A kill: after how long, how long the app then stays down, and whether it waits until a start call is out."""

    after_s: float
    down_s: float
    inside_start: bool


@dataclass(frozen=True)
class Struck:
    """When the app was killed, on the monotonic clock, and how many start calls were out."""

    at_s: float
    held: int


def kill_run(contender: Contender, sizes: Sizes) -> Measured:
    """Measure a kill in the middle of a load."""
    return _run(contender, sizes, PROMPT)


def kill_start_run(contender: Contender, sizes: Sizes) -> Measured:
    """Measure a kill while start calls are out, with a model that knows a repeated call by its key."""
    return _run(contender, sizes, HELD)


def kill_keyless_run(contender: Contender, sizes: Sizes) -> Measured:
    """Measure a kill while start calls are out, with a model that starts new work for each call."""
    return _run(contender, sizes, HELD_KEYLESS)


def _run(contender: Contender, sizes: Sizes, upstream: Upstream) -> Measured:
    with contender.open(upstream) as target:
        return bounded(_killed(target, sizes, upstream))


async def _killed(target: Target, sizes: Sizes, upstream: Upstream) -> Measured:
    blow = Blow(sizes.kill_after_s, sizes.down_s, upstream.held_s > 0)
    async with Driver(target) as driver:
        await warm_up(target, driver)
        await driver.model_faults(upstream.faults)
        names = jittered()
        loading = paced(lambda: driver.submit(next(names)), count=sizes.killed, per_s=PER_S)
        _, struck = await asyncio.gather(loading, _strike(target, driver, blow))
        await driver.await_all_started(CALLBACKS_DEADLINE_S)
        await asyncio.sleep(struck.at_s + sizes.watched_s - time.monotonic())  # what is called back again comes late
        observed = await collected(driver, UNMEASURED)
    return kill_values(observed, struck.held)


async def _strike(target: Target, driver: Driver, blow: Blow) -> Struck:
    """Kill the app after a time, and start it again. Say when that was, and how many start calls were out."""
    await asyncio.sleep(blow.after_s)
    held = await _until_held(driver) if blow.inside_start else 0
    struck = Struck(time.monotonic(), held)
    await asyncio.to_thread(target.kill)
    await asyncio.sleep(struck.at_s + blow.down_s - time.monotonic())
    await asyncio.to_thread(target.restart)
    return struck


async def _until_held(driver: Driver) -> int:
    """Return how many start calls wait for the model's answer, as soon as one does."""
    end_s = time.monotonic() + HELD_DEADLINE_S
    while time.monotonic() < end_s:
        if held := int((await driver.stats())["held"]):
            return held
        await asyncio.sleep(LOOK_EVERY_S)
    raise PartError("target", f"no start call was out within {HELD_DEADLINE_S:g} s")


def kill_values(observed: Observed, held: int) -> dict[str, float | None]:
    """Return the values of the page. `held` is how many start calls were out at the kill.

    A response of a create call without an answer may go on. Its caller does not know its id, unless a callback says it.
    """
    found = figures(observed)
    waits_s = [wait_ms / 1000 for wait_ms in callback_ms(observed)]
    accepted = {one.response_id for one in observed.submissions}
    ends = {one.response_id: one.kind for one in observed.callbacks}
    return {
        "refused": found.submitted - found.accepted,
        "unanswered": len(ends.keys() - accepted),
        "lost": found.lost,
        "failed": sum(kind != COMPLETED for name, kind in ends.items() if name in accepted),
        "held": held,
        "started_twice": found.started_twice,
        "asked_twice": found.asked_twice,
        "called_back_twice": found.called_back_twice,
        **{name: percentile(waits_s, percent) for name, percent in WAITS.items()},
    }
