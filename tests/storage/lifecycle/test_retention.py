"""Deleting and purging: hidden at once, removed row by row, and never before the last event is out."""

import asyncio

import pytest

from shared.core.alarms import Kind
from shared.core.errors import BadRequest, NotFound, UpstreamUnavailable
from shared.core.ids import shard_of
from shared.core.records import Target
from tests.support.clocks import START_MS
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.stage import ANN, CALLBACK_URL, Stage

MINUTE_MS, DAY_MS = 60_000, 86_400_000


async def delete(stage: Stage, response_id: str) -> None:
    """Delete a response as its caller."""
    assert await stage.engine.delete(ANN, response_id) == response_id


async def grow(stage: Stage, response_id: str, count: int) -> None:
    """Give a response children until it has that many rows beside its record."""
    table = await stage.table()
    there = len(await rows(stage, response_id)) - 1
    keys = [f"resp|{response_id}|event|{n:010d}|00" for n in range(count - there)]
    for start in range(0, len(keys), 100):
        batch = [{"PartitionKey": shard_of(response_id), "RowKey": key} for key in keys[start : start + 100]]
        await table.submit_transaction([("create", row) for row in batch])


async def rows(stage: Stage, response_id: str) -> list[str]:
    """Return the keys of every row of a response, alarms included."""
    query = (await stage.table()).query_entities(f"PartitionKey eq '{shard_of(response_id)}'", select=["RowKey"])
    return [row["RowKey"] async for row in query if response_id in row["RowKey"] and "|purge|" not in row["RowKey"]]


async def purged_after_ms(stage: Stage, response_id: str) -> int:
    """Ring the alarms of a response until none is left; return how long after its creation that was."""
    while await stage.alarms(response_id):
        await stage.ring(response_id)
    assert await rows(stage, response_id) == []
    return stage.clock.ms - START_MS


# Deleting


async def test_a_deleted_response_is_gone_for_its_caller(stage: Stage) -> None:
    """From the delete on every call about it is a 404, before anything has been removed."""
    made = await stage.ended()
    await delete(stage, made.id)
    assert (await stage.record(made.id)).deleted
    for call in (stage.engine.retrieve, stage.engine.cancel, stage.engine.delete, stage.engine.deliveries):
        with pytest.raises(NotFound):
            await call(ANN, made.id)


async def test_a_delete_asks_for_the_purge_at_once(stage: Stage) -> None:
    """Its purge alarm moves to now, a sweep is asked for, and that leaves no row."""
    made = await stage.ended()
    await delete(stage, made.id)
    assert await stage.kinds(made.id) == [Kind.PURGE]
    assert stage.wakeups(made.id)[-1].delay_s == 0
    assert await purged_after_ms(stage, made.id) == 0


async def test_a_response_under_way_cannot_be_deleted(stage: Stage) -> None:
    """Only what is terminal can go."""
    made = await stage.create()
    with pytest.raises(BadRequest) as refused:
        await stage.engine.delete(ANN, made.id)
    assert refused.value.message == "Cannot delete an in-flight response."
    assert await stage.record(made.id) == made


async def test_deletes_at_the_same_time_are_one(stage: Stage) -> None:
    """Whoever comes second finds nothing any more or is told the same; one purge follows."""
    made = await stage.ended()
    deletes = [stage.engine.delete(ANN, made.id) for _ in range(3)]
    results = await asyncio.gather(*deletes, return_exceptions=True)
    assert made.id in results
    assert all(result == made.id or isinstance(result, NotFound) for result in results)
    assert await stage.kinds(made.id) == [Kind.PURGE]


async def test_a_delete_while_the_purge_is_under_way_still_hides(stage: Stage) -> None:
    """The purge alarm has been moved by a sweep: the response is hidden, and the purge finds it so."""
    made = await stage.ended()
    (purge,) = await stage.alarms(made.id)
    await stage.ports.store.move(shard_of(made.id), [(purge, purge.moved(purge.due_ms + MINUTE_MS))])
    await delete(stage, made.id)
    assert (await stage.record(made.id)).deleted
    await purged_after_ms(stage, made.id)
    assert stage.upstream.forgotten == ["up_0"]


async def test_a_delete_whose_answer_was_lost_is_done(stage: Stage) -> None:
    """Storage has committed: the caller is told so."""
    made = await stage.ended()

    lost = stage.proxy.drop_answer(is_transaction)
    await delete(stage, made.id)
    assert lost.happened.is_set()
    assert (await stage.record(made.id)).deleted


# Purging


@pytest.mark.parametrize("count", [1, 97, 98, 99, 100, 250])
async def test_rows_of_any_number_are_removed(stage: Stage, count: int) -> None:
    """In batches of up to 100, the record and its alarm with the last of them."""
    made = await stage.ended()
    await grow(stage, made.id, count)
    assert len(await rows(stage, made.id)) == count + 1
    await delete(stage, made.id)
    await stage.sweep(made.id)
    assert await stage.alarms(made.id) == []
    assert await rows(stage, made.id) == []


