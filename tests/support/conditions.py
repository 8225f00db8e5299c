"""Waiting for what a test expects to happen."""

import asyncio
from collections.abc import Awaitable, Callable

DEADLINE_S = 20.0


async def until(holds: Callable[[], Awaitable[bool]], deadline_s: float = DEADLINE_S) -> None:
    """Return once the condition holds, and fail at the deadline."""
    async with asyncio.timeout(deadline_s):
        while not await holds():  # noqa: ASYNC110 - the condition is about storage, which sends no signal
            await asyncio.sleep(0.05)
