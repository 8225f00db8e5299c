"""The run in which the app is killed in the middle of a load, as a crash does, and started again at once."""

import asyncio

from local.bench.loads.driver import Driver
from local.bench.loads.load import paced
from local.bench.loads.runs import PER_S, bounded, collected, jittered, warm_up
from local.bench.loads.sizes import Sizes
from local.bench.loads.target import Contender, Target
from local.bench.meters.figures import Figures, Usage, callback_ms, figures, percentile
from local.bench.meters.ratios import Measured

CALLBACKS_DEADLINE_S = 150.0
WAITS = {"p50_s": 50, "p99_s": 99, "worst_s": 100}
UNMEASURED = Usage(0.0, 0.0, 0)  # the processor time of a killed process is not known


def kill_run(contender: Contender, sizes: Sizes) -> Measured:
    """Measure what is lost, what is done twice, and how late the callbacks come."""
    with contender.open() as target:
        return bounded(_killed(target, sizes))


async def _killed(target: Target, sizes: Sizes) -> Measured:
    async with Driver(target) as driver:
        await warm_up(target, driver)
        names = jittered()
        loading = paced(lambda: driver.submit(next(names)), count=sizes.killed, per_s=PER_S)
        _, killed_at_s = await asyncio.gather(loading, _kill(target, sizes.kill_after_s))
        await driver.await_callbacks(CALLBACKS_DEADLINE_S)
        now_s = asyncio.get_running_loop().time
        await asyncio.sleep(killed_at_s + sizes.watched_s - now_s())  # what is called back again comes late
        observed = await collected(driver, UNMEASURED)
    return _values(figures(observed), callback_ms(observed))


async def _kill(target: Target, after_s: float) -> float:
    """Kill the app after a time, and start it again. Return when it was killed, on the loop's clock."""
    await asyncio.sleep(after_s)
    killed_at_s = asyncio.get_running_loop().time()
    await asyncio.to_thread(target.kill)
    await asyncio.to_thread(target.restart)
    return killed_at_s


def _values(found: Figures, waits_ms: list[float]) -> dict[str, float | None]:
    waits_s = [wait_ms / 1000 for wait_ms in waits_ms]
    return {
        "refused": found.submitted - found.accepted,
        "lost": found.lost,
        "started_twice": found.started_twice,
        "asked_twice": found.asked_twice,
        "called_back_twice": found.called_back_twice,
        **{name: percentile(waits_s, percent) for name, percent in WAITS.items()},
    }
