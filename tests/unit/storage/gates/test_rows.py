"""The columns of the rows of gates: what was written is read, and what cannot be read is named."""

from typing import Any

import pytest

from shared.core import blobs
from shared.core.errors import UnreadableRow
from shared.core.gates.plans import Changes
from shared.core.gates.state import GateState, Hold, Line, Phase
from shared.storage.gates import rows
from shared.storage.table_client import Entity
from tests.support.gate_places import NOW_MS, line, place, state_of

MOST_PROPERTY = 65_536


def entity(columns: dict[str, Any]) -> Entity:
    """Return a row with these columns as it is read."""
    row = Entity({"odata.etag": "e"})
    row.update(columns)
    return row


@pytest.mark.parametrize(
    "state",
    [
        GateState(),
        state_of(line("ann", 1, 2, running=3, served=9), Line("bob", running=2), grants=2**40, checked_ms=NOW_MS),
        GateState(3, Phase.STEPPING, NOW_MS, "rate_limit", step=4, left=1, closings=2),
    ],
)
def test_a_gate_is_read_as_it_was_written(state: GateState) -> None:
    """With the ids of its last writes."""
    assert rows.read_gate(entity(rows.gate_columns(state, ("b", "a")))) == rows.StoredGate(state, "e", ("b", "a"))


def test_a_gate_with_many_lines_fits_into_its_row() -> None:
    """300 callers with one place each, or 20 with 15 each, and 1,000 callers at work."""
    many = [line(f"caller-{number:04d}", number, running=7, served=number) for number in range(300)]
    few = [line(f"caller-{number:04d}", *range(number * 15, number * 15 + 15)) for number in range(20)]
    working = [Line(f"caller-{number:04d}", running=number, served=number * 7) for number in range(1_000)]
    for lines in (many, few, working):
        assert len(rows.gate_columns(state_of(*lines), ())["lines"]) < MOST_PROPERTY


def test_what_is_missing_has_its_default_and_what_is_new_is_ignored() -> None:
    """An older or newer version has written the row."""
    assert rows.read_gate(entity({"used": 1, "later": "x"})).state == GateState(used=1)
    assert rows.read_hold(entity({"facts": '{"id":"a","caller":"b","later":1}'})).phase is Phase.OPEN


@pytest.mark.parametrize(
    "columns", [{"used": "x"}, {"state": "ajar"}, {"lines": b"x"}, {"lines": blobs.pack([{}])}, {"until": None}]
)
def test_a_row_that_is_no_gate_is_named(columns: dict[str, Any]) -> None:
    """Its value is not in the message."""
    with pytest.raises(UnreadableRow, match="not the columns of a gate"):
        rows.read_gate(entity(columns))


@pytest.mark.parametrize("facts", ["", "1", "{", "{}", '{"id":"a"}', '{"id":"a","caller":"b","created_ms":"x"}'])
def test_a_row_that_is_no_place_is_named(facts: str) -> None:
    """Neither a place nor a permit is read from it."""
    with pytest.raises(UnreadableRow):
        rows.read_wait(entity({"facts": facts}))
    with pytest.raises(UnreadableRow):
        rows.read_hold(entity({"facts": facts}))


@pytest.mark.parametrize("facts", ['{"id":"a","caller":"b","since_ms":"x"}', '{"id":"a","caller":"b","state":"x"}'])
def test_a_row_that_is_no_permit_is_named(facts: str) -> None:
    """It may be a place."""
    with pytest.raises(UnreadableRow, match="not a permit"):
        rows.read_hold(entity({"facts": facts}))


def test_permits_and_places_are_read_as_they_were_written() -> None:
    """What goes out is deleted, what comes in is inserted, and each row carries the facts of its response."""
    hold = Hold(place(1), NOW_MS, Phase.PROBING)
    changes = Changes((hold,), (place(2),), (place(3),), (place(4),))
    (_, hold_out), (_, wait_out), (_, wait_in), (_, hold_in) = rows.of_changes("p", changes)
    assert [row["RowKey"].partition("|")[0] for row in (hold_out, wait_out, wait_in, hold_in)] == [
        "hold", "wait", "wait", "hold"
    ]  # fmt: skip
    assert rows.read_wait(entity(wait_in)) == place(3)
    assert rows.read_hold(entity(hold_in)) == hold
