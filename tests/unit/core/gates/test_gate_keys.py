"""The keys of the rows of gates."""

from shared.core.gates import gate_keys
from tests.support.gate_places import place


def test_each_gate_has_a_partition() -> None:
    """It is derived from the name, which may have any characters."""
    assert gate_keys.gate_partition("a/b#c") == gate_keys.gate_partition("a/b#c")
    assert gate_keys.gate_partition("a") != gate_keys.gate_partition("b")
    assert set(gate_keys.gate_partition("a/b#c")) <= set("gate:0123456789bcdf")
    assert gate_keys.registry_key("a") == gate_keys.gate_partition("a").replace(":", "|")


def test_the_places_of_a_caller_are_in_order() -> None:
    """Older responses come first, and the line of another caller is apart."""
    keys = [gate_keys.wait_key(place(number)) for number in (1, 2, 15)]
    assert keys == sorted(keys)
    assert all(gate_keys.line_from("ann") < key < gate_keys.line_end("ann") for key in keys)
    assert not gate_keys.line_from("ann") < gate_keys.wait_key(place(1, "bob")) < gate_keys.line_end("ann")


def test_rows_of_one_gate_have_different_keys() -> None:
    """The gate, permits and places do not collide."""
    keys = {gate_keys.GATE, gate_keys.hold_key(place(1).id), gate_keys.wait_key(place(1))}
    assert len(keys) == 3
