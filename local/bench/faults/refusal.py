"""The run in which a receiver refuses some callbacks twice before it accepts them.

Four refusals are not waited for. Their time is reckoned from the retry schedule of each system.
"""

import time
from collections.abc import Iterator, Sequence
from itertools import cycle

from local.bench.loads.driver import Driver
from local.bench.loads.load import paced
from local.bench.loads.runs import MODEL, bounded, collected, warm_up
from local.bench.loads.sizes import Sizes
from local.bench.loads.target import Contender, Target
from local.bench.meters.figures import Observed, Usage, callback_ms, figures, percentile
from local.bench.meters.ratios import Measured

PER_S = 10
REFUSING = "/refusing"
TIMES, STATUS = 2, 503
ONE_IN = 5
CALLBACKS_DEADLINE_S = 240.0
UNMEASURED = Usage(0.0, 0.0, 0)


def refusal_run(contender: Contender, sizes: Sizes) -> Measured:
    """Measure callbacks of which every fifth is refused twice with a 503, and reckon others from the schedule."""
    with contender.open() as target:
        limit_s = CALLBACKS_DEADLINE_S + 2 * sizes.refused / PER_S + 60
        observed, refusing = bounded(_refused(target, sizes), limit_s)
    schedule = reckoned(contender.retry_waits_s)
    return {
        **refusal_values(observed, refusing),
        **unaccepted(observed, schedule["gives_up_s"], time.time()),
        **schedule,
    }


def reckoned(waits_s: Sequence[float]) -> dict[str, float | None]:
    """Return when a callback is accepted after two and four refusals, and when the system gives up, all in seconds.

    They are counted from the first attempt, without jitter. A value is None if the schedule has no such attempt.
    """
    return {
        **{f"after_{times}_s": _sum(waits_s, times) for times in (2, 4)},
        "gives_up_s": _sum(waits_s, max(1, len(waits_s))),
    }


def _sum(waits_s: Sequence[float], times: int) -> float | None:
    return sum(waits_s[:times]) if len(waits_s) >= times else None


def unaccepted(observed: Observed, gives_up_s: float | None, now_s: float) -> dict[str, float | None]:
    """Return how many callbacks the receiver has not accepted: those still tried by the schedule, and those lost.

    One is still tried if its response ended less than `gives_up_s` ago. `now_s` is a unix time.
    """
    there = {one.response_id for one in observed.callbacks}
    missing = {one.response_id for one in observed.submissions if one.response_id} - there
    begun_s = [observed.completions.get(name) for name in missing]
    still = sum(at_s is not None and now_s - at_s < (gives_up_s or 0.0) for at_s in begun_s)
    return {"lost": len(missing) - still, "still_tried": still}


async def _refused(target: Target, sizes: Sizes) -> tuple[Observed, set[str]]:
    async with Driver(target) as driver:
        await warm_up(target, driver)
        await driver.receiver_faults(fail_first_per_id=TIMES, fail_only=REFUSING, status=STATUS)
        paths, refusing = _paths(), set[str]()

        async def submit() -> None:
            path = next(paths)
            response_id = await driver.submit(MODEL, f"{target.receiver_url}{path}")
            if path == REFUSING and response_id:
                refusing.add(response_id)

        await paced(submit, count=sizes.refused, per_s=PER_S)
        await driver.await_callbacks(CALLBACKS_DEADLINE_S)
        return await collected(driver, UNMEASURED), refusing


def _paths() -> Iterator[str]:
    """Yield the paths of callbacks, of which every fifth refuses, the same for every system."""
    return cycle(["/callback"] * (ONE_IN - 1) + [REFUSING])


def refusal_values(observed: Observed, refusing: set[str]) -> dict[str, float | None]:
    """Return the values of the page. `refusing` has the ids whose callbacks were refused first."""
    found = figures(observed)
    late_s = {
        mine: [wait_ms / 1000 for wait_ms in callback_ms(_only(observed, refusing, mine=mine))]
        for mine in (True, False)
    }
    return {
        "accepted": found.accepted,
        "refusing": len(refusing),
        "started_twice": found.started_twice,
        "asked_twice": found.asked_twice,
        "called_back_twice": found.called_back_twice,
        "refused_p50_s": percentile(late_s[True], 50),
        "refused_worst_s": percentile(late_s[True], 100),
        "others_p95_s": percentile(late_s[False], 95),
        "others_worst_s": percentile(late_s[False], 100),
    }


def _only(observed: Observed, refusing: set[str], *, mine: bool) -> Observed:
    """Return what was observed, with the callbacks of these ids alone, or with those of the others."""
    kept = [one for one in observed.callbacks if (one.response_id in refusing) == mine]
    return Observed(observed.submissions, observed.completions, kept, observed.upstream_calls, 0, observed.usage, 0.0)
