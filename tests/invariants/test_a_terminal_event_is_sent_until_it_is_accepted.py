"""Invariant 5: a terminal event is sent until it is accepted, always with the same id and the same content."""

import pytest

from shared.core.outcomes import SendError
from shared.core.states import DeliveryState, Status
from shared.engine import Engine
from shared.lists.queries import RecoveryQuery
from tests.invariants.lives import Life
from tests.support.crash_points import CrashPoint, crash_points
from tests.support.stage import ANN, Stage

HOUR_MS = 3_600_000
TROUBLE: list[int | SendError] = [500, SendError.TIMEOUT, 429, SendError.CONNECT, 408, 503, SendError.DNS, 502, 500]


async def ended(stage: Stage, key: str) -> Life:
    """Create a response that has ended, and wait for the first attempt to send its event."""
    life = Life(stage, key)
    stage.upstream.first = Status.COMPLETED
    await life.create(stage.engine)
    await stage.deliver()
    return life


async def state(stage: Stage, life: Life) -> DeliveryState:
    """Return the state of the delivery."""
    return (await stage.delivery(life.id)).state


@pytest.mark.parametrize("refusals", range(10))
async def test_trouble_delays_an_event_and_does_not_lose_it(stage: Stage, refusals: int) -> None:
    """Up to nine attempts fail, and the next one is accepted. All of them had the same id and the same body."""
    stage.receiver.answers = [*TROUBLE[:refusals], 200]
    life = await ended(stage, "trouble")
    while not await life.is_over():
        await stage.fire_alarms(life.id)
    assert await state(stage, life) is DeliveryState.DELIVERED
    assert len(life.events()) == refusals + 1
    assert len({repr(event) for event in life.events()}) == 1


async def test_a_crash_at_any_write_of_a_delivery_loses_no_event(stage: Stage) -> None:
    """The event arrives at least once, under one id, also if the receiver refused it before the crash."""
    lives: dict[CrashPoint, Life] = {}

    async def deliver(engine: Engine, point: CrashPoint) -> None:
        stage.receiver.answers = [500, 200]
        lives[point] = Life(stage, f"{point}")
        await lives[point].run(engine)

    stage.upstream.first = Status.COMPLETED
    async for point in crash_points(stage, deliver):
        if await lives[point].record():
            await lives[point].finish(stage.engine, HOUR_MS)
            assert await state(stage, lives[point]) is DeliveryState.DELIVERED
            assert len({webhook_id for webhook_id, _ in lives[point].events()}) == 1
    assert max(point.write for point in lives) >= 4


async def test_an_accepted_event_is_not_sent_again(stage: Stage) -> None:
    """After a 2xx that is recorded, messages, heartbeats and months of time send nothing."""
    life = await ended(stage, "accepted")
    await life.finish(stage.engine)
    await stage.deliver()
    for _ in range(10):
        await stage.engine.heartbeat()
        await stage.sweep(life.id)
        stage.clock.advance(86_400)
    assert len(life.events()) == 1


@pytest.mark.parametrize("refusal", [413, 404])
async def test_an_event_that_was_given_up_can_be_sent_again(stage: Stage, refusal: int) -> None:
    """The receiver refused it for good. After a recovery the same event arrives, under the same id."""
    stage.receiver.answers = [refusal]
    life = await ended(stage, "given up")
    await life.finish(stage.engine, HOUR_MS)
    assert await state(stage, life) is DeliveryState.FAILED
    stage.receiver.answers = [200]
    await stage.engine.recover(ANN, RecoveryQuery(0))
    await life.finish(stage.engine, HOUR_MS)
    assert await state(stage, life) is DeliveryState.DELIVERED
    assert len({webhook_id for webhook_id, _ in life.events()}) == 1
