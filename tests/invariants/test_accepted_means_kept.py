"""Invariant 2: accepted means kept. A 2xx with an id leads to exactly one terminal status, and work is started once."""

from collections.abc import Sequence
from typing import Any

import pytest

from shared.core.errors import UpstreamUnavailable
from shared.core.states import Status
from shared.engine import Engine
from shared.runtime.watches import Watches
from shared.upstreams.specs import DEFAULT, UpstreamSpec
from tests.invariants.lives import Life
from tests.support.conditions import until
from tests.support.crash_points import CrashPoint, crash_points
from tests.support.fakes.peers import ScriptedUpstream
from tests.support.stage import Stage

AWAY = UpstreamUnavailable("ConnectError")
TURN_MS = 300_000  # five rounds


@pytest.mark.parametrize("honours_keys", [True, False])
async def test_a_crash_at_any_write_keeps_what_was_accepted(stage: Stage, honours_keys: bool) -> None:
    """The response exists once its first transaction is carried out, and then it ends as completed.

    An upstream that honours the idempotency key starts the work once. For another one at most two pieces are started,
    and the second start is the one after a crash in between.
    """
    stage.upstream.honours_keys = honours_keys
    stage.treat(honours_keys=honours_keys)
    lives: dict[CrashPoint, Life] = {}
    answered: set[str] = set()

    async def life(engine: Engine, point: CrashPoint) -> None:
        stage.upstream.course = [Status.IN_PROGRESS, Status.COMPLETED]
        lives[point] = Life(stage, f"{point}")
        await lives[point].create(engine)
        answered.add(lives[point].id)
        await lives[point].finish(engine)

    points = [point async for point in crash_points(stage, life) if await _recovers(stage, lives[point], answered)]
    assert max(point.write for point in points) >= 6
    started = {one.id: stage.upstream.begun[one.id] for one in lives.values()}
    assert max(started.values()) == (1 if honours_keys else 2)


async def test_a_crash_at_any_write_of_a_watch_keeps_what_was_accepted(stage: Stage) -> None:
    """The process that started the response polls it and dies at a write. Its lease brings the response to its end."""
    stage.watch()
    lives: dict[CrashPoint, Life] = {}
    answered: set[str] = set()

    async def life(engine: Engine, point: CrashPoint) -> None:
        stage.upstream.course = [Status.COMPLETED]
        lives[point] = Life(stage, f"watched-{point}")
        await lives[point].create(engine)
        answered.add(lives[point].id)

        async def has_ended() -> bool:
            record = await lives[point].record()
            return record is not None and record.status.is_terminal

        await until(has_ended)

    async for point in crash_points(stage, life):
        stage.change(watches=Watches(0))  # the next process polls by sweeps
        await _recovers(stage, lives[point], answered)
        stage.watch()
    assert max(point.write for point in lives) >= 4
    assert max(stage.upstream.begun[one.id] for one in lives.values()) == 1


@pytest.mark.parametrize("limits", [{}, {"*": 1}], ids=["no limit", "one permit"])
async def test_a_crash_at_any_write_of_a_turn_keeps_what_was_accepted(stage: Stage, limits: dict[str, int]) -> None:
    """The upstream takes nothing at first, so the response waits for its turn. Its permit outlives no end.

    The next life needs the only permit, so one that a crash has left would show. What was granted and not acted on is
    found by a round of its gate, and its permit by two.
    """
    stage.treat(limits=limits, honours_keys=True)
    lives: dict[CrashPoint, Life] = {}
    answered: set[str] = set()

    async def life(engine: Engine, point: CrashPoint) -> None:
        stage.upstream.start_errors, stage.upstream.course = [AWAY], [Status.COMPLETED]
        lives[point] = Life(stage, f"turn-{point}")
        await lives[point].create(engine)
        answered.add(lives[point].id)
        await lives[point].finish(engine, TURN_MS)

    async for point in crash_points(stage, life):
        await _recovers(stage, lives[point], answered, TURN_MS)
    assert max(point.write for point in lives) >= 10
    assert max(stage.upstream.begun[one.id] for one in lives.values()) == 1


@pytest.mark.parametrize("is_background", [True, False], ids=["polled", "run"])
@pytest.mark.parametrize("limits", [{}, {"*": 1}], ids=["no limit", "one permit"])
async def test_a_crash_at_any_write_between_two_upstreams_keeps_what_was_accepted(
    stage: Stage, limits: dict[str, int], is_background: bool
) -> None:
    """Neither takes anything at first, so the response goes from the first to the other, and back into the first line.

    The next life needs the only permit of both, so one that a crash has left at either would show.
    """
    first = ScriptedUpstream()
    first.is_background = stage.upstream.is_background = is_background
    common: dict[str, Any] = {"limits": limits, "honours_keys": True, "is_background": is_background}
    stage.treat(**common)
    stage.add_upstream(UpstreamSpec("eu", ("m",), then=(DEFAULT,), **common), first)
    lives: dict[CrashPoint, Life] = {}
    answered: set[str] = set()
    waited: set[str] = set()

    async def life(engine: Engine, point: CrashPoint) -> None:
        for one in (first, stage.upstream):
            one.start_errors, one.streams.run_errors = ([AWAY], []) if is_background else ([], [AWAY])
        first.course = stage.upstream.course = [Status.COMPLETED]
        lives[point] = Life(stage, f"between-{point}")
        waited.add((await lives[point].create(engine)).upstream.name)
        answered.add(lives[point].id)
        await lives[point].finish(engine, TURN_MS)

    both, refused_by_both = (first, stage.upstream), 0
    async for point in crash_points(stage, life):
        await _recovers(stage, lives[point], answered, TURN_MS, both)
        refused_by_both += not any(one.start_errors or one.streams.run_errors for one in both)
    assert refused_by_both
    assert max(point.write for point in lives) >= 12
    assert "eu" in waited
    assert max(first.begun[one.id] + stage.upstream.begun[one.id] for one in lives.values()) == 1


async def _recovers(
    stage: Stage,
    life: Life,
    answered: set[str],
    within_ms: int = 120_000,
    upstreams: Sequence[ScriptedUpstream] = (),
) -> bool:
    """Let another process continue. Check the life, and return whether its response was accepted."""
    if await life.record() is None:
        assert life.id not in answered
        assert not any(one.begun[life.id] for one in upstreams or [stage.upstream])
        return False
    await life.finish(stage.engine, within_ms)
    record = await life.record()
    assert record
    assert record.status is Status.COMPLETED
    assert {webhook_id for webhook_id, _ in life.events()}
    return True


async def test_a_caller_who_repeats_gets_the_response_that_was_accepted(stage: Stage) -> None:
    """A caller that got no answer repeats the request with its key, and gets the one response, at every crash point."""
    stage.limit(start_wait_s=0.05)
    lives: dict[CrashPoint, Life] = {}

    async def create(engine: Engine, point: CrashPoint) -> None:
        lives[point] = Life(stage, f"again-{point}")
        await lives[point].create(engine)

    async for point in crash_points(stage, create):
        again = await lives[point].create(stage.engine)
        assert again.id == lives[point].id
        await lives[point].finish(stage.engine, 120_000)
        assert stage.upstream.begun[again.id] == 1
