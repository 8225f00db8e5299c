"""Rounds of a gate: what deaths and damage have left behind is found within two of them."""

from azure.data.tables import UpdateMode

from shared.core.gates import gate_keys
from shared.core.gates.state import Gate, Phase
from shared.gates.gates import Outlook
from tests.support.gate_processes import NAME, GateWorld, place


async def crowd(world: GateWorld, responses: int = 5) -> None:
    """Let more responses ask than there are permits."""
    for number in range(responses):
        await world.ask(world.process(number), place(number))


async def test_a_round_tells_how_the_gate_is(world: GateWorld) -> None:
    """A gate without rows has nothing to tell."""
    assert await world.first.gates.round(world.gate) is None
    await crowd(world)
    assert await world.first.gates.round(world.gate) == Outlook(Phase.OPEN, 3, 2, 0)
    await world.first.gates.refuse(world.gate, place(9), retry_after_s=9.0, reason="rate_limit")
    assert await world.process(1).gates.round(world.gate) == Outlook(Phase.CLOSED, 3, 3, world.time.ms + 9_000)


async def ended_in_two_rounds(world: GateWorld, response_id: str) -> None:
    """Let a response end whose process died before it gave back the permit, and let two rounds pass."""
    del world.at_work[response_id]
    world.over.add(response_id)
    for _ in range(2):
        world.time.advance(61)
        await world.first.gates.round(world.gate)
        await world.settle()


async def test_a_permit_of_an_ended_response_is_found(world: GateWorld) -> None:
    """Its process died before the release. The second round gives the permit to the line."""
    await crowd(world)
    ended = next(iter(world.at_work.values()))
    await ended_in_two_rounds(world, ended.id)
    assert len(world.at_work) == 3
    assert ended.id not in world.at_work


async def test_a_record_that_cannot_be_read_stops_the_audit_of_no_other(world: GateWorld) -> None:
    """Its permit stays, because its work may go on. A newer version may have written the record."""
    await crowd(world)
    first, ended, _ = list(world.at_work.values())
    world.unreadable.add(first.id)
    await ended_in_two_rounds(world, ended.id)
    assert first.id in world.at_work
    assert len(world.at_work) == 3


async def test_a_permit_of_an_ended_response_is_found_at_a_full_gate(world: GateWorld) -> None:
    """Nobody waits there, because a response that tries it by `then` waits elsewhere. It would stay full for ever."""
    await crowd(world, 3)
    ended = next(iter(world.at_work.values()))
    await ended_in_two_rounds(world, ended.id)
    state = await world.state()
    assert state
    assert (state.used, state.waiting) == (2, 0)


async def test_a_permit_of_work_that_goes_on_is_never_taken(world: GateWorld) -> None:
    """However old it is."""
    await crowd(world)
    held = set(world.at_work)
    await world.recover()
    assert set(world.at_work) == held
    state = await world.state()
    assert state
    assert (state.used, state.waiting) == (3, 2)


async def test_a_grant_that_nobody_acted_on_is_told_again(world: GateWorld) -> None:
    """The granter died after its commit. A round of another process starts the response."""
    world.limit(1)
    await crowd(world, 2)
    world.at_work.clear()
    world.over.add(place(0).id)
    world.processes[0].is_dead = True  # it commits, and does not act
    await world.processes[0].gates.release(world.gate, place(0).id, "ann")
    await world.settle()
    assert not world.at_work
    for _ in range(2):
        world.time.advance(61)
        await world.first.gates.round(world.gate)
        await world.settle()
    assert world.at_work.keys() == {place(1).id}


async def test_rows_are_checked_once_a_minute(world: GateWorld) -> None:
    """A second process that makes a round in the same minute reads no rows."""
    await crowd(world)
    world.time.advance(61)
    await world.process(0).gates.round(world.gate)
    before = world.stage.proxy.counts["GET responses()"]
    writes = world.stage.proxy.counts["POST $batch"]
    await world.process(1).gates.round(world.gate)
    assert world.stage.proxy.counts["GET responses()"] == before
    assert world.stage.proxy.counts["POST $batch"] == writes


async def test_a_gate_that_only_other_processes_have_is_left_to_them(world: GateWorld) -> None:
    """During a deployment, a process with older settings grants nothing and takes no permit for one of the past."""
    await crowd(world, 8)
    world.time.advance(110)
    at_work = set(world.at_work)
    world.over.update(at_work)  # to this process they pass no gate
    unknown = Gate(NAME, None, is_gone=True)
    outlook = await world.process(0).gates.round(unknown)
    await world.settle()
    assert outlook
    assert (outlook.used, outlook.waiting) == (3, 5)
    world.over -= at_work
    assert set(world.at_work) == at_work
    await world.end_all()
    assert len(world.order) == 8


async def test_damaged_counts_are_mended(world: GateWorld) -> None:
    """Somebody has removed rows by hand. A round makes the counts those of the rows, and grants what is free."""
    await crowd(world, 8)
    table, world.is_damaged = await world.stage.table(), True
    gone = next(iter(world.at_work.values()))
    del world.at_work[gone.id]
    world.over.add(gone.id)
    await table.delete(gate_keys.gate_partition(NAME), gate_keys.hold_key(gone.id))
    await table.delete(gate_keys.gate_partition(NAME), gate_keys.wait_key(place(4)))
    world.over.add(place(4).id)
    for _ in range(2):
        world.time.advance(61)
        await world.first.gates.round(world.gate)
        await world.settle()
    assert len(world.at_work) == 3
    await world.check()
    await world.end_all()
    assert await world.is_quiet()


async def test_a_place_that_is_gone_is_passed_over(world: GateWorld) -> None:
    """The row of the gate names it, and its row is missing. The next response gets the permit."""
    world.limit(1)
    await crowd(world, 3)
    table, world.is_damaged = await world.stage.table(), True
    await table.delete(gate_keys.gate_partition(NAME), gate_keys.wait_key(place(1)))
    world.over.add(place(1).id)
    await world.end(world.first, place(0))
    await world.settle()
    assert world.at_work.keys() == {place(2).id}


async def test_a_response_that_cannot_be_looked_up_keeps_its_permit(world: GateWorld) -> None:
    """An outage during the audit gives nothing back."""
    await crowd(world)
    world.cannot_be_read = True
    await world.recover()
    state = await world.state()
    assert state
    assert state.used == 3


async def test_a_registry_row_without_a_gate_is_removed(world: GateWorld) -> None:
    """A process died between the two. The round of the next heartbeat removes it."""
    table = await world.stage.table()
    key = gate_keys.registry_key(NAME)
    await table.create()
    await table.upsert_entity({"PartitionKey": gate_keys.REGISTRY, "RowKey": key, "name": NAME}, UpdateMode.MERGE)
    assert await world.first.gates.registered() == [NAME]
    assert await world.first.gates.round(world.gate) is None
    assert await world.first.gates.registered() == []
