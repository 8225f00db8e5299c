"""The run with many young responses in flight: how late their polls are, and how long a newcomer waits."""

import asyncio
from collections.abc import Sequence
from functools import partial

from local.bench.builds.build import Build
from local.bench.loads.driver import Driver
from local.bench.loads.load import paced
from local.bench.loads.runs import RUN_DEADLINE_S, bounded, warm_up
from local.bench.loads.sizes import Sizes
from local.bench.loads.target import Target
from local.bench.meters.figures import Submission, percentile
from local.bench.meters.lateness import gaps_s, late_s
from local.bench.meters.ratios import Measured
from local.bench.meters.usage import metered

MODEL = "sim-3000s"  # none of them ends within the run
OFFERED_PER_S = 80
NEWCOMERS_PER_S = 10
WATCHED_S = 15.0


def in_flight_run(build: Build, sizes: Sizes) -> Measured:
    """Fill the host with young responses at 80 a second. Then watch it while newcomers come at 10 a second."""
    with build.open() as target:
        # a host that is full accepts at a third of the rate that it is offered
        return bounded(_filled(target, sizes), RUN_DEADLINE_S + 3 * sizes.in_flight / OFFERED_PER_S + sizes.aged_s)


async def _filled(target: Target, sizes: Sizes) -> Measured:
    async with Driver(target) as driver:
        await warm_up(target, driver)
        await paced(partial(driver.submit, MODEL), count=sizes.in_flight, per_s=OFFERED_PER_S)
        first = list(driver.submissions)
        await asyncio.sleep(sizes.aged_s)
        before = await driver.polls()
        async with metered(target.app_pids, target.store_cpu_s) as meter:
            newcoming = paced(partial(driver.submit, MODEL), count=sizes.newcomers, per_s=NEWCOMERS_PER_S)
            await asyncio.gather(newcoming, asyncio.sleep(WATCHED_S))
            after, usage = await driver.polls(), meter.usage()
    newcomers = driver.submissions[len(first) :]
    polls = sum(map(len, after["polled"].values())) - sum(map(len, before["polled"].values()))
    watched_s = max((after["ages"][key] - age_s for key, age_s in before["ages"].items()), default=WATCHED_S)
    return {
        "in_flight": sum(one.response_id is not None for one in first),
        "newcomers": sum(one.response_id is not None for one in newcomers),
        **_polled(before["ages"], after["ages"], after["polled"]),
        **_accepted(newcomers),
        "polls_per_s": polls / watched_s,
        "cpu_ms_per_poll": usage.host_cpu_s * 1000 / polls if polls else None,
        "peak_mib": usage.host_peak_bytes / 2**20,
    }


def _polled(
    began_s: dict[str, float], ages_s: dict[str, float], polled_s: dict[str, list[float]]
) -> dict[str, float | None]:
    """Return how late the polls of the watched time were, of those responses that were there when it began."""
    late = [one for key, since_s in began_s.items() for one in late_s(polled_s[key], ages_s[key], since_s)]
    gaps = [one for key, since_s in began_s.items() for one in gaps_s(polled_s[key], since_s)]
    return {
        "late_p50_s": percentile(late, 50),
        "late_p95_s": percentile(late, 95),
        "gap_p50_s": percentile(gaps, 50),
        "age_p50_s": percentile(list(ages_s.values()), 50),
    }


def _accepted(newcomers: Sequence[Submission]) -> dict[str, float | None]:
    waits_ms = [(one.answered_s - one.sent_s) * 1000 for one in newcomers if one.response_id]
    return {"accept_p50_ms": percentile(waits_ms, 50), "accept_p99_ms": percentile(waits_ms, 99)}
