"""Deliveries and the circuit breaker: a failing host is left alone, other hosts are not, and no attempt is counted."""

import asyncio

import pytest

from shared.contract.callers import Caller
from shared.core.alarms import Kind
from shared.core.outcomes import SendError
from shared.core.records import Record
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
        await stage.engine.deliver(stage.deliveries()[-1])
    assert len(stage.receiver.posts) == seen + 5


async def rung_once(stage: Stage, record: Record) -> None:
    """Handle a response's delivery message, then sweep its alarm when it is due."""
    await stage.engine.deliver(stage.deliveries()[-1])
    stage.clock.ms = max(stage.clock.ms, START_MS + 15_000)
    await stage.sweep(record.id)


@pytest.mark.parametrize("answer", [500, 503, 429, 408, SendError.TIMEOUT, SendError.CONNECT, SendError.TLS])
async def test_five_failures_postpone_the_sixth_delivery(stage: Stage, answer: int | SendError) -> None:
    """After five failures, the next delivery to that host is postponed until the breaker lets a probe through.

    No attempt is counted, and the caller sees what the delivery waits for.
    """
    await in_trouble(stage, answer)
    record = await stage.ended(callback_url=CALLBACK_URL)
    await rung_once(stage, record)
    assert len(stage.receiver.posts) == 5
    delivery = await stage.delivery(record.id)
    assert (delivery.state, delivery.attempt, delivery.postponed) == ("pending", 0, "breaker")
    (listed,) = (await stage.engine.deliveries(ANN, record.id))["data"]
    assert (listed["waiting_for"], listed["attempts"]) == ("circuit_breaker", [])
    assert listed["next_attempt_at"] == (START_MS + OPEN_MS) / 1000
    (alarm,) = [one for one in await stage.alarms(record.id) if one.kind is Kind.DELIVER]
    assert (alarm.key, alarm.due_ms) == (delivery.alarm_key, START_MS + OPEN_MS)


async def test_after_the_pause_a_successful_probe_closes_the_breaker(stage: Stage) -> None:
    """After the pause, a successful probe closes the breaker. All waiting deliveries succeed at their first attempt."""
    await in_trouble(stage)
    waiting = [await stage.ended(callback_url=CALLBACK_URL) for _ in range(3)]
    for record in waiting:
        await rung_once(stage, record)
    stage.receiver.answers = [200]
    for record in waiting:
        await stage.fire_alarms(record.id)
    assert {(await stage.delivery(one.id)).state for one in waiting} == {"delivered"}
    assert {(await stage.delivery(one.id)).attempt for one in waiting} == {1}


@pytest.mark.parametrize("answer", [400, 401, 404, 410, SendError.ADDRESS_REFUSED, SendError.URL_REFUSED])
async def test_a_refusal_does_not_open_the_breaker(stage: Stage, answer: int | SendError) -> None:
    """A refusal does not open the breaker. A shared host may answer 404 to some outdated URLs and still take others."""
    await in_trouble(stage, answer)
    stage.receiver.answers = [200]
    record = await stage.ended(callback_url=CALLBACK_URL)
    await stage.engine.deliver(stage.deliveries()[-1])
    assert (await stage.delivery(record.id)).state == "delivered"


@pytest.mark.parametrize(("caller", "url"), [(BOB, CALLBACK_URL), (ANN, OTHER_URL)])
async def test_another_caller_or_host_is_not_postponed(stage: Stage, caller: Caller, url: str) -> None:
    """A breaker affects only one caller and one host."""
    await in_trouble(stage)
    stage.receiver.answers = [200]
    record = await stage.ended(caller, callback_url=url)
    await stage.engine.deliver(stage.deliveries()[-1])
    assert (await stage.delivery(record.id)).state == "delivered"


async def test_waits_are_not_counted_in_the_schedule(stage: Stage) -> None:
    """A delivery that waits a whole day for the breaker has used none of its ten attempts."""
    await in_trouble(stage)
    record = await stage.ended(callback_url=CALLBACK_URL)
    await rung_once(stage, record)
    breakers = stage.receiver.admission.breakers
    while stage.clock.ms < START_MS + 86_400_000:
        (alarm,) = [one for one in await stage.alarms(record.id) if one.kind is Kind.DELIVER]
        stage.clock.ms = alarm.due_ms
        assert breakers.admit(KEY, stage.clock.ms) == 0  # another delivery is the probe, and fails
        breakers.record(KEY, stage.clock.ms, failed=True)
        await stage.sweep(record.id)
    assert (await stage.delivery(record.id)).attempt == 0


async def test_a_wait_for_a_slot_is_not_counted_either(stage: Stage) -> None:
    """A delivery without a free slot shows that it waits for capacity, and is made when a slot is free.

    The wait is not counted as an attempt.
    """
    stage.receiver.is_busy = True
    record = await stage.ended(callback_url=CALLBACK_URL)
    await rung_once(stage, record)
    (listed,) = (await stage.engine.deliveries(ANN, record.id))["data"]
    assert (listed["waiting_for"], listed["attempts"]) == ("capacity", [])
    stage.receiver.is_busy = False
    await stage.fire_alarms(record.id)
    delivery = await stage.delivery(record.id)
    assert (delivery.state, delivery.attempt, delivery.postponed) == ("delivered", 1, "")


async def test_a_probe_without_a_slot_lets_another_be_the_probe(stage: Stage) -> None:
    """If a probe finds no slot, the next delivery becomes the probe."""
    await in_trouble(stage)
    record = await stage.ended(callback_url=CALLBACK_URL)
    await rung_once(stage, record)
    stage.receiver.is_busy = True
    await stage.fire_alarms(record.id)
    assert stage.receiver.admission.breakers.admit(KEY, stage.clock.ms) == 0


async def test_a_postponed_delivery_can_be_redelivered(stage: Stage) -> None:
    """A redelivery of a postponed delivery moves its alarm and adds no second one."""
    await in_trouble(stage)
    record = await stage.ended(callback_url=CALLBACK_URL)
    await rung_once(stage, record)
    await stage.engine.redeliver(ANN, record.id, None)
    assert await stage.kinds(record.id) == [Kind.DELIVER, Kind.PURGE]


async def test_a_delivery_postponed_after_a_crash_can_be_redelivered(stage: Stage) -> None:
    """After a crash, a claimed delivery that then waits for the breaker is no longer being sent.

    So it can be redelivered.
    """
    record = await stage.ended(callback_url=CALLBACK_URL)
    gate = stage.receiver.hold()
    crashing = asyncio.create_task(stage.engine.deliver(stage.deliveries()[-1]))
    await gate.reached.wait()
    crashing.cancel()
    stage.receiver.gate = None
    await in_trouble(stage, seen=1)
    stage.clock.ms = START_MS + 60_000
    stage.receiver.admission.breakers.admit(KEY, stage.clock.ms)  # another delivery is the probe
    await stage.sweep(record.id)
    delivery = await stage.delivery(record.id)
    assert (delivery.attempt, delivery.sending, delivery.postponed) == (1, False, "breaker")
    stage.receiver.answers = [200]
    await stage.engine.redeliver(ANN, record.id, None)
    assert (await stage.delivery(record.id)).attempts_before == 1
