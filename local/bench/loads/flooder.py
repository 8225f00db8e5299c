"""A caller that sends many creates at once: `python -m local.bench.loads.flooder --url URL --count 1000`.

It is a process, so that it takes no time from the caller that is measured. It uses aiohttp, because the pool of httpx
goes through all its connections for each request. The environment has its API key, `FLOOD_KEY`.
"""

import argparse
import asyncio
import json
import os
import time
from dataclasses import asdict, dataclass

import aiohttp

from local.bench.loads.driver import TEXT

KEY = "FLOOD_KEY"
MODEL = "sim-2s"
DEADLINE_S = 120.0


@dataclass(frozen=True, slots=True)
class Flood:
    """When a flood began and when its last answer came, in seconds of `time.perf_counter`, and what was accepted.

    Every process of a machine has that clock in common.
    """

    began_s: float
    ended_s: float
    sent: int
    accepted: int

    @property
    def per_s(self) -> float:
        """How many were accepted a second."""
        return self.accepted / (self.ended_s - self.began_s)


async def flood(url: str, key: str, count: int) -> Flood:
    """Send that many creates at once, each on a connection of its own, and wait for the answers."""
    body = {"model": MODEL, "input": TEXT, "background": True}
    headers = {"Authorization": f"Bearer {key}"}

    async def is_accepted() -> bool:
        try:
            async with http.post(url, json=body) as answer:
                await answer.read()
                return answer.ok
        except (aiohttp.ClientError, TimeoutError):
            return False

    times = aiohttp.ClientTimeout(DEADLINE_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers, timeout=times) as http:
        began_s = time.perf_counter()
        accepted = sum(await asyncio.gather(*(is_accepted() for _ in range(count))))
        return Flood(began_s, time.perf_counter(), count, accepted)


def main() -> None:
    """Send the flood and print what it met, as JSON."""
    parser = argparse.ArgumentParser(prog="local.bench.loads.flooder", description=__doc__)
    parser.add_argument("--url", required=True, help="the address of the create call")
    parser.add_argument("--count", type=int, required=True, help="how many creates")
    given = parser.parse_args()
    print(json.dumps(asdict(asyncio.run(flood(given.url, os.environ[KEY], given.count)))), flush=True)


if __name__ == "__main__":
    main()
