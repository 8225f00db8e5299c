"""Deliveries and the circuit breaker: a host in trouble is left alone, nobody else, and it costs no attempt."""

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


async def in_trouble(stage: Stage, answer: int | SendError = 503, *, seen: int = 0) -> None:
    """Let five responses of Ann's fail to call back once, in a row, at the one host that has seen so many events."""
    stage.receiver.answers = [answer]
    for _ in range(5):
        await stage.ended(callback_url=CALLBACK_URL)
        await stage.engine.deliver(stage.deliveries()[-1])
    assert len(stage.receiver.posts) == seen + 5


async def rung_once(stage: Stage, record: Record) -> None:
    """Ring the response's delivery as the message does, then as its alarm does."""
    await stage.engine.deliver(stage.deliveries()[-1])
    stage.clock.ms = max(stage.clock.ms, START_MS + 15_000)
    await stage.sweep(record.id)


@pytest.mark.parametrize("answer", [500, 503, 429, 408, SendError.TIMEOUT, SendError.CONNECT, SendError.TLS])
async def test_five_failures_keep_the_sixth_back(stage: Stage, answer: int | SendError) -> None:
    """The next delivery to that host waits, uncharged and visibly, until the breaker lets one through."""
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


async def test_after_the_pause_one_probes_and_a_success_frees_the_others(stage: Stage) -> None:
    """What waited is delivered, each with its first attempt."""
    await in_trouble(stage)
    waiting = [await stage.ended(callback_url=CALLBACK_URL) for _ in range(3)]
    for record in waiting:
        await rung_once(stage, record)
    stage.receiver.answers = [200]
    for record in waiting:
        await stage.ring(record.id)
    assert {(await stage.delivery(one.id)).state for one in waiting} == {"delivered"}
    assert {(await stage.delivery(one.id)).attempt for one in waiting} == {1}


@pytest.mark.parametrize("answer", [400, 401, 404, 410, SendError.ADDRESS_REFUSED, SendError.URL_REFUSED])
async def test_a_refusal_is_no_trouble_of_the_host(stage: Stage, answer: int | SendError) -> None:
    """A shared host answers 404 to one's outdated URLs; the others' go on."""
    await in_trouble(stage, answer)
    stage.receiver.answers = [200]
    record = await stage.ended(callback_url=CALLBACK_URL)
    await stage.engine.deliver(stage.deliveries()[-1])
    assert (await stage.delivery(record.id)).state == "delivered"


@pytest.mark.parametrize(("caller", "url"), [(BOB, CALLBACK_URL), (ANN, OTHER_URL)])
async def test_another_caller_or_host_is_not_kept_back(stage: Stage, caller: Caller, url: str) -> None:
    """The breaker is that of one caller and one host."""
    await in_trouble(stage)
    stage.receiver.answers = [200]
    record = await stage.ended(caller, callback_url=url)
    await stage.engine.deliver(stage.deliveries()[-1])
    assert (await stage.delivery(record.id)).state == "delivered"


async def test_waits_are_not_charged_to_the_schedule(stage: Stage) -> None:
    """A delivery behind a breaker that stays open for a day has all ten attempts left after it."""
    await in_trouble(stage)
    record = await stage.ended(callback_url=CALLBACK_URL)
    await rung_once(stage, record)
    line = BreakerKey(ANN.name, "hooks.contoso.com")
    while stage.clock.ms < START_MS + 86_400_000:
        (alarm,) = [one for one in await stage.alarms(record.id) if one.kind is Kind.DELIVER]
        stage.clock.ms = alarm.due_ms
        assert (
            stage.receiver.admission.breakers.admit(line, stage.clock.ms) == 0
        )  # another delivery is the probe, and fails
        stage.receiver.admission.breakers.record(line, stage.clock.ms, failed=True)
        await stage.sweep(record.id)
    assert (await stage.delivery(record.id)).attempt == 0


async def test_a_slot_that_is_not_to_be_had_is_not_charged_either(stage: Stage) -> None:
    """The delivery says that it waits for capacity, and is made when there is some."""
    stage.receiver.is_busy = True
    record = await stage.ended(callback_url=CALLBACK_URL)
    await rung_once(stage, record)
    (listed,) = (await stage.engine.deliveries(ANN, record.id))["data"]
    assert (listed["waiting_for"], listed["attempts"]) == ("capacity", [])
    stage.receiver.is_busy = False
    await stage.ring(record.id)
    delivery = await stage.delivery(record.id)
    assert (delivery.state, delivery.attempt, delivery.postponed) == ("delivered", 1, "")


async def test_a_probe_without_a_slot_lets_another_be_the_probe(stage: Stage) -> None:
    """What was admitted and not sent does not keep the line closed."""
    await in_trouble(stage)
    record = await stage.ended(callback_url=CALLBACK_URL)
    await rung_once(stage, record)
    stage.receiver.is_busy = True
    await stage.ring(record.id)
    assert stage.receiver.admission.breakers.admit(BreakerKey(ANN.name, "hooks.contoso.com"), stage.clock.ms) == 0


async def test_a_held_delivery_can_be_asked_for(stage: Stage) -> None:
    """The record knows the alarm that waits, so a redelivery moves it and makes no second one."""
    await in_trouble(stage)
    record = await stage.ended(callback_url=CALLBACK_URL)
    await rung_once(stage, record)
    await stage.engine.redeliver(ANN, record.id, None)
    assert await stage.kinds(record.id) == [Kind.DELIVER, Kind.PURGE]


async def test_a_death_leaves_nothing_that_cannot_be_asked_for(stage: Stage) -> None:
    """A claim whose process died, and which then waits for the breaker, is not being sent any more."""
    record = await stage.ended(callback_url=CALLBACK_URL)
    key = stage.deliveries()[-1]
    gate = stage.receiver.hold()
    dying = asyncio.create_task(stage.engine.deliver(key))
    await gate.reached.wait()
    dying.cancel()
    stage.receiver.gate = None
    await in_trouble(stage, seen=1)
    stage.clock.ms = START_MS + 60_000
    stage.receiver.admission.breakers.admit(
        BreakerKey(ANN.name, "hooks.contoso.com"), stage.clock.ms
    )  # another is the probe
    await stage.sweep(record.id)
    delivery = await stage.delivery(record.id)
    assert (delivery.attempt, delivery.sending, delivery.postponed) == (1, False, "breaker")
    stage.receiver.answers = [200]
    await stage.engine.redeliver(ANN, record.id, None)
    assert (await stage.delivery(record.id)).attempts_before == 1


async def test_first_attempts_have_a_lane_of_their_own(stage: Stage) -> None:
    """Whoever asks for a slot says whether it is for a first attempt."""
    stage.receiver.answers = [500, 200]
    record = await stage.ended(callback_url=CALLBACK_URL)
    await stage.deliver()
    await stage.ring(record.id)
    assert [first for first, _ in stage.receiver.asked] == [True, False]
