"""Looks at a gate for those who show it: what they read of storage, and what they do without it."""

import asyncio

import pytest

from shared.core.errors import StoreUnavailable
from shared.core.gates.state import Phase
from shared.storage.gates.gate_table import GateTable
from shared.storage.gates.rows import StoredGate
from shared.storage.table_client import Table
from tests.support.clocks import Clock
from tests.support.fakes.peers import Gate
from tests.support.gate_processes import GateWorld, place
from tests.support.proxies.fault_proxy import StorageRequest
from tests.support.turns import GateTasks, gates_of


class LateTable(GateTable):
    """Access to the table whose first read has its answer late."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self.late, self.is_first = Gate(), True

    async def read(self, name: str) -> StoredGate | None:
        """Read the row, and return it when the test says so."""
        late, self.is_first = self.is_first, False
        stored = await super().read(name)
        if late:
            await self.late.wait()
        return stored


def is_of_gate(request: StorageRequest) -> bool:
    """Return whether a request reads the row of a gate."""
    return request.method == "GET" and "gate" in request.path


def requests_of(world: GateWorld) -> int:
    """Return how many storage requests there were so far."""
    return sum(world.stage.proxy.counts.values())


async def test_a_process_without_a_view_reads_once(world: GateWorld) -> None:
    """A hundred that ask at once share a read, also where the gate has no row. What was just seen is not read again."""
    gates = world.process(1).gates
    before = requests_of(world)
    assert await asyncio.gather(*(gates.seen(world.gate) for _ in range(100))) == [None] * 100
    assert requests_of(world) == before + 1
    await world.ask(world.process(2), place(0))
    before = requests_of(world)
    seen = await world.process(2).gates.seen(world.gate)
    assert seen
    assert (seen.used, requests_of(world)) == (1, before)


async def test_a_failed_read_is_not_repeated_at_once(world: GateWorld) -> None:
    """Storage that is away is asked once by all that ask, and they show what they have."""
    gates = world.process(1).gates
    fault = world.stage.proxy.refuse(is_of_gate)
    before = requests_of(world)
    results = await asyncio.gather(*(gates.seen(world.gate) for _ in range(20)), return_exceptions=True)
    assert {type(one) for one in results} == {StoreUnavailable}
    assert fault.happened.is_set()
    assert requests_of(world) == before + 1
    world.stage.proxy.heal()
    with pytest.raises(StoreUnavailable):
        await gates.seen(world.gate)
    assert await gates.look(world.gate) is None


async def test_what_a_transaction_sees_during_a_read_is_newer(world: GateWorld) -> None:
    """The answer that comes later does not hide it."""
    table, tasks = LateTable(await world.stage.table()), GateTasks()
    gates = gates_of(table, Clock(), tasks)
    looking = asyncio.create_task(gates.seen(world.gate))
    await table.late.reached.wait()
    await gates.refuse(world.gate, place(0), retry_after_s=None, reason="rate_limit")
    table.late.open()
    seen = await looking
    assert seen
    assert (seen.phase, seen.waiting) == (Phase.CLOSED, 1)
    await tasks.stopped()


async def test_what_a_permit_tells_of_the_phase_is_no_look(world: GateWorld) -> None:
    """A process that has read the permit of a probe knows the phase, and nothing of the lines. So it reads the row."""
    world.refuses = True
    await asyncio.gather(*(world.ask(world.process(0), place(number)) for number in range(3)))
    world.refuses = False
    world.time.advance(2)
    await world.settle()
    other = world.process(1).gates
    assert await other.holds(world.gate, place(0).id)
    assert await other.seen(world.gate) == await world.state()
