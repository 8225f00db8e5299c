"""The rows of gates in the table: transactions with a condition, and the registry."""

import pytest

from shared.core.errors import Conflict, StoreUnavailable
from shared.core.gates.plans import Changes, Rows
from shared.core.gates.state import GateState, Hold
from shared.storage.gates.gate_table import GateTable, NotAsPlanned
from tests.support.gate_places import NOW_MS, place
from tests.support.proxies.fault_proxy import is_transaction
from tests.support.stage import Stage

NAME = "gpt"


@pytest.fixture
async def table(stage: Stage) -> GateTable:
    """Return access to the stage's table, which is reached through its proxy."""
    return GateTable(await stage.table())


def taking(*numbers: int) -> Changes:
    """Return changes that give permits."""
    return Changes(holds_in=tuple(Hold(place(number), NOW_MS) for number in numbers))


async def test_a_gate_is_inserted_updated_and_deleted(table: GateTable) -> None:
    """Each write returns the row as it then is, with the ids of the last writes, newest first."""
    assert await table.read(NAME) is None
    first = await table.commit(NAME, None, GateState(used=1), taking(1), "one")
    assert first == await table.read(NAME)
    second = await table.commit(NAME, first, GateState(used=2), taking(2), "two")
    assert second == await table.read(NAME)
    assert second
    assert second.writes == ("two", "one")
    changes = Changes(holds_out=(place(1), place(2)))
    assert await table.commit(NAME, second, None, changes, "three") is None
    assert await table.read(NAME) is None
    assert await table.holds(NAME) == []


async def test_a_changed_gate_is_a_conflict(table: GateTable) -> None:
    """Whether it was inserted, updated or deleted meanwhile. Nothing is written."""
    first = await table.commit(NAME, None, GateState(used=1), taking(1), "one")
    with pytest.raises(Conflict):
        await table.commit(NAME, None, GateState(used=1), taking(2), "two")
    second = await table.commit(NAME, first, GateState(), Changes(), "three")
    with pytest.raises(Conflict):
        await table.commit(NAME, first, GateState(used=1), taking(2), "four")
    await table.commit(NAME, second, None, Changes(), "five")
    with pytest.raises(Conflict):
        await table.commit(NAME, second, None, Changes(), "six")
    assert [hold.place for hold in await table.holds(NAME)] == [place(1)]


async def test_a_row_that_is_not_as_planned_is_no_conflict(table: GateTable) -> None:
    """The gate has not changed, so the next plan may begin with it."""
    first = await table.commit(NAME, None, GateState(used=1), taking(1), "one")
    for changes in (taking(1), Changes(holds_out=(place(2),)), Changes(waits_out=(place(2),))):
        with pytest.raises(NotAsPlanned):
            await table.commit(NAME, first, GateState(), changes, "two")
    assert await table.read(NAME) == first
    assert await table.rows_of(NAME, [place(1), place(2), place(1)]) == {
        place(1).id: Rows(hold=True, wait=False),
        place(2).id: Rows(hold=False, wait=False),
    }


async def test_a_write_without_an_answer_is_known_by_its_id(stage: Stage, table: GateTable) -> None:
    """Its writer is told that the gate has changed, and finds its own id in it."""
    first = await table.commit(NAME, None, GateState(used=1), taking(1), "one")
    stage.proxy.drop_answer(is_transaction)
    with pytest.raises(Conflict):
        await table.commit(NAME, first, GateState(used=2), taking(2), "two")
    second = await table.read(NAME)
    assert second
    assert "two" in second.writes


async def test_a_write_that_did_not_arrive_is_sent_again(stage: Stage, table: GateTable) -> None:
    """Three times. Then it is not known whether it will be carried out."""
    first = await table.commit(NAME, None, GateState(used=1), taking(1), "one")
    before = stage.proxy.counts["POST $batch"]
    stage.proxy.refuse(is_transaction, None)
    with pytest.raises(StoreUnavailable):
        await table.commit(NAME, first, GateState(used=2), taking(2), "two")
    assert stage.proxy.counts["POST $batch"] - before == 3
    with pytest.raises(StoreUnavailable):
        await table.register(NAME)
    with pytest.raises(StoreUnavailable):
        await table.unregister(NAME, "etag")
    stage.proxy.heal()
    assert await table.read(NAME) == first


async def test_lines_are_read_in_order(table: GateTable) -> None:
    """The first 16 of a caller, and how many of each caller wait. A row that cannot be read is left out."""
    places = [place(number, caller) for caller in ("ann", "bob") for number in range(20)]
    await table.commit(NAME, None, GateState(), Changes(waits_in=tuple(reversed(places))), "one")
    assert await table.first_places(NAME, "ann") == [place(number) for number in range(16)]
    assert await table.waiting(NAME) == {"ann": 20, "bob": 20}
    assert await table.first_places(NAME, "nobody") == []


async def test_all_permits_are_read_page_by_page(table: GateTable) -> None:
    """Storage answers with 1,000 rows at most."""
    stored = None
    for start in range(0, 1_080, 90):
        changes = taking(*range(start, start + 90))
        stored = await table.commit(NAME, stored, GateState(used=start + 90), changes, f"w{start}")
    assert len(await table.holds(NAME)) == 1_080


async def test_a_permit_is_read_alone(table: GateTable) -> None:
    """By the id of its response."""
    await table.commit(NAME, None, GateState(used=1), taking(1), "one")
    assert await table.hold(NAME, place(1).id) == Hold(place(1), NOW_MS)
    assert await table.hold(NAME, place(2).id) is None


async def test_a_row_that_cannot_be_read_is_left_out(stage: Stage, table: GateTable) -> None:
    """It stops no other."""
    await table.commit(NAME, None, GateState(used=1), taking(1), "one")
    client = await stage.table()
    rows = [dict(row) async for row in client.list_entities()]
    hold = next(row for row in rows if row["RowKey"].startswith("hold"))
    await client.upsert_entity({**hold, "RowKey": "hold|x", "facts": "{"})
    assert [one.place for one in await table.holds(NAME)] == [place(1)]


async def test_the_registry_names_gates_with_rows(table: GateTable) -> None:
    """A name goes out only if nobody has noted it since it was read."""
    assert await table.registered() == []
    assert await table.registration(NAME) == ""
    await table.register(NAME)
    etag = await table.registration(NAME)
    await table.register(NAME)
    await table.unregister(NAME, etag)
    assert await table.registered() == [NAME]
    await table.unregister(NAME, await table.registration(NAME))
    assert await table.registered() == []
