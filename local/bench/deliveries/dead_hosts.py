"""The run of one caller's callbacks beside another caller with many dead hosts, which accept and never answer."""

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address
from itertools import cycle

from local.bench.deliveries.black_hole import MODEL, black_holes
from local.bench.deliveries.lines import Beside, waits_ms
from local.bench.loads.driver import Driver
from local.bench.loads.load import paced
from local.bench.loads.runs import warm_up
from local.bench.loads.target import of_stack
from local.credentials.keys import Credentials
from local.stack.stack import Stack

PER_S = 20
FIRST = ip_address("127.0.1.1")  # to the service, each address is another host


async def wait_beside_dead_hosts(stack: Stack, other: Credentials, *, hosts: int, count: int) -> Beside:
    """Apply the same load twice: while the other caller's host works, and while it has only dead hosts.

    Half of the `count` responses are the other caller's. Raises OSError if this machine has only one loopback address.
    """
    target = of_stack(stack)
    async with Driver(target) as driver:
        await warm_up(target, driver)
    # To the service, the same receiver under another name is another host.
    works = stack.receiver_url.replace("127.0.0.1", "localhost")
    well_ms = await _waits_ms(stack, other, [works], count)
    async with black_holes([str(FIRST + number) for number in range(hosts)]) as dead:
        return Beside(well_ms, await _waits_ms(stack, other, dead, count))


async def _waits_ms(stack: Stack, other: Credentials, urls: Sequence[str], count: int) -> list[float]:
    """Return how long the callbacks of the stack's caller took, in ms, while those of the other went to these URLs."""
    target, theirs = of_stack(stack), cycle(urls)
    async with Driver(target) as driver, Driver(of_stack(stack, other)) as beside:

        async def both() -> None:
            await asyncio.gather(driver.submit(MODEL), beside.submit(MODEL, f"{next(theirs)}/callback"))

        await paced(both, count=count // 2, per_s=PER_S / 2)
        await driver.await_callbacks()
        return waits_ms(driver.submissions, await driver.completions(), await driver.callbacks())
