"""Offers and claims: of all processes that receive an offer one holds the run, and its alarm offers it again."""

import asyncio
from dataclasses import replace
from itertools import pairwise
from urllib.parse import unquote

import pytest

from shared.core.alarms import LEASE_MS, Alarm, Kind
from shared.core.gates import gate_keys
from shared.core.ids import new_id, shard_of
from shared.core.records import Record
from shared.core.states import RunState, Status
from shared.runs.claims import claim
from shared.storage.messages import RunOffer
from tests.support.clocks import START_MS
from tests.support.fakes.streams import story
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.run_holders import claimed, die, driving, held, logged
from tests.support.stage import ANN, CALLBACK_URL, Stage
from tests.support.stream_clients import expected_lines, lines_of, offers, replayed, streamed

MINUTE_MS = 60_000


async def offered(stage: Stage) -> Record:
    """Return a response whose run is offered and not claimed yet."""
    stage.upstream.is_background = False
    return await stage.create()


async def keys(stage: Stage, response_id: str) -> list[str]:
    """Return the keys of a response's alarms."""
    return [alarm.key for alarm in await stage.alarms(response_id)]


# Claims


async def test_a_claim_replaces_the_alarm_of_the_offer_with_a_lease(stage: Stage) -> None:
    """The process that claims a run gets its record and its only alarm, a lease of 30 s for the same epoch."""
    made = await offered(stage)
    found = await claim(stage.ports, made.id, 1)
    assert found
    record, lease = found
    assert record == await stage.record(made.id)
    assert (record.run.state, record.run.epoch) == (RunState.HELD, 1)
    assert await keys(stage, made.id) == [lease.key]
    assert (lease.kind, lease.epoch, lease.due_ms) == (Kind.RUN, 1, START_MS + LEASE_MS[Kind.RUN])


async def test_of_claims_at_the_same_time_one_succeeds(stage: Stage) -> None:
    """When several processes claim the same offer at once, exactly one of them gets the run."""
    made = await offered(stage)
    processes = [stage.ports, *[await stage.new_ports(stage.clock) for _ in range(3)]]
    found = await asyncio.gather(*(claim(ports, made.id, 1) for ports in processes))
    (winner,) = [one for one in found if one]
    assert winner[0] == await stage.record(made.id)
    assert await keys(stage, made.id) == [winner[1].key]


async def test_a_claim_whose_answer_was_lost_succeeds(stage: Stage) -> None:
    """If storage loses the answer to a claim, the process still knows that it holds the run."""
    made = await offered(stage)
    lost = stage.proxy.drop_answer(is_transaction)
    found = await claim(stage.ports, made.id, 1)
    assert lost.happened.is_set()
    assert found
    assert found[0] == await stage.record(made.id)


async def test_a_run_whose_alarm_is_being_handled_is_not_claimed(stage: Stage) -> None:
    """An offer whose alarm a sweep has just taken cannot be claimed. The offer that the sweep then sends can."""
    made = await offered(stage)
    (alarm,) = await stage.alarms(made.id)
    taken = alarm.moved(alarm.due_ms + 1_000)
    await stage.ports.store.move(shard_of(made.id), [(alarm, taken)])
    assert await claim(stage.ports, made.id, 1) is None
    assert await stage.record(made.id) == made
    await stage.fire_alarms(made.id)
    assert offers(stage, made.id) == [1, 1]
    assert await claim(stage.ports, made.id, 1)


@pytest.mark.parametrize("epoch", [0, 2, 9])
async def test_an_offer_of_another_epoch_is_ignored(stage: Stage, epoch: int) -> None:
    """An offer for another epoch than the record's is ignored, because it is late or was never valid."""
    stage.upstream.is_background = False
    made = await stage.create()
    await stage.engine.drive(RunOffer(made.id, epoch))
    assert stage.upstream.streams.runs == []
    assert await stage.record(made.id) == made


async def test_a_run_that_is_not_offered_is_not_claimed(stage: Stage) -> None:
    """A run that is held, a response that is polled or has ended, and an unknown response cannot be claimed."""
    polled = await stage.create()
    run, ended = await offered(stage), await offered(stage)
    assert await claim(stage.ports, run.id, 1)
    await stage.engine.cancel(ANN, ended.id)
    before = [(await stage.record(one.id), await keys(stage, one.id)) for one in (polled, run, ended)]
    for response_id in (polled.id, run.id, ended.id, new_id()):
        for epoch in (1, 2):
            assert await claim(stage.ports, response_id, epoch) is None
    assert [(await stage.record(one.id), await keys(stage, one.id)) for one in (polled, run, ended)] == before


