"""Responses that a stage's process watches, and what becomes of them."""

import asyncio
from typing import Any

from shared.core.records import Record
from shared.core.states import Status
from shared.runtime.ports import Ports
from shared.runtime.watches import Watch
from tests.support.conditions import until
from tests.support.fakes.peers import Outcome
from tests.support.stage import Stage


async def watched(stage: Stage, *course: Outcome, **fields: Any) -> Record:
    """Return a response that this process watches, whose work follows the course."""
    stage.watch()
    stage.upstream.course = list(course) or [Status.IN_PROGRESS]
    return await stage.create(**fields)


def watch_of(stage: Stage, record: Record) -> Watch:
    """Return the watch of a response, which must exist."""
    watch = stage.ports.watches.of(record.id)
    assert watch, "not watched"
    return watch


async def dies(ports: Ports) -> None:
    """Kill the tasks of a process."""
    tasks = ports.background.tasks
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def is_ended(stage: Stage, record: Record) -> Record:
    """Return the record once the response has ended."""

    async def ended() -> bool:
        return (await stage.record(record.id)).status.is_terminal

    await until(ended)
    return await stage.record(record.id)


async def is_over(stage: Stage) -> None:
    """Return once this process watches nothing."""

    async def nothing() -> bool:
        return not stage.ports.watches

    await until(nothing)
