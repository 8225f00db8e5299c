"""Taking slots of a bulkhead and waiting for them. Each host is that of a caller of its own."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from shared.senders.bulkhead import Bulkhead, NoCapacity

LONG_S = 30.0


async def take(bulkhead: Bulkhead, *hosts: str) -> AsyncExitStack:
    """Take a slot for each of the hosts, all of which must be free. Closing the result gives them back."""
    held = AsyncExitStack()
    for host in hosts:
        await held.enter_async_context(bulkhead.slot(host, 0, caller=host))
    return held


async def is_free(bulkhead: Bulkhead, *hosts: str) -> bool:
    """Return whether slots for all of these hosts are free at the same time."""
    try:
        async with await take(bulkhead, *hosts):
            return True
    except NoCapacity:
        return False


async def send(bulkhead: Bulkhead, host: str, sent: list[str], for_s: float = 0) -> None:
    """Take a slot, append the host to `sent`, and keep the slot for this time."""
    async with bulkhead.slot(host, LONG_S, caller=host):
        sent.append(host)
        await asyncio.sleep(for_s)


async def line_up(*sends: asyncio.Task[None]) -> None:
    """Return once each of these tasks waits for a slot or has one."""
    for _ in sends:
        await asyncio.sleep(0)


async def refused_after_s(bulkhead: Bulkhead, host: str, patience_s: float = LONG_S) -> float:
    """Wait for a slot that does not become free, and return the seconds until the refusal."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    with pytest.raises(NoCapacity):
        async with bulkhead.slot(host, patience_s, caller=host):
            raise AssertionError("there was a slot")
    return loop.time() - began_s


async def answer(bulkhead: Bulkhead, host: str, for_s: float = 0) -> None:
    """Make one attempt that the host answers after this time."""
    async with bulkhead.slot(host, 0, caller=host):
        await asyncio.sleep(for_s)
