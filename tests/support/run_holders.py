"""Processes that hold runs: they claim a run, crash, or claim a run that another process has released."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from shared.core.alarms import Kind
from shared.core.errors import UpstreamError
from shared.core.records import Record
from shared.core.states import Status
from shared.engine import Engine
from shared.runs.lease import RunLease
from shared.runs.log_writer import LogWriter
from shared.runs.unstored import Start
from shared.runtime.broadcast import Broadcast
from shared.runtime.live_feed import LiveFeed
from shared.storage.messages import RunOffer
from shared.transitions import run_transitions
from tests.support.conditions import DEADLINE_S, until
from tests.support.fakes.streams import Gate
from tests.support.stage import Stage
from tests.support.stream_clients import Reader, Received, offers, streamed


async def reaches(stage: Stage, response_id: str, holds: Callable[[Record], bool]) -> Record:
    """Wait until the condition holds for the record, and return the record."""

    async def is_so() -> bool:
        return holds(await stage.record(response_id))

    await until(is_so)
    return await stage.record(response_id)


async def logged(stage: Stage, response_id: str, next_seq: int) -> Record:
    """Wait until the event log has reached this number, and return the record."""
    return await reaches(stage, response_id, lambda record: record.log.next_seq >= next_seq)


async def claimed(stage: Stage, response_id: str, epoch: int) -> Record:
    """Wait until a process has claimed the run for this epoch, and return the record."""
    return await reaches(stage, response_id, lambda record: record.run.claimed and record.run.epoch == epoch)


async def offered(stage: Stage, response_id: str, epoch: int) -> None:
    """Wait until the run is offered for this epoch."""

    async def is_offered() -> bool:
        return offers(stage, response_id)[-1:] == [epoch]

    await until(is_offered)


def driving(engine: Engine, response_id: str, epoch: int) -> asyncio.Task[None]:
    """Let a process claim and drive the run that is offered for this epoch. Return its task."""
    return asyncio.create_task(engine.drive(RunOffer(response_id, epoch)))


async def taken_over(stage: Stage, response_id: str, gate: Gate) -> None:
    """Wait until the run is offered again, open the gate, and let another process drive the run to its end."""
    await offered(stage, response_id, 2)
    gate.open()
    await (await stage.process()).drive(RunOffer(response_id, 2))


def start_of(lease: RunLease, token: str, status: Status, *, is_background: bool, live: bool) -> Start:
    """Return the start of work under this id, as the holder of the run records it."""
    return partial(
        run_transitions.record_upstream_start,
        epoch=lease.record.run.epoch,
        token=token,
        status=status,
        now_ms=lease.record.created_ms,
        is_background=is_background,
        live=live,
    )


def followed(stage: Stage, lease: RunLease) -> tuple[LogWriter, LiveFeed]:
    """Return the writer of a run's event log, and the feed of a reader in its process."""
    broadcast, feed = Broadcast(lease.record.id, lease.record.log.next_seq), LiveFeed()
    broadcast.attach(feed)
    stage.ports.local.add(broadcast)
    return LogWriter(stage.ports, lease, broadcast), feed


async def die(*runs: asyncio.Task[None]) -> None:
    """Cancel runs as a crash of their process would: nothing under way is written or handed over."""
    for run in runs:
        run.cancel()
        with suppress(asyncio.CancelledError):
            await run


def held(stage: Stage) -> asyncio.Task[None]:
    """Return the one run that this process holds for a client."""
    (run,) = stage.ports.background.tasks
    return run


async def told_and_crashed(stage: Stage) -> tuple[Reader, list[Received]]:
    """Return a reader of a run, and the six events that it has. Its holder has crashed, and has stored none of five."""
    stage.pace(flush_s=600)
    stage.upstream.streams.hold(6)
    reader = await streamed(stage, background=False)
    seen = [*reader.received, *await reader.take(5)]
    await die(held(stage))
    stage.upstream.streams.gates = {}
    return reader, seen


async def refused_runs(stage: Stage, count: int, refusal: UpstreamError) -> tuple[list[Reader], Reader]:
    """Return the readers of runs that a foreground upstream has refused, and the one whose run is the probe now."""
    stage.upstream.is_background = False
    stage.upstream.streams.run_errors = [refusal] * count
    readers = [await streamed(stage) for _ in range(count)]
    for reader in readers:
        await driving(stage.engine, reader.id, 1)
    await stage.fire_gates()
    (probe,) = [reader for reader in readers if await stage.kinds(reader.id) == [Kind.RUN]]
    return readers, probe


async def released(stage: Stage) -> None:
    """Wait until this process holds no run."""
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*stage.ports.background.tasks)


async def run_on(stage: Stage, response_id: str) -> int:
    """Let one process after another drive the run until the response has ended. Return the number of processes."""
    for processes in range(1, 200):
        if offers(stage, response_id)[-1] != (await stage.record(response_id)).run.epoch:
            await stage.fire_alarms(response_id)
        await (await stage.process()).drive(RunOffer(response_id, offers(stage, response_id)[-1]))
        if (await stage.record(response_id)).status.is_terminal:
            return processes
    raise AssertionError("the response does not end")
