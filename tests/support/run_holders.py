"""Processes that hold runs: they claim, they die, others take over."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from shared.core.records import Record
from shared.engine import Engine
from shared.storage.messages import RunOffer
from tests.support.fakes.streams import Gate
from tests.support.stage import DEADLINE_S, Stage, until
from tests.support.stream_clients import offers


async def reaches(stage: Stage, response_id: str, holds: Callable[[Record], bool]) -> Record:
    """Wait until the record is so; return it."""

    async def is_so() -> bool:
        return holds(await stage.record(response_id))

    await until(is_so)
    return await stage.record(response_id)


async def logged(stage: Stage, response_id: str, next_seq: int) -> Record:
    """Wait until the log has come to this number; return the record."""
    return await reaches(stage, response_id, lambda record: record.log.next_seq >= next_seq)


async def claimed(stage: Stage, response_id: str, epoch: int) -> Record:
    """Wait until the run of this epoch has a holder; return the record."""
    return await reaches(stage, response_id, lambda record: record.run.claimed and record.run.epoch == epoch)


async def offered(stage: Stage, response_id: str, epoch: int) -> None:
    """Wait until a holder is asked for, for this epoch."""

    async def is_offered() -> bool:
        return offers(stage, response_id)[-1:] == [epoch]

    await until(is_offered)


def driving(engine: Engine, response_id: str, epoch: int) -> asyncio.Task[None]:
    """Let a process take the run that is offered for this epoch."""
    return asyncio.create_task(engine.drive(RunOffer(response_id, epoch)))


async def taken_over(stage: Stage, response_id: str, gate: Gate) -> None:
    """Let another process drive a run that is handed over, past this gate, to its end."""
    await offered(stage, response_id, 2)
    gate.open()
    await (await stage.process()).drive(RunOffer(response_id, 2))


async def die(*runs: asyncio.Task[None]) -> None:
    """End runs as a death of their process does: nothing of what was under way is written or handed over."""
    for run in runs:
        run.cancel()
        with suppress(asyncio.CancelledError):
            await run


def held(stage: Stage) -> asyncio.Task[None]:
    """Return the run that this process holds for a client."""
    (run,) = stage.ports.background.tasks
    return run


async def released(stage: Stage) -> None:
    """Wait until this process holds no run any more."""
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*stage.ports.background.tasks)


async def run_on(stage: Stage, response_id: str) -> int:
    """Let one process after another look at a response until it has ended; return how many there were."""
    for processes in range(1, 200):
        if offers(stage, response_id)[-1] != (await stage.record(response_id)).run.epoch:
            await stage.ring(response_id)
        await (await stage.process()).drive(RunOffer(response_id, offers(stage, response_id)[-1]))
        if (await stage.record(response_id)).status.is_terminal:
            return processes
    raise AssertionError("the response does not end")
