"""What the flows ask a gate before they ask for a permit, and what they are told if it cannot be written."""

import pytest

from shared.core.errors import StoreUnavailable
from shared.core.gates.state import Phase
from tests.support.gate_processes import GateWorld, place
from tests.support.proxies.fault_proxy import is_transaction


async def test_a_gate_without_rows_is_free(world: GateWorld) -> None:
    """Without a limit it needs no permit until a refusal, and then until it is open and nothing has a permit."""
    world.limit(None)
    gates = world.first.gates
    assert gates.is_free(world.gate)
    assert not gates.may_have_given(world.gate)
    assert await gates.look(world.gate) is None
    await gates.refuse(world.gate, place(0), retry_after_s=None, reason="rate_limit")
    assert not gates.is_free(world.gate)
    assert gates.may_have_given(world.gate)
    state = await gates.look(world.gate)
    assert state
    assert (state.phase, state.waiting) == (Phase.CLOSED, 1)
    world.limit(5)
    assert not world.process(1).gates.is_free(world.gate)
    assert world.process(1).gates.may_have_given(world.gate)


async def test_a_transaction_that_storage_refuses_is_sent_once(world: GateWorld) -> None:
    """It would be refused again. Afterwards the gate goes on."""
    await world.ask(world.first, place(0))
    stage = world.stage
    stage.proxy.refuse(is_transaction, 413)
    before = stage.proxy.counts["POST $batch"]
    with pytest.raises(StoreUnavailable):
        await world.first.gates.take(world.gate, place(1))
    assert stage.proxy.counts["POST $batch"] == before + 1
    stage.proxy.heal()
    assert await world.first.gates.take(world.gate, place(1)) is None
