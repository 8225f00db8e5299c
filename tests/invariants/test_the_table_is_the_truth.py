"""Invariant 1: the table is the truth, messages are hints.

Delete every message, and what was due happens within 90 s.
"""

import itertools

from shared.core.states import Status
from shared.engine import Engine
from shared.storage.messages import HINTS
from tests.invariants.lives import Life
from tests.support.crash_points import new_process
from tests.support.failover import RemainingProcess
from tests.support.stage import Stage


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
            assert steps >= 4, "three polls and a delivery"
            return
        await life.finish(Engine(new_process(stage)))
        assert len(life.events()) == 1


async def test_an_hour_without_any_process_loses_nothing(stage: Stage) -> None:
    """Nothing runs for an hour, and no message is left. The next process does what was due within 90 s."""
    life = Life(stage, "outage")
    stage.upstream.course = [Status.COMPLETED]
    await life.create(Engine(new_process(stage)))
    stage.clock.advance(3_600)
    await life.finish(Engine(new_process(stage)))
    assert len(life.events()) == 1


async def test_a_message_is_only_a_hint(stage: Stage) -> None:
    """Messages name a shard, an alarm or a response, and a time or an epoch. None holds content."""
    await Life(stage, "content").run(Engine(new_process(stage)))
    sent = [one for one in stage.sent if one.queue in HINTS]
    assert {one.queue for one in sent} >= {"nudges", "deliveries"}
    assert {name for one in sent for name in one.content} <= {"shard", "at", "until", "alarm", "response", "epoch"}
