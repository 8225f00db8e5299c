"""Two ways to submit: as fast as a few clients can, and at a steady rate regardless of the answers."""

import asyncio
from collections.abc import Awaitable, Callable

Submit = Callable[[], Awaitable[object]]
Load = Callable[[Submit], Awaitable[None]]


async def burst(submit: Submit, *, count: int, clients: int) -> None:
    """Submit `count` times from closed-loop clients. Each waits for its answer before it submits again."""
    left = iter(range(count))

    async def client() -> None:
        for _ in left:
            await submit()

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())


async def paced(submit: Submit, *, count: int, per_s: float) -> None:
    """Submit `count` times at this rate. A slow answer does not delay the next submission."""
    now_s = asyncio.get_running_loop().time
    began_s = now_s()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            await asyncio.sleep(began_s + number / per_s - now_s())
            group.create_task(_once(submit))


async def _once(submit: Submit) -> None:
    await submit()
