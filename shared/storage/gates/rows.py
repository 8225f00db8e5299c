"""The columns of the rows of gates, and the operations that change them.

Counts and times of a gate have columns of their own, for people who look into the table. The lines are packed, because
a property has at most 64 KiB. What a column lacks has its default, and unknown members are ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from shared import json_text
from shared.core import blobs
from shared.core.errors import UnreadableRow
from shared.core.gates import gate_keys
from shared.core.gates.plans import Changes
from shared.core.gates.state import GateState, Hold, Line, Phase, Place
from shared.storage import operations
from shared.storage.table_client import Entity

WRITES = 16  # the write ids that the row of a gate keeps, newest first


@dataclass(frozen=True, slots=True)
class StoredGate:
    """The row of a gate as read or written: its state, its ETag, and the ids of its last writes, newest first."""

    state: GateState
    etag: str
    writes: tuple[str, ...] = ()


def gate_columns(state: GateState, writes: tuple[str, ...]) -> dict[str, Any]:
    """Return the columns of the row of a gate."""
    return {
        "used": state.used,
        "waiting": state.waiting,
        "state": str(state.phase),
        "until": str(state.until_ms),
        "reason": state.reason,
        "probe": state.probe,
        "step": state.step,
        "left": state.left,
        "closings": state.closings,
        "grants": str(state.grants),
        "checked": str(state.checked_ms),
        "named": str(state.named_ms),
        "lines": blobs.pack([_line(line) for line in state.lines.values()]),
        "write_id": ",".join(writes),
    }


def read_gate(row: Entity) -> StoredGate:
    """Return a gate from its row. Raises UnreadableRow."""
    try:
        lines = [_read_line(one) for one in blobs.unpack(row["lines"])] if row.get("lines") else []
        state = GateState(
            used=int(row.get("used", 0)),
            phase=Phase(row.get("state", "open")),
            until_ms=int(row.get("until", 0)),
            reason=str(row.get("reason", "")),
            probe=str(row.get("probe", "")),
            step=int(row.get("step", 0)),
            left=int(row.get("left", 0)),
            closings=int(row.get("closings", 0)),
            grants=int(row.get("grants", 0)),
            checked_ms=int(row.get("checked", 0)),
            named_ms=int(row.get("named", 0)),
            lines={line.caller: line for line in lines},
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UnreadableRow("gate: not the columns of a gate") from None
    return StoredGate(state, row.etag, tuple(str(row.get("write_id", "")).split(",")))


def read_wait(row: Entity) -> Place:
    """Return the response of a row of a line. Raises UnreadableRow."""
    return _read_place(_facts(row))


def read_hold(row: Entity) -> Hold:
    """Return the permit of a row. Raises UnreadableRow."""
    facts = _facts(row)
    try:
        return Hold(_read_place(facts), int(facts.get("since_ms", 0)), Phase(facts.get("state", "open")))
    except (ValueError, TypeError):
        raise UnreadableRow("facts: not a permit") from None


def of_changes(partition: str, changes: Changes) -> list[Any]:
    """Return the operations of a plan, beside that of the row of the gate."""
    sent = [operations.delete(partition, gate_keys.hold_key(place.id)) for place in changes.holds_out]
    sent += [operations.delete(partition, gate_keys.wait_key(place)) for place in changes.waits_out]
    sent += [_create(partition, gate_keys.wait_key(place), _place(place)) for place in changes.waits_in]
    sent += [_create(partition, gate_keys.hold_key(hold.place.id), _hold(hold)) for hold in changes.holds_in]
    return sent


def _create(partition: str, key: str, facts: Mapping[str, Any]) -> Any:
    return operations.create(partition, key, {"facts": orjson.dumps(facts).decode()})


def _hold(hold: Hold) -> dict[str, Any]:
    return _place(hold.place) | {"since_ms": hold.since_ms, "state": str(hold.phase)}


def _place(place: Place) -> dict[str, Any]:
    return {
        "id": place.id,
        "caller": place.caller,
        "created_ms": place.created_ms,
        "deadline_ms": place.deadline_ms,
        "start_due_ms": place.start_due_ms,
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        "caller": line.caller,
        "running": line.running,
        "put": line.put,
        "taken": line.taken,
        "served": line.served,
        "since": line.since,
        "next": [[one.id, one.created_ms, one.deadline_ms, one.start_due_ms] for one in line.next],
    }


def _read_line(line: Mapping[str, Any]) -> Line:
    caller = str(line["caller"])
    return Line(
        caller,
        running=int(line.get("running", 0)),
        put=int(line.get("put", 0)),
        taken=int(line.get("taken", 0)),
        served=int(line.get("served", 0)),
        since=int(line.get("since", 0)),
        next=tuple(Place(str(one[0]), caller, *map(int, one[1:4])) for one in line.get("next", ())),
    )


def _facts(row: Entity) -> dict[str, Any]:
    try:
        facts = json_text.read(row.get("facts", ""))
    except ValueError:
        facts = None
    if not isinstance(facts, dict):
        raise UnreadableRow("facts: not an object")
    return facts


def _read_place(facts: Mapping[str, Any]) -> Place:
    try:
        times = (int(facts.get(name, 0)) for name in ("created_ms", "deadline_ms", "start_due_ms"))
        return Place(str(facts["id"]), str(facts["caller"]), *times)
    except (ValueError, TypeError, KeyError):
        raise UnreadableRow("facts: not a place in a line") from None
