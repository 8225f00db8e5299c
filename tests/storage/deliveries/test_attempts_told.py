"""Attempts: an operator is told of a receiver that takes no events, whichever processes have made them."""

from dataclasses import replace

import pytest

from shared.core.ids import shard_of
from shared.core.outcomes import SendError
from shared.core.records import Target
from shared.engine import Engine
from shared.storage.messages import Wakeup
from tests.support.alert_queries import fires, matching
from tests.support.fakes.peers import ScriptedReceiver
from tests.support.log_capture import WrittenLines
from tests.support.stage import CALLBACK_URL, Stage

ALERT = "callbacks-failing"


async def process(stage: Stage, answer: int | SendError) -> Engine:
    """Return another process, which has made no attempt. Its callbacks get this answer."""
    ports = await stage.new_ports(stage.clock)
    receiver = ScriptedReceiver(answer, now_ms=stage.clock.now_ms)
    return Engine(replace(ports, senders={**ports.senders, Target.CALLBACK: receiver}))


@pytest.mark.parametrize("answer", [SendError.CONNECT, 503, 401, 404])
async def test_four_failures_of_a_delivery_over_four_processes_raise_the_alert(
    stage: Stage, answer: int | SendError, written: WrittenLines
) -> None:
    """Between the attempts the app has scaled to zero. None of the processes has seen two."""
    stage.receiver.answers = [answer]
    made = await stage.ended(callback_url=CALLBACK_URL)
    await stage.deliver()
    for number in range(2, 5):
        assert matching(ALERT, written.text) == []
        engine = await process(stage, answer)
        stage.clock.ms = (await stage.alarms(made.id))[0].due_ms
        await engine.sweep(Wakeup(shard_of(made.id), stage.clock.ms // 1000))
        assert (await stage.delivery(made.id)).attempt == number
    assert fires(ALERT, written.text)
    (line,) = matching(ALERT, written.text)
    assert (line["caller"], line["host"]) == ("ann", "hooks.contoso.com")


async def test_a_delivery_that_goes_on_failing_is_not_told_twice(stage: Stage, written: WrittenLines) -> None:
    """One process sees the four failures in a row, and the fourth attempt."""
    stage.receiver.answers = [500]
    made = await stage.ended(callback_url=CALLBACK_URL)
    await stage.deliver()
    while (await stage.delivery(made.id)).attempt < 6:
        await stage.fire_alarms(made.id)
    assert len(matching(ALERT, written.text)) == 1


async def test_a_receiver_that_answers_401_to_each_raises_the_alert(stage: Stage, written: WrittenLines) -> None:
    """Each first attempt is another delivery's, and the circuit breaker stays closed."""
    stage.receiver.answers = [401]
    for _ in range(8):
        await stage.ended(callback_url=CALLBACK_URL)
        await stage.deliver()
    assert len(matching(ALERT, written.text)) == 1
    assert len(stage.receiver.posts) == 8


async def test_a_receiver_that_wants_no_more_events_raises_no_alert(stage: Stage, written: WrittenLines) -> None:
    """A 410 is what it is asked to answer then."""
    stage.receiver.answers = [410]
    for _ in range(5):
        await stage.ended(callback_url=CALLBACK_URL)
        await stage.deliver()
    assert matching(ALERT, written.text) == []
