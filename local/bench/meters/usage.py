"""Measures what the processes of a run use."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil

from local.azurite import Azurite
from local.bench.meters.figures import Usage

SAMPLE_EVERY_S = 0.1


class Meter:
    """Reads the processor time and memory of a host, and the processor time of its Azurite."""

    def __init__(self, host_pid: int, storage: Azurite) -> None:
        self._host = psutil.Process(host_pid)
        self._storage = storage
        self._host_peak_bytes = 0
        self._host_began_s = self._host_cpu_s()
        self._azurite_began_s = storage.cpu_s()

    def usage(self) -> Usage:
        """Return what was used since this meter was created."""
        self._sample()
        return Usage(
            host_cpu_s=self._host_cpu_s() - self._host_began_s,
            azurite_cpu_s=self._storage.cpu_s() - self._azurite_began_s,
            host_peak_bytes=self._host_peak_bytes,
        )

    async def watch_memory(self) -> None:
        """Record the highest resident size until cancelled."""
        while True:
            self._sample()
            await asyncio.sleep(SAMPLE_EVERY_S)

    def _sample(self) -> None:
        self._host_peak_bytes = max(self._host_peak_bytes, self._host.memory_info().rss)

    def _host_cpu_s(self) -> float:
        times = self._host.cpu_times()
        return float(times.user + times.system)


@asynccontextmanager
async def metered(host_pid: int, storage: Azurite) -> AsyncIterator[Meter]:
    """Yield a meter that watches memory until the end of the block."""
    meter = Meter(host_pid, storage)
    watching = asyncio.create_task(meter.watch_memory())
    try:
        yield meter
    finally:
        watching.cancel()
