"""Erasures on real storage: what is wanted goes, nothing else does, and a crash leaves nothing behind."""

from typing import Any

import orjson
import pytest

from shared.core.entries import Listing
from shared.core.ids import SHARDS, shard_of, tag
from shared.core.keys import entries_from
from shared.core.records import Record
from shared.core.states import Status
from shared.erasure.orders import parse_order
from shared.storage.messages import Wakeup
from tests.support.erasures import carried_out, erased, left
from tests.support.proxies.fault_proxy import is_transaction, is_write
from tests.support.stage import ANN, BOB, CALLBACK_URL, Stage

# What is erased


async def test_what_was_created_before_a_time_goes(stage: Stage) -> None:
    """Whether it has ended or not. What is younger stays, and so does what belongs to another caller."""
    ended, live, theirs = await stage.ended(), await stage.create(), await stage.ended(BOB)
    stage.clock.advance(60)
    before = str(stage.clock.ms // 1000)
    young = await stage.ended()
    receipt = await erased(stage, before=before)
    assert (receipt["cancelled"], receipt["deleted"]) == (1, 2)
    assert await left(stage, ended, live, theirs, young) == [theirs, young]
    assert live.upstream.token in stage.upstream.stopped or (await stage.record(live.id)).status is Status.CANCELLED


@pytest.mark.parametrize("name", ["user", "safety_identifier"])
async def test_what_a_person_has_asked_for_goes(stage: Stage, name: str) -> None:
    """By the id in either field, and only there."""
    other = "safety_identifier" if name == "user" else "user"
    theirs: list[dict[str, Any]] = [{name: "bert"}, {other: "anna"}, {}]
    wanted: dict[str, Any] = {name: "anna"}
    anna = await stage.ended(**wanted)
    kept = [await stage.ended(**fields) for fields in theirs]
    receipt = await erased(stage, **{name: "anna"})
    assert (receipt["deleted"], receipt["by"]) == (1, [name])
    assert await left(stage, anna, *kept) == kept


async def test_what_comes_after_the_order_stays(stage: Stage) -> None:
    """A person may come back while the erasure is under way."""
    await stage.ended(user="anna")
    stage.clock.advance(1)
    ordered = await stage.engine.erase(ANN, parse_order({"user": "anna"}, ANN.name))
    later = await stage.ended(user="anna")
    assert (await carried_out(stage, ordered, ANN))["deleted"] == 1
    assert await left(stage, later) == [later]


async def test_the_beginning_of_time_erases_nothing(stage: Stage) -> None:
    """A script that has no time may send a zero."""
    record = await stage.ended()
    for before in ("0", "1970-01-01T00:00:00Z"):
        assert (await erased(stage, before=before))["deleted"] == 0
    assert await left(stage, record) == [record]


async def test_a_time_in_the_future_is_the_time_of_the_order(stage: Stage) -> None:
    """Nobody can mean what does not exist yet."""
    old = await stage.ended()
    stage.clock.advance(1)
    ordered = await stage.engine.erase(ANN, parse_order({"before": "2099-01-01T00:00:00Z"}, ANN.name))
    young = await stage.ended()
    assert (await carried_out(stage, ordered, ANN))["deleted"] == 1
    assert await left(stage, old, young) == [young]


async def test_no_row_of_an_erased_response_is_left(stage: Stage) -> None:
    """Once their purges are over. The receipt has nothing of them."""
    records = [await stage.ended(user="anna", metadata={"k": "secret"}) for _ in range(4)]
    await erased(stage, user="anna")
    for record in records:
        while await stage.alarms(record.id):
            await stage.fire_alarms(record.id)
    rows = [row async for row in (await stage.table()).list_entities()]
    assert not [row for row in rows if any(record.id in row["RowKey"] for record in records)]
    assert "anna" not in str(rows)
    assert "secret" not in str(rows)


async def test_many_responses_are_erased_in_steps(stage: Stage) -> None:
    """Also more of one shard than one query reads."""
    records = []
    for n in range(160):
        stage.clock.ms += 1
        records.append(await stage.ended(key=f"{n}"))
    assert (await erased(stage, before=str(stage.clock.ms // 1000 + 5)))["deleted"] == 160
    assert await left(stage, *records[::16]) == []


# Responses of older releases


async def test_a_response_without_subjects_is_looked_into(stage: Stage) -> None:
    """An older release kept no hash of them, so the request is read."""
    anna, bert = await stage.ended(user="anna"), await stage.ended(user="bert")
    for record in (anna, bert):
        await as_older(stage, record, subjects=None, subjects_known=False)
    assert (await erased(stage, user="anna"))["deleted"] == 1
    assert await left(stage, anna, bert) == [bert]


async def test_a_response_that_is_in_no_list_is_found(stage: Stage) -> None:
    """By its record."""
    old, theirs = await stage.ended(), await stage.ended(BOB)
    for record in (old, theirs):
        await as_older(stage, record, listed="")
        await (await stage.table()).delete_entity(shard_of(record.id), entry_key_of(record))
    assert (await erased(stage, before=str(stage.clock.ms // 1000 + 5)))["deleted"] == 1
    assert await left(stage, old, theirs) == [theirs]


def entry_key_of(record: Record) -> str:
    """Return the row key of the entry of an ended response."""
    return f"{entries_from(Listing.ENDED, tag(record.caller))}{9_999_999_999_999 - record.created_ms}|{record.id}"


async def test_more_old_responses_than_one_request_finds_are_all_found(stage: Stage) -> None:
    """Storage says how to go on, in words of its own."""
    record = await stage.ended()
    shard, table = shard_of(record.id), await stage.table()
    row = await table.get_entity(shard, f"resp|{record.id}")
    facts = {name: value for name, value in orjson.loads(row["facts"]).items() if name != "listed"}
    ids = [f"resp_{shard}{n:031x}" for n in range(1_200)]
    for start in range(0, len(ids), 100):
        batch = [
            {"PartitionKey": shard, "RowKey": f"resp|{one}", "caller": "ann", "write_id": "", "body": b""}
            | {"facts": orjson.dumps({**facts, "id": one}).decode()}
            for one in ids[start : start + 100]
        ]
        await table.submit_transaction([("create", one) for one in batch])
    found, after = list[str](), ""
    for _ in range(10):
        named, after = await stage.ports.store.records_of(shard, "ann", after)
        found += named
        if not after:
            break
    assert sorted(found) == ids


async def test_an_entry_without_a_response_goes(stage: Stage) -> None:
    """An older release has purged the response, and knows no entries."""
    record = await stage.create(user="anna")
    await (await stage.table()).delete_entity(shard_of(record.id), f"resp|{record.id}")
    await erased(stage, user="anna")
    rows = [str(row["RowKey"]) async for row in (await stage.table()).list_entities()]
    assert not [key for key in rows if key.startswith("live|")]


async def as_older(stage: Stage, record: Record, **changes: Any) -> None:
    """Write a record, and its entry, as an older release would have left them."""
    table, shard = await stage.table(), shard_of(record.id)
    for key in (f"resp|{record.id}", entry_key_of(record)):
        row = await table.get_entity(shard, key)
        facts = {name: value for name, value in orjson.loads(row["facts"]).items() if name not in changes}
        await table.update_entity({"PartitionKey": shard, "RowKey": key, "facts": orjson.dumps(facts).decode()})


# Faults


async def test_an_erasure_goes_on_after_a_crash(stage: Stage) -> None:
    """Storage fails in the middle of a step. The next one finds what is left."""
    records = [await stage.ended(user="anna") for _ in range(6)]
    stage.clock.advance(1)
    ordered = await stage.engine.erase(ANN, parse_order({"user": "anna"}, ANN.name))
    stage.proxy.lose(is_write, 8)
    await stage.fire_alarms(f"resp_{ordered['id'].removeprefix('erasure_')}")
    stage.proxy.heal()
    receipt = await carried_out(stage, ordered, ANN)
    assert receipt["deleted"] <= 6
    assert await left(stage, *records) == []


async def test_a_damaged_response_stops_no_erasure(stage: Stage) -> None:
    """It is logged, and the receipt says that something may be left."""
    records = [await stage.ended(user="anna") for _ in range(4)]
    await stage.put(records[0].id, f"resp|{records[0].id}", facts="damaged")
    await as_older(stage, records[1], subjects=None, subjects_known=False)
    await stage.put(records[1].id, f"resp|{records[1].id}|input|00", p0=b"damaged")
    receipt = await erased(stage, user="anna")
    assert (receipt["deleted"], receipt["failed"], receipt["status"]) == (2, 2, "completed")


async def test_a_response_whose_rows_storage_refuses_to_change_stops_no_erasure(stage: Stage) -> None:
    """It would be refused again and again. The receipt says that something may be left."""
    records = [await stage.ended(user="anna") for _ in range(3)]
    name = records[0].id.encode()
    stage.proxy.refuse(lambda request: is_transaction(request) and name in request.body, 413)
    receipt = await erased(stage, user="anna")
    assert (receipt["deleted"], receipt["failed"], receipt["status"]) == (2, 1, "completed")


async def test_an_open_delivery_does_not_stop_an_erasure(stage: Stage) -> None:
    """The response is hidden at once. Its rows go when the delivery is over, at the latest after the retention."""
    stage.receiver.answers = [500]
    record = await stage.ended(callback_url=CALLBACK_URL)
    await stage.deliver()
    assert (await erased(stage, before=str(stage.clock.ms // 1000 + 5)))["deleted"] == 1
    assert await left(stage, record) == []


async def test_a_step_that_fails_for_ever_rests(stage: Stage) -> None:
    """A damaged row of an erasure stops nothing else. Its alarm gets a try an hour."""
    ordered = await stage.engine.erase(ANN, parse_order({"before": "5"}, ANN.name))
    name = f"resp_{ordered['id'].removeprefix('erasure_')}"
    await stage.put(name, f"erase|{name[5:]}", facts="damaged")
    waits_s = []
    for _ in range(7):
        await stage.fire_alarms(name)
        (alarm,) = await stage.alarms(name)
        waits_s.append((alarm.due_ms - stage.clock.ms) / 1000)
    assert 3_600 in waits_s


async def test_every_shard_is_looked_through(stage: Stage) -> None:
    """One response in each."""
    records: dict[str, Record] = {}
    n = 0
    while len(records) < len(SHARDS):
        record = await stage.ended(key=f"{(n := n + 1)}")
        records[record.id[5]] = record
    for shard in SHARDS:
        await stage.engine.sweep(Wakeup(shard, stage.clock.ms // 1000))
    receipt = await erased(stage, before=str(stage.clock.ms // 1000 + 5))
    assert receipt["deleted"] == n
    assert await left(stage, *records.values()) == []
