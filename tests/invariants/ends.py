"""The ways in which a response ends."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

from shared.core.alarms import Kind
from shared.core.errors import BadRequest
from shared.core.ids import shard_of
from shared.core.states import Status
from shared.engine import Engine
from shared.storage.messages import Wakeup
from tests.invariants.lives import Life
from tests.support.stage import ANN

DEADLINE_S = 60
End: TypeAlias = Callable[[Engine, Life], Awaitable[None]]


async def begin(life: Life) -> None:
    """Create a response whose work goes on until one of these ends."""
    life.stage.limit(deadline_ms=DEADLINE_S * 1000)
    life.stage.upstream.course = [Status.IN_PROGRESS]
    await life.create(life.stage.engine)


async def cancel(engine: Engine, life: Life) -> None:
    """Cancel the response, which is a 400 if it has ended."""
    with suppress(BadRequest):
        await engine.cancel(ANN, life.id)


async def complete(engine: Engine, life: Life) -> None:
    """Poll work that is completed."""
    await _poll(engine, life, Status.COMPLETED)


async def fail(engine: Engine, life: Life) -> None:
    """Poll work that has failed."""
    await _poll(engine, life, Status.FAILED)


async def expire(engine: Engine, life: Life) -> None:
    """Let the deadline pass."""
    life.stage.clock.advance(DEADLINE_S)
    await _poll(engine, life, Status.IN_PROGRESS)


async def give_up(engine: Engine, life: Life) -> None:
    """Let the upstream raise what the service does not expect, until the service gives up."""
    while not (await life.stage.record(life.id)).status.is_terminal:
        life.stage.upstream.poll_errors = [RuntimeError("unexpected")]
        await _poll(engine, life, Status.IN_PROGRESS)


async def _poll(engine: Engine, life: Life, status: Status) -> None:
    stage = life.stage
    record = await stage.record(life.id)
    stage.upstream.works[str(record.upstream.token)].course = [status]
    polls = [alarm.due_ms for alarm in await stage.alarms(life.id) if alarm.kind is Kind.POLL]
    stage.clock.ms = max(stage.clock.ms, *polls, 0)
    await engine.sweep(Wakeup(shard_of(life.id), 0))


ENDS: dict[str, tuple[End, Status]] = {
    "cancelled": (cancel, Status.CANCELLED),
    "completed": (complete, Status.COMPLETED),
    "failed": (fail, Status.FAILED),
    "deadline": (expire, Status.FAILED),
}
"""Each end, and the status that it gives."""
