"""The tasks that a process leaves behind."""

import asyncio

from shared.runtime.ports import Ports


async def stopped(ports: Ports) -> None:
    """Cut off the tasks of a process, and wait until they are over."""
    tasks = ports.background.tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
