"""The platform's part between queues and engines: every message, or several copies of it, goes to an engine."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from azure.core.exceptions import ResourceNotFoundError

from shared.engine import Engine
from shared.storage.messages import RUNS, WAKEUPS, RunOffer, Wakeup
from tests.support.stage import Stage


@asynccontextmanager
async def queue_host(stage: Stage, *engines: Engine, copies: int = 1) -> AsyncIterator[None]:
    """Play the platform until the end of the block: hand each message, or copies of it, to the engines in turn."""
    turns = itertools.cycle(engines)
    async with asyncio.TaskGroup() as group:
        pumps = [
            group.create_task(_pump(stage, WAKEUPS, copies, lambda body: swept(next(turns), body))),
            group.create_task(_pump(stage, RUNS, copies, lambda body: next(turns).drive(RunOffer.decode(body)))),
        ]
        yield
        for pump in pumps:
            pump.cancel()


async def swept(engine: Engine, body: bytes) -> int:
    """Sweep as a wake-up message asks. Return how many alarms were acted on."""
    return await engine.sweep(Wakeup.decode(body))


async def _pump(stage: Stage, name: str, copies: int, handle: Callable[[bytes], Coroutine[Any, Any, object]]) -> None:
    async with stage.queue(name) as queue, asyncio.TaskGroup() as group:
        while True:
            async for message in queue.receive_messages(messages_per_page=32, max_messages=32, visibility_timeout=600):
                with suppress(ResourceNotFoundError):  # the queue may be cleared at any moment
                    await queue.delete_message(message)
                for _ in range(copies):
                    group.create_task(handle(message.content.encode()))
            await asyncio.sleep(0.05)
