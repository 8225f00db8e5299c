"""Measures what the processes of a run use."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import psutil

from local.bench.meters.figures import Usage

SAMPLE_EVERY_S = 0.1


def tree(pids: Sequence[int]) -> list[psutil.Process]:
    """Return the processes with these ids and their descendants, as far as they live."""
    found: dict[int, psutil.Process] = {}
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(pid)
            found |= {one.pid: one for one in (root, *root.children(recursive=True))}
    return list(found.values())


def cpu_s(pids: Sequence[int]) -> float:
    """Return the processor time of these processes and their descendants, in seconds.

    It includes descendants that have ended, once their parent has collected them.
    """
    total = 0.0
    for one in tree(pids):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


class Meter:
    """Reads the processor time and memory of an app's processes, and the processor time of its store."""

    def __init__(self, app_pids: Callable[[], Sequence[int]], store_cpu_s: Callable[[], float]) -> None:
        self._app_pids = app_pids
        self._store_cpu_s = store_cpu_s
        self._peak_bytes = 0
        self._app_began_s = cpu_s(app_pids())
        self._store_began_s = store_cpu_s()

    def usage(self) -> Usage:
        """Return what was used since this meter was created."""
        self._sample()
        return Usage(
            host_cpu_s=cpu_s(self._app_pids()) - self._app_began_s,
            azurite_cpu_s=self._store_cpu_s() - self._store_began_s,
            host_peak_bytes=self._peak_bytes,
        )

    async def watch_memory(self) -> None:
        """Record the highest resident size until cancelled."""
        while True:
            self._sample()
            await asyncio.sleep(SAMPLE_EVERY_S)

    def _sample(self) -> None:
        resident = 0
        for one in tree(self._app_pids()):
            with suppress(psutil.NoSuchProcess):
                resident += one.memory_info().rss
        self._peak_bytes = max(self._peak_bytes, resident)


@asynccontextmanager
async def metered(app_pids: Callable[[], Sequence[int]], store_cpu_s: Callable[[], float]) -> AsyncIterator[Meter]:
    """Yield a meter that watches memory until the end of the block."""
    meter = Meter(app_pids, store_cpu_s)
    watching = asyncio.create_task(meter.watch_memory())
    try:
        yield meter
    finally:
        watching.cancel()
