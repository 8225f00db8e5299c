"""The runs of streams. One measures them alone, many at once, and resumed. The other counts their storage requests."""

import asyncio
import time
from dataclasses import dataclass

import httpx

from local.bench.builds.build import Build
from local.bench.loads.load import paced
from local.bench.loads.runs import bounded
from local.bench.loads.stage import Stage
from local.bench.meters.figures import Usage
from local.bench.meters.storage_requests import Count, counts
from local.bench.meters.usage import metered
from local.bench.streams.client import Pieces, StreamClient, late_ms
from local.bench.streams.lines import Streamed
from local.stack.stack import START_DEADLINE_S, Stack

RUN_DEADLINE_S = 120.0
WARM_UP = 5
SETTLE_S = 1.0
WINDOWS = ("live", "and one reader of the log")


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done in the runs."""

    first_events: int = 20
    alone_s: int = 12
    logged: int = 3000
    resumes: int = 40
    growing_s: int = 6
    at_once: int = 50
    at_once_s: int = 10
    window_s: int = 10  # the lease of a run is renewed every 10 s, so each window has one renewal


FULL = Size()
OURS = Build()


def time_streams(size: Size = FULL, build: Build = OURS) -> Streamed:
    """Make the timed run. Raise PartError, which names the part, if one fails."""
    with build.stage() as running:
        return bounded(_observe(running.stack, size), RUN_DEADLINE_S)


def count_requests(size: Size = FULL, build: Build = OURS) -> dict[str, list[Count]]:
    """Make the counted run. Return the storage requests per streamed second, by window."""
    with build.stage(tapped=True) as running:
        return bounded(_count(running, size.window_s), RUN_DEADLINE_S)


async def _observe(stack: Stack, size: Size) -> Streamed:
    client = StreamClient(stack.base_url, stack.credentials.api_key)
    await _first_events(client, stack, WARM_UP)
    first_ms = await _first_events(client, stack, size.first_events)
    live_ms, tail_ms = await _alone(client, size.alone_s)
    finished_ms = await _resumed_finished(client, size.logged, size.resumes)
    growing_ms = await _resumed_growing(client, size.growing_s, size.resumes)
    at_once_ms, usage = await _at_once(client, stack, size)
    streamed_s = size.at_once * size.at_once_s
    return Streamed(first_ms, live_ms, tail_ms, finished_ms, growing_ms, at_once_ms, usage, streamed_s)


async def _first_events(client: StreamClient, stack: Stack, count: int) -> list[float]:
    """Return how long the first upstream event took from the work's start upstream, in ms. Event 0 is our own."""
    came_ms: dict[str, float] = {}
    for _ in range(count):
        async with client.create("sim-clock-0.1s") as live:
            seen = [piece async for piece in live]
        came_ms[seen[0].response_id] = next(piece.at_ms for piece in seen if 1 in piece.numbers)
    started_s = await _starts(stack)
    return [at_ms - started_s[response_id] * 1000 for response_id, at_ms in came_ms.items()]


async def _starts(stack: Stack) -> dict[str, float]:
    model_url = stack.parts["model"].url(START_DEADLINE_S).removesuffix("/v1")
    async with httpx.AsyncClient(trust_env=False) as http:
        starts: dict[str, float] = (await http.get(f"{model_url}/_sim/starts")).json()
        return starts


async def _alone(client: StreamClient, length_s: int) -> tuple[list[float], list[float]]:
    """Return how late the deltas of one stream arrived, in ms: at its live client, and at a reader of its log."""
    async with client.create(f"sim-clock-{length_s}s") as live:
        response_id = await _response_id(live)
        async with client.resume(response_id, 0) as tail:
            live_ms, tail_ms = await asyncio.gather(late_ms(live), late_ms(tail))
            return live_ms, tail_ms


async def _resumed_finished(client: StreamClient, logged: int, times: int) -> list[float]:
    """Return how long it takes to resume close to the end of a long log, in ms."""
    async with client.create(f"sim-events-{logged}") as live:
        seen = [piece async for piece in live]
    last = seen[-1].numbers[-1]
    return [await _first_ms(client, seen[0].response_id, last - 2 - n) for n in range(times)]


async def _resumed_growing(client: StreamClient, length_s: int, times: int) -> list[float]:
    """Return how long it takes to resume a running stream from an event at least a second old, in ms."""
    async with client.create(f"sim-clock-{length_s}s") as live:
        response_id = await _response_id(live)
        reading = asyncio.create_task(late_ms(live))
        await asyncio.sleep(length_s / 2)
        found = [await _first_ms(client, response_id, length_s * 6) for _ in range(times)]
        await reading
        return found


async def _first_ms(client: StreamClient, response_id: str, after: int) -> float:
    """Return how long it takes to connect and receive the first event above a number, in ms."""
    began_s = time.perf_counter()
    async with client.resume(response_id, after) as resumed:
        await anext(resumed)
        return (time.perf_counter() - began_s) * 1000


async def _at_once(client: StreamClient, stack: Stack, size: Size) -> tuple[list[float], Usage]:
    """Return how late the deltas of many streams arrived, in ms, and what the streams used together."""
    found: list[float] = []

    async def one() -> None:
        async with client.create(f"sim-clock-{size.at_once_s}s") as live:
            found.extend(await late_ms(live))

    async with metered(lambda: [stack.parts["host"].pid], stack.storage.cpu_s) as meter:
        await paced(one, count=size.at_once, per_s=size.at_once)
        return found, meter.usage()


async def _count(running: Stage, window_s: int) -> dict[str, list[Count]]:
    client = StreamClient(running.stack.base_url, running.stack.credentials.api_key)
    length_s = len(WINDOWS) * (window_s + SETTLE_S) + SETTLE_S
    async with client.create(f"sim-clock-{length_s:g}s") as live:
        response_id = await _response_id(live)
        reading = [asyncio.create_task(late_ms(live))]
        found = {WINDOWS[0]: await _window(running, window_s)}
        async with client.resume(response_id, 0) as tail:
            reading.append(asyncio.create_task(late_ms(tail)))
            found[WINDOWS[1]] = await _window(running, window_s)
            await asyncio.gather(*reading)
    return found


async def _window(running: Stage, window_s: int) -> list[Count]:
    """Return the storage requests per second in the next `window_s` seconds.

    The start and end of the stream are not included.
    """
    requests = running.tap.requests if running.tap else []
    await asyncio.sleep(SETTLE_S)
    requests.clear()
    await asyncio.sleep(window_s)
    return counts(list(requests), window_s)


async def _response_id(stream: Pieces) -> str:
    return (await anext(stream)).response_id
