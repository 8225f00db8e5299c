"""The run beside a black hole, a host that accepts connections and never answers, and its effect on other hosts."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle

from local.bench.deliveries.lines import Beside, waits_ms
from local.bench.loads.driver import Driver
from local.bench.loads.load import burst, paced
from local.bench.loads.stage import stage
from local.bench.loads.target import of_stack
from local.stack.process import PartError
from local.stack.stack import Stack

RUN_DEADLINE_S = 300.0
MODEL = "sim-instant"
WARM_UP = partial(burst, count=32, clients=16)


@dataclass(frozen=True, slots=True)
class Size:
    """The number of responses, and their rate. Half of them have a callback to the other host."""

    count: int = 600
    per_s: float = 20


FULL = Size()


def time_beside_hole(size: Size = FULL) -> Beside:
    """Run the same load twice, at first while the other host works, then while it is a black hole.

    Raise PartError, which names the part, if one fails.
    """
    with stage(tapped=False) as running:
        try:
            return asyncio.run(_observe(running.stack, size))
        except TimeoutError:
            raise PartError("driver", f"the run has not ended within {RUN_DEADLINE_S:g} s") from None


async def _observe(stack: Stack, size: Size) -> Beside:
    async with asyncio.timeout(RUN_DEADLINE_S):
        await _warm_up(stack)
        # To the service, the same receiver under another name is another host.
        alone_ms = await _waits_ms(stack, stack.receiver_url.replace("127.0.0.1", "localhost"), size)
        async with black_hole() as url:
            return Beside(alone_ms, await _waits_ms(stack, url, size))


async def _warm_up(stack: Stack) -> None:
    async with Driver(of_stack(stack)) as driver:
        await WARM_UP(partial(driver.submit, MODEL))
        await driver.await_callbacks()


async def _waits_ms(stack: Stack, other_url: str, size: Size) -> list[float]:
    """Return how long callbacks to the receiver took, in ms, while the same number went to the other host."""
    target = of_stack(stack)
    async with Driver(target) as driver, Driver(target, f"{other_url}/callback") as other:
        turns = cycle([driver, other])
        await paced(lambda: next(turns).submit(MODEL), count=size.count, per_s=size.per_s)
        await driver.await_callbacks()
        return waits_ms(driver.submissions, await driver.completions(), await driver.callbacks())


class _Silence(asyncio.Protocol):
    """Accepts all data and never answers."""

    def __init__(self, connections: list[asyncio.BaseTransport]) -> None:
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connections.append(transport)


@asynccontextmanager
async def black_hole() -> AsyncIterator[str]:
    """Yield the URL of a server that never answers. It closes its connections at the end of the block."""
    async with black_holes(["127.0.0.1"]) as (url,):
        yield url.replace("127.0.0.1", "localhost")


@asynccontextmanager
async def black_holes(addresses: Sequence[str]) -> AsyncIterator[list[str]]:
    """Yield a URL at each address of this machine. No server there ever answers."""
    connections: list[asyncio.BaseTransport] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(_Silence, connections), addresses, 0)
    try:
        yield ["http://{}:{}".format(*one.getsockname()) for one in server.sockets]
    finally:
        server.close()
        for connection in connections:
            connection.close()
