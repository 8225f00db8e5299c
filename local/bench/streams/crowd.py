"""The runs of many streams on one host, and of many readers of one stream."""

import asyncio

from local.bench.builds.build import Build
from local.bench.loads.load import paced
from local.bench.loads.runs import bounded
from local.bench.loads.sizes import Sizes
from local.bench.loads.stage import Stage
from local.bench.meters.figures import percentile
from local.bench.meters.ratios import Measured
from local.bench.meters.storage_requests import kind_of
from local.bench.meters.usage import metered
from local.bench.streams.client import StreamClient, late_ms
from local.model.behaviour import TICKS_PER_S
from local.stack.stack import Stack

PER_S = TICKS_PER_S // 2  # events a second of one slow clock
OPENED_IN_S = 3.0
SETTLE_S = 3.0
WATCHED_S = 8.0
QUERY = "table query"


def crowd_run(build: Build, sizes: Sizes) -> Measured:
    """Measure many streams of 10 events a second, and then, on a new stack, many readers of one stream."""
    with build.stage() as running:
        found = bounded(_crowd(running.stack, sizes))
    with build.stage(tapped=True) as running:
        return {**found, **bounded(_readers(running, sizes))}


async def _crowd(stack: Stack, sizes: Sizes) -> dict[str, float | None]:
    client = StreamClient(stack.base_url, stack.credentials.api_key)
    late: list[float] = []

    async def one() -> None:
        async with client.create(f"sim-slow-clock-{sizes.stream_s:g}s") as live:
            late.extend(await late_ms(live))

    async with metered(lambda: [stack.parts["host"].pid], stack.storage.cpu_s) as meter:
        await paced(one, count=sizes.crowd, per_s=sizes.crowd / OPENED_IN_S)
        usage = meter.usage()
    streamed_s = sizes.crowd * sizes.stream_s
    return {
        "crowd": sizes.crowd,
        "crowd_p50": percentile(late, 50),
        "crowd_p99": percentile(late, 99),
        "missing": streamed_s * PER_S - len(late),
        "host_ms_per_s": usage.host_cpu_s * 1000 / streamed_s,
        "peak_mib": usage.host_peak_bytes / 2**20,
    }


async def _readers(running: Stage, sizes: Sizes) -> dict[str, float | None]:
    """Return the storage queries a second while many clients read the log of one stream, and how late they are."""
    stack, passed = running.stack, running.tap.requests if running.tap else []
    client = StreamClient(stack.base_url, stack.credentials.api_key)

    async def read(response_id: str) -> list[float]:
        async with client.resume(response_id, 0) as tail:
            return await late_ms(tail)

    async with client.create(f"sim-slow-clock-{SETTLE_S * 2 + WATCHED_S:g}s") as live:
        response_id = (await anext(live)).response_id
        writing = asyncio.create_task(late_ms(live))
        reading = [asyncio.create_task(read(response_id)) for _ in range(sizes.readers)]
        await asyncio.sleep(SETTLE_S)
        passed.clear()
        await asyncio.sleep(WATCHED_S)
        queries = sum(kind_of(one).name == QUERY for one in list(passed))
        late = [one for lates in await asyncio.gather(*reading) for one in lates]
        await writing
    return {
        "readers": sizes.readers,
        "queries_per_s": queries / WATCHED_S,
        "readers_p50": percentile(late, 50),
    }
