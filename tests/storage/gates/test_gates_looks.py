"""What the flows ask a gate before they ask for a permit."""

from shared.core.gates.state import Phase
from tests.support.gate_processes import GateWorld, place


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
