"""The run of one caller beside another that floods the service, and beside one whose callback hosts are dead."""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from local.bench.builds.build import Build
from local.bench.deliveries.dead_hosts import wait_beside_dead_hosts
from local.bench.deliveries.lines import NEVER, Beside
from local.bench.loads.driver import Driver
from local.bench.loads.flooder import DEADLINE_S, KEY, Flood
from local.bench.loads.runs import MODEL, bounded, warm_up
from local.bench.loads.sizes import Sizes
from local.bench.loads.target import of_stack
from local.bench.meters.figures import Submission, percentile
from local.bench.meters.ratios import Measured, ratio
from local.credentials.keys import Credentials, new_credentials
from local.stack.process import Process
from local.stack.stack import Stack

PAUSE_S = 0.075  # between two creates of the caller that is measured
END_S = DEADLINE_S + 30.0


def flood_run(build: Build, sizes: Sizes) -> Measured:
    """Measure the creates of one caller, alone and while another sends a flood, and then, on a new stack, callbacks."""
    other = new_credentials("other")
    with build.stage(others=[other]) as running:
        alone, beside, flood = bounded(_accepted(running.stack, other, sizes))
    with build.stage(others=[other]) as running:
        waits = bounded(wait_beside_dead_hosts(running.stack, other, hosts=sizes.dead, count=sizes.beside))
    return {**latencies(alone, during(flood, beside)), **flood_values(flood), **callback_values(waits)}


def during(flood: Flood, submissions: Sequence[Submission]) -> list[Submission]:
    """Return those that were under way in the flood."""
    return [one for one in submissions if one.answered_s > flood.began_s and one.sent_s < flood.ended_s]


def latencies(alone: Sequence[Submission], beside: Sequence[Submission]) -> dict[str, float | None]:
    """Return how long the accepted creates took, in ms, alone and in the flood, and the ratios of these."""
    quiet, flooded = _accept_ms(alone), _accept_ms(beside)
    found = {f"quiet_p{one}_ms": percentile(quiet, one) for one in (50, 95)}
    found |= {f"flood_p{one}_ms": percentile(flooded, one) for one in (50, 95)}
    times = {f"times_p{one}": ratio(found[f"flood_p{one}_ms"], found[f"quiet_p{one}_ms"]) for one in (50, 95)}
    worst_ms = percentile(flooded, 100)
    return {**found, **times, "flood_worst_ms": worst_ms, "creates": len(beside), "refused": len(beside) - len(flooded)}


def flood_values(flood: Flood) -> dict[str, float | None]:
    """Return how many creates of the flood were accepted, and how many a second."""
    return {"flood_accepted": flood.accepted, "flood_per_s": flood.per_s}


def callback_values(waits: Beside) -> dict[str, float | None]:
    """Return how long after their completion callbacks came, in ms, without dead hosts and beside them."""
    well_ms, dead_ms = (percentile(_came(one), 95) for one in (waits.well_ms, waits.hole_ms))
    return {
        "beside_well_ms": well_ms,
        "beside_dead_ms": dead_ms,
        "times_dead": ratio(dead_ms, well_ms),
        "called_back": ratio(len(_came(waits.hole_ms)), len(waits.hole_ms)),
    }


def _came(waits: Sequence[float]) -> list[float]:
    return [one for one in waits if one < NEVER]


def _accept_ms(submissions: Sequence[Submission]) -> list[float]:
    return [(one.answered_s - one.sent_s) * 1000 for one in submissions if one.response_id]


async def _accepted(stack: Stack, other: Credentials, sizes: Sizes) -> tuple[list[Submission], list[Submission], Flood]:
    """Return the creates of one caller alone, those from the start of the other's process to its end, and the flood."""
    target = of_stack(stack)
    async with Driver(target) as driver:
        await warm_up(target, driver)
        for _ in range(sizes.quiet):
            await _create(driver)
        alone = list(driver.submissions)
        with _flooding(target.create_url, other.api_key, sizes.flood) as process:
            ending = asyncio.create_task(asyncio.to_thread(process.wait, END_S))
            while not ending.done():
                await _create(driver)
            await ending
            flood = _read(process)
        return alone, driver.submissions[len(alone) :], flood


async def _create(driver: Driver) -> None:
    await driver.submit(MODEL)
    await asyncio.sleep(PAUSE_S)


@contextmanager
def _flooding(url: str, key: str, count: int) -> Iterator[Process]:
    """Run the process of a flood. It has ended at the end of the block."""
    command = [sys.executable, "-m", "local.bench.loads.flooder", "--url", url, "--count", f"{count}"]
    with TemporaryDirectory(prefix="flood-") as name:
        process = Process("flooder", command, env={KEY: key}, log=Path(name) / "flooder.log")
        try:
            yield process
        finally:
            process.stop()


def _read(process: Process) -> Flood:
    try:
        return Flood(**json.loads(process.log()))
    except (TypeError, ValueError):
        raise process.failure("it did not say what its flood met") from None
