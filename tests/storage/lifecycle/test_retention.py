"""Deleting and purging: a response is hidden at once, and its rows are removed after its event is delivered."""

import asyncio
from urllib.parse import unquote_to_bytes

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
    """Add event rows to a response until it has `count` rows beside its record."""
    table = await stage.table()
    there = len(await children(stage, response_id))
    keys = [f"resp|{response_id}|event|{n:010d}|00" for n in range(count - there)]
    for start in range(0, len(keys), 100):
        batch = [{"PartitionKey": shard_of(response_id), "RowKey": key} for key in keys[start : start + 100]]
        await table.submit_transaction([("create", row) for row in batch])


async def rows(stage: Stage, response_id: str) -> list[str]:
    """Return the keys of all rows of a response except its purge alarm."""
    query = (await stage.table()).query_entities(f"PartitionKey eq '{shard_of(response_id)}'", select=["RowKey"])
    return [row["RowKey"] async for row in query if response_id in row["RowKey"] and "|purge|" not in row["RowKey"]]


async def children(stage: Stage, response_id: str) -> list[str]:
    """Return the keys of the rows beside the record of a response."""
    return [key for key in await rows(stage, response_id) if key.startswith(f"resp|{response_id}|")]


async def purged_after_ms(stage: Stage, response_id: str) -> int:
    """Act on the alarms of a response until none is left. Return how long after its creation that was, in ms."""
    while await stage.alarms(response_id):
        await stage.fire_alarms(response_id)
    assert await rows(stage, response_id) == []
    return stage.clock.ms - START_MS


# Deleting


async def test_a_deleted_response_is_not_found_by_its_caller(stage: Stage) -> None:
    """After a delete, every call for the response gets a 404, even before its rows are removed."""
    made = await stage.ended()
    await delete(stage, made.id)
    assert (await stage.record(made.id)).deleted
    for call in (stage.engine.retrieve, stage.engine.cancel, stage.engine.delete, stage.engine.deliveries):
        with pytest.raises(NotFound):
            await call(ANN, made.id)


async def test_a_delete_asks_for_the_purge_at_once(stage: Stage) -> None:
    """A delete moves the purge alarm to now and sends an immediate wake-up. The purge leaves no row."""
    made = await stage.ended()
    await delete(stage, made.id)
    assert await stage.kinds(made.id) == [Kind.PURGE]
    assert stage.wakeups(made.id)[-1].delay_s == 0
    assert await purged_after_ms(stage, made.id) == 0


async def test_a_response_under_way_cannot_be_deleted(stage: Stage) -> None:
    """Deleting a response that has not ended is refused."""
    made = await stage.create()
    with pytest.raises(BadRequest) as refused:
        await stage.engine.delete(ANN, made.id)
    assert refused.value.message == "Cannot delete an in-flight response."
    assert await stage.record(made.id) == made


async def test_deletes_at_the_same_time_are_one(stage: Stage) -> None:
    """Deletes at the same time succeed or find nothing, and one purge follows."""
    made = await stage.ended()
    deletes = [stage.engine.delete(ANN, made.id) for _ in range(3)]
    results = await asyncio.gather(*deletes, return_exceptions=True)
    assert made.id in results
    assert all(result == made.id or isinstance(result, NotFound) for result in results)
    assert await stage.kinds(made.id) == [Kind.PURGE]


async def test_a_delete_while_the_purge_is_under_way_still_hides(stage: Stage) -> None:
    """A delete hides the response even if a sweep has moved its purge alarm.

    The purge deletes the upstream's copy as well.
    """
    made = await stage.ended()
    (purge,) = await stage.alarms(made.id)
    await stage.ports.store.move(shard_of(made.id), [(purge, purge.moved(purge.due_ms + MINUTE_MS))])
    await delete(stage, made.id)
    assert (await stage.record(made.id)).deleted
    await purged_after_ms(stage, made.id)
    assert stage.upstream.forgotten == ["up_0"]


async def test_a_delete_whose_answer_was_lost_succeeds(stage: Stage) -> None:
    """If storage loses the answer to a delete, the delete still succeeds."""
    made = await stage.ended()

    lost = stage.proxy.drop_answer(is_transaction)
    await delete(stage, made.id)
    assert lost.happened.is_set()
    assert (await stage.record(made.id)).deleted


# Purging


@pytest.mark.parametrize("count", [1, 92, 93, 94, 97, 99, 100, 250])
async def test_rows_of_any_number_are_removed(stage: Stage, count: int) -> None:
    """A purge removes any number of rows in batches of up to 100. The last batch has the record and its alarm."""
    made = await stage.ended()
    await grow(stage, made.id, count)
    assert len(await children(stage, made.id)) == count
    await delete(stage, made.id)
    await stage.sweep(made.id)
    assert await stage.alarms(made.id) == []
    assert await rows(stage, made.id) == []


async def test_a_response_without_children_is_removed(stage: Stage) -> None:
    """A record without any rows beside it is purged."""
    made = await stage.ended()
    await (await stage.table()).delete_entity(shard_of(made.id), f"resp|{made.id}|input|00")
    await delete(stage, made.id)
    await stage.sweep(made.id)
    assert await rows(stage, made.id) == []


