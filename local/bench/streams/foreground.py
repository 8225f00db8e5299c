"""The run of foreground calls and streams, with an upstream that has background mode and with one that has not."""

import time

import httpx

from local.bench.builds.build import Build
from local.bench.loads.runs import bounded
from local.bench.loads.sizes import Sizes
from local.bench.meters.figures import percentile
from local.bench.meters.ratios import Measured
from local.bench.streams.client import StreamClient
from local.bench.streams.runs import MODES
from local.stack.process import PartError
from local.stack.stack import Stack

WARM_UP = 3
CALL_DEADLINE_S = 60.0
STREAM = "sim-clock-1s"


def foreground_run(build: Build, sizes: Sizes) -> Measured:
    """Measure calls of an instant model and of one of 1 s, and streams of 1 s, one after the other."""
    found: dict[str, float | None] = {}
    for mode, extra in MODES.items():
        with build.stage(extra=extra) as running:
            times = bounded(_called(running.stack, sizes))
        found |= {f"{mode}_{name}": percentile(values, 50) for name, values in times.items()}
    found["first_later_ms"] = _less(found["foreground_first_ms"], found["background_first_ms"])
    return found


async def _called(stack: Stack, sizes: Sizes) -> dict[str, list[float]]:
    client = StreamClient(stack.base_url, stack.credentials.api_key)
    few = max(WARM_UP, sizes.calls // 2)
    headers = {"Authorization": f"Bearer {stack.credentials.api_key}"}
    async with httpx.AsyncClient(headers=headers, timeout=CALL_DEADLINE_S, trust_env=False) as http:
        for _ in range(WARM_UP):
            await _call_ms(http, stack, "sim-instant")
        instant = [await _call_ms(http, stack, "sim-instant") for _ in range(sizes.calls)]
        second = [await _call_ms(http, stack, "sim-1s") for _ in range(few)]
    streams = [await _stream(client) for _ in range(few)]
    return {
        "instant_ms": instant,
        "second_ms": second,
        "first_ms": [first_ms for first_ms, _ in streams],
        "late_ms": [late for _, lates in streams for late in lates],
    }


async def _call_ms(http: httpx.AsyncClient, stack: Stack, model: str) -> float:
    """Return how long a foreground call took, in ms. Raise PartError if it did not complete."""
    began_s = time.perf_counter()
    answer = await http.post(f"{stack.base_url}/responses", json={"model": model, "input": "Go on."})
    took_ms = (time.perf_counter() - began_s) * 1000
    if not answer.is_success or answer.json()["status"] != "completed":
        raise PartError("host", f"a foreground call was answered with {answer.status_code}")
    return took_ms


async def _stream(client: StreamClient) -> tuple[float, list[float]]:
    """Return how long after the call the first delta came, and how late all deltas came, in ms."""
    began_ms = time.time() * 1000
    async with client.create(STREAM, background=False) as live:
        pieces = [piece async for piece in live]
    first_ms = next((piece.at_ms - began_ms for piece in pieces if piece.late_ms), None)
    if first_ms is None:
        raise PartError("host", "a foreground stream had no delta")
    return first_ms, [late for piece in pieces for late in piece.late_ms]


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
