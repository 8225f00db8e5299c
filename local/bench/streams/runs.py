"""The runs of streams as values that can be compared: alone, many at once, and read in another process."""

import asyncio
from collections.abc import Sequence

from local.bench.builds.build import Build
from local.bench.loads.runs import bounded
from local.bench.loads.sizes import Sizes
from local.bench.meters.figures import percentile
from local.bench.meters.ratios import Measured
from local.bench.streams.client import StreamClient, late_ms
from local.bench.streams.lines import TIMES, Streamed
from local.bench.streams.timed import FULL, Size, count_requests, time_streams
from local.model.behaviour import TICKS_PER_S
from local.stack.stack import Stack

MODES = {"background": {}, "foreground": {"UPSTREAM_MODE": "foreground"}}


def streams_run(build: Build, sizes: Sizes) -> Measured:
    """Measure a live client, readers of the log, resumed streams and many at once. Count the storage requests."""
    size = FULL if sizes == Sizes() else Size(first_events=5, alone_s=3, resumes=8, growing_s=3, at_once=sizes.streams)
    return {**streamed(time_streams(size, build)), **_requests(build, size)}


def streamed(seen: Streamed) -> dict[str, float | None]:
    """Return the p50 and p99 of each latency in ms, and what a streamed second of many streams used.

    `missing` are the events of many streams that were due and never came.
    """
    found: dict[str, float | None] = {}
    for _, name, _ in TIMES:
        late: Sequence[float] = getattr(seen, name)
        found |= {f"{name}_p50": percentile(late, 50), f"{name}_p99": percentile(late, 99)}
    found["missing"] = round(seen.streamed_s * TICKS_PER_S) - len(seen.at_once_ms)
    found["host_ms_per_s"] = seen.usage.host_cpu_s * 1000 / seen.streamed_s
    found["peak_mib"] = seen.usage.host_peak_bytes / 2**20
    found["azurite_ms_per_s"] = seen.usage.azurite_cpu_s * 1000 / seen.streamed_s
    return found


def _requests(build: Build, size: Size) -> dict[str, float | None]:
    windows = list(count_requests(size, build).values())
    own = [sum(one.own for one in counted) for counted in windows]
    return {"requests_live": own[0], "requests_reader": own[1] - own[0]}


def readers_run(build: Build, sizes: Sizes) -> Measured:
    """Measure streams that are read live, from the log of the same process, and from a second host on the same storage.

    This is done with an upstream that has background mode, and with one that has not.
    """
    found: dict[str, float | None] = {}
    for mode, extra in MODES.items():
        with build.stage(extra=extra) as running:
            late = bounded(_read(running.stack, sizes))
        found |= {
            f"{mode}_{where}_{percent}": percentile(late[where], percent) for where in late for percent in (50, 99)
        }
    return found


async def _read(stack: Stack, sizes: Sizes) -> dict[str, list[float]]:
    here = StreamClient(stack.base_url, stack.credentials.api_key)
    live, same = await _at_once(here, here, sizes)
    second_url = await asyncio.to_thread(stack.add_host)
    there = StreamClient(f"{second_url}/openai/v1", stack.credentials.api_key)
    _, other = await _at_once(here, there, sizes)
    return {"live": live, "same": same, "other": other}


async def _at_once(creator: StreamClient, reader: StreamClient, sizes: Sizes) -> tuple[list[float], list[float]]:
    """Run streams at once, each with a live client and a reader of its log. Return how late deltas came to each."""
    live: list[float] = []
    read: list[float] = []

    async def one() -> None:
        async with creator.create(f"sim-clock-{sizes.stream_s:g}s") as pieces:
            response_id = (await anext(pieces)).response_id
            async with reader.resume(response_id, 0) as tail:
                first, second = await asyncio.gather(late_ms(pieces), late_ms(tail))
        live.extend(first)
        read.extend(second)

    async with asyncio.TaskGroup() as group:
        for _ in range(sizes.streams):
            group.create_task(one())
    return live, read