async def test_copies_of_an_offer_make_one_holder(stage: Stage) -> None:
    """Copies of an offer make only one holder, whether they arrive at once, during the run or after its end."""
    stage.upstream.is_background = False
    gate = stage.upstream.streams.hold(3)
    made = await stage.create(stream=True)
    other = await stage.process()
    running = [driving(engine, made.id, 1) for engine in (stage.engine, other, stage.engine)]
    await gate.reached.wait()
    await other.drive(RunOffer(made.id, 1))
    gate.open()
    await asyncio.gather(*running)
    await other.drive(RunOffer(made.id, 1))
    assert stage.upstream.streams.runs == [made.id]
    assert lines_of(await replayed(stage, made.id)) == expected_lines(story(6))


# The alarm of a run


async def test_a_run_that_no_process_claims_is_offered_again(stage: Stage) -> None:
    """A run that no process claims is offered again at doubling intervals, up to 15 minutes.

    Its epoch stays the same, because no process has held it.
    """
    stage.upstream.is_background = False
    made = await stage.create()
    rung_ms = [START_MS]
    for _ in range(7):
        await stage.fire_alarms(made.id)
        rung_ms.append(stage.clock.ms)
    minutes = [round((later - earlier) / MINUTE_MS) for earlier, later in pairwise(rung_ms)]
    assert minutes == [1, 2, 4, 8, 15, 15, 15]
    assert offers(stage, made.id) == [1] * 8
    record = await stage.record(made.id)
    assert (record.run.claimed, record.run.expirations) == (False, 0)


async def test_a_response_that_crashes_every_holder_fails(stage: Stage) -> None:
    """After five leases in a row that expire without progress, the response fails with `internal_error`."""
    stage.upstream.streams.hold(1)
    made = await streamed(stage, callback_url=CALLBACK_URL)
    running = held(stage)
    for epoch in range(2, 8):
        await die(running)
        await stage.fire_alarms(made.id)
        if epoch < 7:
            running = driving(stage.engine, made.id, epoch)
            await claimed(stage, made.id, epoch)
    ended = await stage.record(made.id)
    assert (ended.status, ended.run.expirations) == (Status.FAILED, 5)
    assert (await stage.shown(made.id))["error"]["code"] == "internal_error"


async def test_progress_resets_the_count_of_crashes(stage: Stage) -> None:
    """Progress resets the count of expired leases, so a long stream survives any number of crashes."""
    events = stage.upstream.streams.events = story(12)
    gates = [stage.upstream.streams.hold(place) for place in range(3, 11)]
    reader = await streamed(stage)
    running = held(stage)
    for epoch, gate in enumerate(gates, 2):
        await logged(stage, reader.id, epoch + 1)
        await die(running)
        await stage.fire_alarms(reader.id)
        gate.open()
        running = driving(stage.engine, reader.id, epoch)
    await running
    assert lines_of(await replayed(stage, reader.id)) == expected_lines(events)
    assert len(offers(stage, reader.id)) == 8


@pytest.mark.parametrize("how", ["away", "unreadable"])
async def test_a_gate_that_cannot_be_asked_ends_no_run(stage: Stage, how: str) -> None:
    """Whoever looks for a holder asks for the permit first. The alarm rings again until that can be read.

    A version that knows more phases may have written it.
    """
    stage.treat(limits={"*": 5})
    made = await offered(stage)
    row = {"PartitionKey": gate_keys.gate_partition("default"), "RowKey": gate_keys.hold_key(made.id)}
    if how == "away":
        stage.proxy.refuse(lambda request: "gate:" in unquote(request.path))
    else:
        await (await stage.table()).upsert_entity({**row, "facts": '{"state":"new"}'})
    for _ in range(7):
        await stage.fire_alarms(made.id)
    (alarm,) = await stage.alarms(made.id)
    assert (alarm.kind, alarm.attempt, offers(stage, made.id)) == (Kind.RUN, 0, [1])
    stage.proxy.heal()
    if how == "away":
        await stage.fire_alarms(made.id)
        assert offers(stage, made.id) == [1, 1]


async def test_a_run_alarm_without_a_record_is_removed(stage: Stage) -> None:
    """A `run` alarm without a record is removed and has no other effect."""
    run = Alarm(START_MS, Kind.RUN, "resp_" + "a" * 32)
    await stage.plant([run])
    await stage.sweep(run.id)
    assert await stage.alarms(run.id) == []


async def test_an_alarm_of_another_epoch_is_removed(stage: Stage) -> None:
    """An alarm that is left from another epoch is removed. The run and its own alarm stay as they are."""
    made = await offered(stage)
    (alarm,) = await stage.alarms(made.id)
    await stage.plant([replace(alarm, due_ms=START_MS, epoch=epoch, target=str(epoch)) for epoch in (0, 2)])
    await stage.sweep(made.id)
    assert await keys(stage, made.id) == [alarm.key]
    assert await stage.record(made.id) == made
    assert offers(stage, made.id) == [1]