async def test_a_purge_removes_at_most_twenty_batches_at_a_time(stage: Stage) -> None:
    """A purge removes at most 20 batches at a time. The rest and the record are removed a second later."""
    made = await stage.ended()
    await grow(stage, made.id, 2_050)
    await delete(stage, made.id)
    await stage.sweep(made.id)
    assert len(await children(stage, made.id)) == 50
    (alarm,) = await stage.alarms(made.id)
    assert alarm.due_ms == stage.clock.ms + 1_000
    await stage.fire_alarms(made.id)
    assert await rows(stage, made.id) == []


async def test_a_purge_interrupted_between_batches_goes_on(stage: Stage) -> None:
    """If storage fails during a purge, the rest is removed when its alarm, which was moved before, is due again."""
    made = await stage.ended()
    await grow(stage, made.id, 250)
    await delete(stage, made.id)
    lost = stage.proxy.drop_answer(lambda request: b"event" in request.body)
    await stage.sweep(made.id)
    assert lost.happened.is_set()
    assert await rows(stage, made.id)
    await purged_after_ms(stage, made.id)


async def test_neighbours_are_left_alone(stage: Stage) -> None:
    """A purge removes only the rows of its response, even if another id sorts right beside it."""
    made = await stage.ended()
    neighbour = made.id[:-1] + ("1" if made.id[-1] == "0" else chr(ord(made.id[-1]) - 1))
    await stage.put(neighbour, f"resp|{neighbour}", facts="{}")
    await stage.put(neighbour, f"resp|{neighbour}|input|00", p0=b"")
    await delete(stage, made.id)
    await stage.sweep(made.id)
    assert await rows(stage, made.id) == []
    assert len(await rows(stage, neighbour)) == 2


# Retention


@pytest.mark.parametrize(("store", "kept_ms"), [(True, 30 * DAY_MS), (False, 10 * MINUTE_MS)])
async def test_a_response_is_kept_for_its_retention(stage: Stage, store: bool, kept_ms: int) -> None:
    """A response is kept for 30 days after its end, or for ten minutes with `store` false.

    If it was not to be stored, the purge deletes the upstream's copy as well.
    """
    made = await stage.ended(store=store)
    assert await purged_after_ms(stage, made.id) == kept_ms
    assert stage.upstream.forgotten == ([] if store else ["up_0"])


async def test_a_response_that_is_removed_in_several_steps_is_not_found_between_them(stage: Stage) -> None:
    """A process that dies after the first step leaves half of the rows. No caller sees the response without the others.

    The upstream's copy stays, because nobody has deleted the response.
    """
    made = await stage.ended()
    await grow(stage, made.id, 250)
    stage.clock.ms += 30 * DAY_MS
    lost = stage.proxy.drop_answer(lambda request: b"|event|" in unquote_to_bytes(request.body))
    await stage.sweep(made.id)
    assert lost.happened.is_set()
    assert len(await children(stage, made.id)) == 150
    with pytest.raises(NotFound):
        await stage.engine.retrieve(ANN, made.id)
    await purged_after_ms(stage, made.id)
    assert stage.upstream.forgotten == []


async def test_the_upstreams_copy_of_a_deleted_response_is_deleted(stage: Stage) -> None:
    """The purge of a deleted response deletes the upstream's copy."""
    made = await stage.ended()
    await delete(stage, made.id)
    await purged_after_ms(stage, made.id)
    assert stage.upstream.forgotten == ["up_0"]


async def test_a_purge_waits_for_an_open_delivery(stage: Stage) -> None:
    """A deleted response is kept until its event is delivered. The purge is postponed by ten minutes at a time."""
    stage.receiver.answers = [500, 500, 500, 200]
    made = await stage.ended(callback_url=CALLBACK_URL)
    await delete(stage, made.id)
    gone_ms = await purged_after_ms(stage, made.id)
    assert len(stage.receiver.posts) == 4
    assert gone_ms == 40 * MINUTE_MS  # delivered after 15 s + 5 s + 5 min + 30 min


@pytest.mark.parametrize(("store", "kept_ms"), [(True, 30 * DAY_MS), (False, DAY_MS)])
async def test_a_purge_does_not_wait_for_an_open_delivery_beyond_retention(
    stage: Stage, store: bool, kept_ms: int
) -> None:
    """A delivery that never ends delays the purge no longer than the retention, or than a day with `store` false."""
    stage.receiver.is_busy = True
    made = await stage.ended(callback_url=CALLBACK_URL, store=store)
    (delivery, *_) = await stage.alarms(made.id)
    await stage.ports.store.remove(delivery)
    assert await purged_after_ms(stage, made.id) == kept_ms


async def test_a_delete_during_an_attempt_loses_nothing(stage: Stage) -> None:
    """If a response is deleted during a delivery attempt, the attempt is noted before everything is removed."""
    gate = stage.receiver.hold()
    made = await stage.ended(callback_url=CALLBACK_URL)
    await gate.reached.wait()
    await delete(stage, made.id)
    gate.open()
    await stage.deliver()
    delivery = (await stage.record(made.id)).delivery(Target.CALLBACK)
    assert delivery is not None
    assert delivery.state == "delivered"
    await purged_after_ms(stage, made.id)
    assert len(stage.receiver.posts) == 1


async def test_an_unavailable_upstream_does_not_delay_a_purge(stage: Stage) -> None:
    """If the upstream is unavailable, the purge goes on. The upstream's copy is left to its own retention."""
    made = await stage.ended()
    stage.upstream.forget_errors = [UpstreamUnavailable("ConnectError")]
    await delete(stage, made.id)
    await stage.sweep(made.id)
    assert await rows(stage, made.id) == []
    assert stage.upstream.forgotten == []
