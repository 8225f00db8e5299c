"""Invariant 8: idle costs two timers. No message is parked for a response that waits."""

import json
import subprocess
import sys

from local.stack.process import ROOT
from shared.core.ids import SHARDS
from shared.core.states import Status
from tests.support.stage import SECRET, Stage

TRIGGERS = """
import json
from function_app import app
bindings = [json.loads(text) for one in app.get_functions() for text in one.get_raw_bindings()]
print(json.dumps([[one["type"], one.get("schedule")] for one in bindings if one["direction"] == "IN"]))
"""
WAITING = 40


def test_the_app_has_two_timers() -> None:
    """One fires every minute, and one every five minutes. All other triggers wait for a message or a request."""
    done = subprocess.run([sys.executable, "-c", TRIGGERS], cwd=ROOT, check=True, capture_output=True, timeout=60)
    triggers = json.loads(done.stdout)
    timers = [schedule for kind, schedule in triggers if kind == "timerTrigger"]
    assert sorted(timers) == ["0 * * * * *", "30 */5 * * * *"]
    assert {kind for kind, _ in triggers} == {"timerTrigger", "queueTrigger", "httpTrigger"}


async def test_an_idle_service_sends_no_message(stage: Stage) -> None:
    """Without responses, a heartbeat reads each shard once, and the registry of gates. It sends nothing.

    The other timer only reads queues.
    """
    await stage.engine.heartbeat()  # the first one of a process also looks for its table and queues
    stage.proxy.counts.clear()
    await stage.engine.heartbeat()
    assert stage.proxy.counts == {"GET responses()": len(SHARDS) + 1}
    await stage.engine.drain_dead_letters()
    assert stage.sent == []


async def test_ended_responses_cost_nothing_until_their_purge(stage: Stage) -> None:
    """Responses that have ended are as cheap as none: the heartbeat sends nothing for them."""
    for _ in range(10):
        await stage.ended()
    stage.sent.clear()
    for _ in range(5):
        stage.clock.advance(3_600)
        await stage.engine.heartbeat()
    assert stage.sent == []


async def test_waiting_responses_share_the_messages_of_their_shards(stage: Stage) -> None:
    """While many responses wait for a poll, a heartbeat sends at most one message per shard."""
    stage.upstream.course = [Status.IN_PROGRESS]
    for _ in range(WAITING):
        await stage.create()
    stage.clock.advance(600)
    stage.sent.clear()
    await stage.engine.heartbeat()
    assert 0 < len(stage.sent) <= len(SHARDS)


async def test_a_response_that_waits_for_long_has_no_message(stage: Stage) -> None:
    """If the next step is more than a minute away, no message waits for it. The heartbeat sends one in time."""
    stage.upstream.course = [Status.IN_PROGRESS]
    stage.treat(webhook_secrets=(SECRET,))  # then polls are a minute apart
    made = await stage.create()
    for _ in range(3):
        stage.sent.clear()
        await stage.fire_alarms(made.id)
        (alarm,) = await stage.alarms(made.id)
        assert alarm.due_ms - stage.clock.ms >= 60_000
        assert [one.delay_s for one in stage.sent if one.delay_s > 59] == []
    assert stage.wakeups(made.id) == []
