"""Deliveries and the circuit breaker: a failing host is left alone, other hosts are not, and no attempt is counted."""

import orjson
import pytest

from shared.contract.callers import Caller
from shared.core.alarms import Kind
from shared.core.outcomes import SendError
from shared.senders.circuit_breaker import OPEN_MS, BreakerKey
from tests.support.clocks import START_MS
from tests.support.stage import ANN, BOB, CALLBACK_URL, Stage

OTHER_URL = "https://other.contoso.com/done"
KEY = BreakerKey(ANN.name, "hooks.contoso.com")


async def in_trouble(stage: Stage, answer: int | SendError = 503, *, seen: int = 0) -> None:
    """Let the first callback attempts of five of Ann's responses fail in a row, at one host.

    `seen` is the number of events that the host has received before.
    """
    stage.receiver.answers = [answer]
    for _ in range(5):
        await stage.ended(callback_url=CALLBACK_URL)
        await stage.deliver()
    assert len(stage.receiver.posts) == seen + 5


@pytest.mark.parametrize("answer", [500, 503, 429, 408, SendError.TIMEOUT, SendError.CONNECT, SendError.TLS])
async def test_five_failures_postpone_the_sixth_delivery(stage: Stage, answer: int | SendError) -> None:
    """After five failures, the next delivery to that host is postponed until the breaker lets a probe through.

    No attempt is counted, and the caller sees what the delivery waits for.
    """
    await in_trouble(stage, answer)
    record = await stage.ended(callback_url=CALLBACK_URL)
    assert len(stage.receiver.posts) == 5
    delivery = await stage.delivery(record.id)
    assert (delivery.state, delivery.attempt) == ("pending", 0)
    (listed,) = (await stage.engine.deliveries(ANN, record.id))["data"]
    assert (listed["waiting_for"], listed["attempts"]) == ("circuit_breaker", [])
    assert listed["next_attempt_at"] == (START_MS + OPEN_MS) / 1000
    (alarm,) = [one for one in await stage.alarms(record.id) if one.kind is Kind.DELIVER]
    assert (alarm.key, alarm.due_ms) == (delivery.alarm_key, START_MS + OPEN_MS)


async def test_after_the_pause_a_successful_probe_closes_the_breaker(stage: Stage) -> None:
    """After the pause, a successful probe closes the breaker. All waiting deliveries succeed."""
    await in_trouble(stage)
    waiting = [await stage.ended(callback_url=CALLBACK_URL) for _ in range(3)]
    stage.receiver.answers = [200]
    for record in waiting:
        while (await stage.delivery(record.id)).is_open:
            await stage.fire_alarms(record.id)
    received = [orjson.loads(post.body)["data"]["id"] for post in stage.receiver.posts]
    assert [received.count(record.id) for record in waiting] == [1, 1, 1]


@pytest.mark.parametrize("answer", [400, 401, 404, 410, SendError.ADDRESS_REFUSED, SendError.URL_REFUSED])
async def test_a_refusal_does_not_open_the_breaker(stage: Stage, answer: int | SendError) -> None:
    """A refusal does not open the breaker. A shared host may answer 404 to some outdated URLs and still take others."""
    await in_trouble(stage, answer)
    stage.receiver.answers = [200]
    record = await stage.ended(callback_url=CALLBACK_URL)
    await stage.deliver()
    assert (await stage.delivery(record.id)).state == "delivered"


@pytest.mark.parametrize(("caller", "url"), [(BOB, CALLBACK_URL), (ANN, OTHER_URL)])
async def test_another_caller_or_host_is_not_postponed(stage: Stage, caller: Caller, url: str) -> None:
    """A breaker affects only one caller and one host."""
    await in_trouble(stage)
    stage.receiver.answers = [200]
    record = await stage.ended(caller, callback_url=url)
    await stage.deliver()
    assert (await stage.delivery(record.id)).state == "delivered"


async def test_waits_are_not_counted_in_the_schedule(stage: Stage) -> None:
    """A delivery that waits a whole day for the breaker has used none of its ten attempts.

    The move of its alarm puts it off, and its record is not written.
    """
    await in_trouble(stage)
    record = await stage.ended(callback_url=CALLBACK_URL)
    breakers = stage.receiver.admission.breakers
    while stage.clock.ms < START_MS + 86_400_000:
        (alarm,) = [one for one in await stage.alarms(record.id) if one.kind is Kind.DELIVER]
        stage.clock.ms = alarm.due_ms
        assert breakers.admit(KEY, stage.clock.ms) == 0  # another delivery is the probe, and fails
        breakers.record(KEY, stage.clock.ms, failed=True)
        assert await stage.sweep(record.id) == 0
        assert alarm.attempt == 0
    assert (await stage.record(record.id)).write_id == record.write_id


async def test_a_wait_for_a_slot_is_not_counted_either(stage: Stage) -> None:
    """A delivery without a free slot shows that it waits for capacity, and is made when a slot is free.

    The wait is not counted as an attempt.
    """
    stage.receiver.is_busy = True
    record = await stage.ended(callback_url=CALLBACK_URL)
    (listed,) = (await stage.engine.deliveries(ANN, record.id))["data"]
    assert (listed["waiting_for"], listed["attempts"]) == ("capacity", [])
    stage.receiver.is_busy = False
    await stage.fire_alarms(record.id)
    delivery = await stage.delivery(record.id)
    assert (delivery.state, delivery.attempt) == ("delivered", 1)


async def test_a_probe_without_a_slot_lets_another_be_the_probe(stage: Stage) -> None:
    """If a probe finds no slot, the next delivery becomes the probe."""
    await in_trouble(stage)
    record = await stage.ended(callback_url=CALLBACK_URL)
    stage.receiver.is_full = True
    await stage.fire_alarms(record.id)
    assert stage.receiver.admission.breakers.admit(KEY, stage.clock.ms) == 0


async def test_a_delivery_that_was_put_off_can_be_redelivered(stage: Stage) -> None:
    """The redelivery waits for the breaker, too. The alarm of the schedule before goes when it fires.

    One event is sent.
    """
    await in_trouble(stage)
    record = await stage.ended(callback_url=CALLBACK_URL)
    await stage.engine.redeliver(ANN, record.id, None)
    stage.receiver.answers = [200]
    await stage.run_out(record.id)
    delivery = await stage.delivery(record.id)
    assert (delivery.state, delivery.schedule) == ("delivered", 2)
    received = [orjson.loads(post.body)["data"]["id"] for post in stage.receiver.posts]
    assert received.count(record.id) == 1


async def test_a_delivery_can_be_redelivered_after_a_crash(stage: Stage) -> None:
    """When the lease of the attempt is past, it is no longer under way, and the breaker puts the redelivery off."""
    gate = stage.receiver.hold()
    record = await stage.ended(callback_url=CALLBACK_URL)
    await gate.reached.wait()
    await stage.crash()
    stage.receiver.gate = None
    await in_trouble(stage, seen=1)
    stage.clock.ms = START_MS + 20_000
    stage.receiver.answers = [200]
    await stage.engine.redeliver(ANN, record.id, None)
    delivery = await stage.delivery(record.id)
    assert (delivery.attempts_before, delivery.number, delivery.sending) == (1, 0, False)
