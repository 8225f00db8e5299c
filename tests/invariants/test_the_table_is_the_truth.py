"""Invariant 1: the table is the truth, messages are hints.

Delete every message, and what was due happens within 90 s of the later of its due time and the next invocation of any
process.
"""

import asyncio
import itertools

from shared.core.states import Status
from shared.engine import Engine
from shared.storage.messages import HINTS
from tests.invariants.lives import DUE_MS, Life
from tests.support.crash_points import new_process
from tests.support.failover import RemainingProcess
from tests.support.stage import Stage
from tests.support.watched_responses import dies


async def test_all_messages_may_be_deleted_after_any_step(stage: Stage) -> None:
    """After step n all messages are lost. A heartbeat still brings the response to its end and its callback."""
    for steps in itertools.count():
        stage.upstream.course = [Status.IN_PROGRESS, Status.IN_PROGRESS, Status.COMPLETED]
        life, worker = Life(stage, f"step-{steps}"), Engine(new_process(stage))
        messages = RemainingProcess(stage, worker, stage.clock.ms + 60_000)
        await life.create(worker)
        for _ in range(steps):
            await messages.step()
        if await life.is_over():
            assert steps >= 3, "three polls"
            return
        await life.finish(Engine(new_process(stage)))
        assert len(life.events()) == 1


async def test_a_death_costs_the_lease_of_what_its_process_held(stage: Stage) -> None:
    """A process dies that watches a response, and no message about it was ever sent. The lease fires in 15 s.

    Whatever the heartbeat of another process is about to do, the response ends within 90 s of that.
    """
    stage.watch()
    for beat_s in (0, 14, 30, 59):
        stage.upstream.course = [Status.COMPLETED]
        life, ports = Life(stage, f"death-{beat_s}"), new_process(stage)
        await life.create(Engine(ports))
        assert len(ports.watches) == 1
        await dies(ports)
        died_ms = stage.clock.ms
        survivor = RemainingProcess(stage, Engine(new_process(stage)), died_ms + beat_s * 1000)
        await survivor.run_until(life.is_over, died_ms + 15_000 + DUE_MS)
        assert len(life.events()) == 1


async def test_an_hour_without_any_process_loses_nothing(stage: Stage) -> None:
    """Nothing runs for an hour, and no message is left. The next process does what was due within 90 s."""
    life = Life(stage, "outage")
    stage.upstream.course = [Status.COMPLETED]
    await life.create(Engine(new_process(stage)))
    stage.clock.advance(3_600)
    await life.finish(Engine(new_process(stage)))
    assert len(life.events()) == 1


async def test_any_invocation_is_enough(stage: Stage) -> None:
    """An hour passes in which nothing runs, all messages are lost, and the timer never fires again.

    A process that is called for anything, such as another response, does what was due within 90 s of that call.
    """
    life = Life(stage, "no timer")
    stage.upstream.course = [Status.COMPLETED]
    await life.create(Engine(new_process(stage)))
    stage.clock.advance(3_600)
    ports = new_process(stage)
    engine, invoked_ms = Engine(ports), stage.clock.ms
    process = RemainingProcess(stage, engine, next_beat_ms=invoked_ms + 86_400_000)
    engine.accompany_invocation()
    await asyncio.gather(*ports.background.tasks)
    await process.run_until(life.is_over, invoked_ms + DUE_MS)
    assert len(life.events()) == 1


async def test_a_message_is_only_a_hint(stage: Stage) -> None:
    """Messages name shards or a response, and a time or an epoch. None holds content."""
    await Life(stage, "content").run(Engine(new_process(stage)))
    sent = [one for one in stage.sent if one.queue in HINTS]
    assert {one.queue for one in sent} >= {"nudges"}
    assert {name for one in sent for name in one.content} <= {"shards", "at", "until", "response", "epoch"}