async def test_a_response_without_children_is_removed(stage: Stage) -> None:
    """A record whose request is gone already is no obstacle."""
    made = await stage.ended()
    await (await stage.table()).delete_entity(shard_of(made.id), f"resp|{made.id}|input|00")
    await delete(stage, made.id)
    await stage.sweep(made.id)
    assert await rows(stage, made.id) == []


async def test_a_purge_takes_at_most_twenty_batches_a_ring(stage: Stage) -> None:
    """What is left goes a second later, and the record stays until it does."""
    made = await stage.ended()
    await grow(stage, made.id, 2_050)
    await delete(stage, made.id)
    await stage.sweep(made.id)
    assert len(await rows(stage, made.id)) == 51
    (alarm,) = await stage.alarms(made.id)
    assert alarm.due_ms == stage.clock.ms + 1_000
    await stage.ring(made.id)
    assert await rows(stage, made.id) == []


async def test_a_purge_interrupted_between_batches_goes_on(stage: Stage) -> None:
    """Storage fails in the middle: the alarm was moved before, and rings for what is left."""
    made = await stage.ended()
    await grow(stage, made.id, 250)
    await delete(stage, made.id)
    lost = stage.proxy.drop_answer(lambda request: b"event" in request.body)
    await stage.sweep(made.id)
    assert lost.happened.is_set()
    assert await rows(stage, made.id)
    await purged_after_ms(stage, made.id)


async def test_neighbours_are_left_alone(stage: Stage) -> None:
    """Only rows of that very response go, also where another's id sorts just beside it."""
    made = await stage.ended()
    neighbour = made.id[:-1] + ("1" if made.id[-1] == "0" else chr(ord(made.id[-1]) - 1))
    await stage.put(neighbour, f"resp|{neighbour}", facts="{}")
    await stage.put(neighbour, f"resp|{neighbour}|input|00", p0=b"")
    await delete(stage, made.id)
    await stage.sweep(made.id)
    assert await rows(stage, made.id) == []
    assert len(await rows(stage, neighbour)) == 2


# How long it is kept


@pytest.mark.parametrize(("store", "kept_ms"), [(True, 30 * DAY_MS), (False, 10 * MINUTE_MS)])
async def test_a_response_is_kept_as_long_as_asked(stage: Stage, store: bool, kept_ms: int) -> None:
    """Thirty days after its end; one that is not to be stored for ten minutes, time enough to fetch it."""
    made = await stage.ended(store=store)
    assert await purged_after_ms(stage, made.id) == kept_ms
    assert stage.upstream.forgotten == ([] if store else ["up_0"])


async def test_the_upstreams_copy_of_a_deleted_response_is_deleted(stage: Stage) -> None:
    """What the caller deletes is deleted there too; an upstream that cannot be told does not keep our rows."""
    made = await stage.ended()
    await delete(stage, made.id)
    await purged_after_ms(stage, made.id)
    assert stage.upstream.forgotten == ["up_0"]


async def test_an_open_delivery_is_waited_for(stage: Stage) -> None:
    """A deleted response goes when its event has been delivered, ten minutes at a time."""
    stage.receiver.answers = [500, 500, 500, 200]
    made = await stage.ended(callback_url=CALLBACK_URL)
    await delete(stage, made.id)
    gone_ms = await purged_after_ms(stage, made.id)
    assert len(stage.receiver.posts) == 4
    assert gone_ms == 40 * MINUTE_MS  # delivered after 15 s + 5 s + 5 min + 30 min


@pytest.mark.parametrize(("store", "kept_ms"), [(True, 30 * DAY_MS), (False, DAY_MS)])
async def test_an_open_delivery_is_not_waited_for_beyond_retention(stage: Stage, store: bool, kept_ms: int) -> None:
    """A delivery that never ends keeps nothing for ever: retention, or a day for what is not stored."""
    made = await stage.ended(callback_url=CALLBACK_URL, store=store)
    (delivery, *_) = await stage.alarms(made.id)
    await stage.ports.store.remove(delivery)
    assert await purged_after_ms(stage, made.id) == kept_ms


async def test_a_delete_during_an_attempt_loses_neither(stage: Stage) -> None:
    """The receiver has the event when the response is deleted: the attempt is noted, then everything goes."""
    made = await stage.ended(callback_url=CALLBACK_URL)
    gate = stage.receiver.hold()
    attempt = asyncio.create_task(stage.ring(made.id))
    await gate.reached.wait()
    await delete(stage, made.id)
    gate.open()
    await attempt
    delivery = (await stage.record(made.id)).delivery(Target.CALLBACK)
    assert delivery is not None
    assert delivery.state == "delivered"
    await purged_after_ms(stage, made.id)
    assert len(stage.receiver.posts) == 1


async def test_an_upstream_that_is_away_does_not_hold_a_purge_up(stage: Stage) -> None:
    """Its copy goes with its own retention; ours goes now."""
    made = await stage.ended()
    stage.upstream.forget_errors = [UpstreamUnavailable("ConnectError")]
    await delete(stage, made.id)
    await stage.sweep(made.id)
    assert await rows(stage, made.id) == []
    assert stage.upstream.forgotten == []
