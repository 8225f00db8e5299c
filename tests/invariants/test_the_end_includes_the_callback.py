"""Invariant 4: the end includes the callback. Both are one transaction, so no crash comes between them."""

import pytest

from shared.core.alarms import Kind
from shared.core.states import Status
from shared.engine import Engine
from tests.invariants.ends import ENDS, End, begin, give_up
from tests.invariants.lives import Life
from tests.support.crash_points import CrashPoint, crash_points
from tests.support.stage import Stage


async def end_at_once(engine: Engine, life: Life) -> None:
    """Create a response that the upstream completes in its first answer."""
    life.stage.upstream.first = Status.COMPLETED
    await life.create(engine)


WAYS: dict[str, End] = {**{name: end for name, (end, _) in ENDS.items()}, "given up": give_up, "at once": end_at_once}


@pytest.mark.parametrize("name", WAYS)
async def test_no_crash_separates_the_end_from_its_callback(stage: Stage, name: str) -> None:
    """After a crash at any write, a response that has ended has an alarm for its callback, and the callback arrives."""
    lives: dict[CrashPoint, Life] = {}

    async def life(engine: Engine, point: CrashPoint) -> None:
        lives[point] = Life(stage, f"{point}")
        if name != "at once":
            await begin(lives[point])
        await WAYS[name](engine, lives[point])

    async for point in crash_points(stage, life):
        if await lives[point].record():
            await _has_its_alarm(stage, lives[point])
            await lives[point].finish(stage.engine, 3 * 60_000)
            assert {event["data"]["id"] for _, event in lives[point].events()} == {lives[point].id}
    assert len(lives) >= 3


async def _has_its_alarm(stage: Stage, life: Life) -> None:
    """Check that the response has either an open delivery with its alarm, or work that is not over with its alarm."""
    record, alarms = await stage.record(life.id), await stage.alarms(life.id)
    if record.status.is_terminal:
        (delivery,) = record.deliveries
        open_alarms = [delivery.alarm_key] if delivery.is_open else []
        assert [alarm.key for alarm in alarms if alarm.kind is Kind.DELIVER] == open_alarms
    else:
        assert record.deliveries == ()
        assert {alarm.kind for alarm in alarms} & {Kind.START, Kind.POLL}
