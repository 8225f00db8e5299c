"""The table as it is, read past the service: what is open, what is overdue, and what has no owner."""

import json
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from azure.data.tables import TableClient

from local.chaos.load.ledger import Ledger
from local.chaos.plan import SKEW_S
from local.responses import TERMINAL

TABLE = "responses"
READ_S = 60
GRACE_MS = 15_000  # beside the skew of the clocks
OPEN_KINDS = frozenset({"start", "poll", "run", "stop", "erase"})
FAR_MS = 600_000
KEPT_MS = 360_000  # the five minutes, and a round of the gate
EXCUSED_S = 60.0  # a lease is at most 30 s, and is found by the heartbeat
RELEASE_S = 20.0  # how long a process tries to give a permit back
RESPONSE = re.compile(r"resp_[0-9a-f]{32}")


@dataclass(frozen=True)
class Alarm:
    """An alarm as its row key has it."""

    due_ms: int
    kind: str
    owner: str
    target: str


@dataclass
class Rows:
    """All rows of the table, by what they are. Records map ids to facts, and the others to the ids that they name."""

    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    children: dict[str, str] = field(default_factory=dict)
    alarms: dict[str, Alarm] = field(default_factory=dict)
    entries: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    live: dict[str, str] = field(default_factory=dict)
    deliveries: dict[str, str] = field(default_factory=dict)
    permits: dict[str, str] = field(default_factory=dict)
    repeats: set[str] = field(default_factory=set)
    used: int = 0
    count: int = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Take a row of the table, by its row key."""
        self.count += 1
        key = str(row["RowKey"])
        name, *parts = key.split("|")
        named = RESPONSE.search(key)
        owner = named[0] if named else ""
        plain = {
            "resp": self.children,
            "live": self.live,
            **dict.fromkeys(("open", "failed"), self.deliveries),
            **dict.fromkeys(("hold", "wait"), self.permits),
        }
        if name == "resp" and len(parts) == 1:
            self.records[owner] = {**_facts(row["facts"]), "status": row["status"]}
        elif name in plain:
            plain[name][key] = owner
        elif name == "alarm":
            self.alarms[key] = Alarm(int(parts[0]), parts[1], owner, parts[3] if len(parts) > 3 else "")
        elif name == "list":
            self.entries[owner].append(key)
        elif name == "same":
            self.repeats.add(f"resp_{parts[0]}")
        elif key == "gate":
            self.used += int(row.get("used") or 0)


def read_rows(connection: str, *, only_open: bool = False) -> Rows:
    """Return the rows of the table. With `only_open`, only alarms, unfinished entries, and the rows of gates."""
    rows = Rows()
    wanted = "RowKey lt 'list|' or (PartitionKey ge 'gate:' and PartitionKey lt 'gate;')"
    query = f"{wanted} or (RowKey ge 'live|' and RowKey lt 'live}}')" if only_open else "PartitionKey ge '0'"
    select = ["PartitionKey", "RowKey", "facts", "status", "used"]
    with TableClient.from_connection_string(
        connection, TABLE, retry_total=3, connection_timeout=5, read_timeout=READ_S
    ) as table:
        for row in table.query_entities(query, select=select):
            rows.add(row)
    return rows


def _facts(facts: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(facts) if isinstance(facts, str) else facts
    return found


def open_work(rows: Rows, now_ms: int | None = None) -> list[str]:
    """Return what is not settled yet: the keys of alarms that ask for work, unfinished entries, places in a line.

    A delivery that is due later, and the removal of what is kept, are settled. So is a `start` alarm at the deadline,
    hours from now: a response that was cancelled in its line leaves it there. `check_permits` judges permits.
    """
    due_ms = (time.time_ns() // 1_000_000 if now_ms is None else now_ms) + 2_000
    alarms = [key for key, one in rows.alarms.items() if _asks_for_work(one, due_ms) or one.due_ms <= due_ms]
    return [*alarms, *rows.live, *(key for key in rows.permits if key.startswith("wait|"))]


def _asks_for_work(alarm: Alarm, now_ms: int) -> bool:
    return alarm.kind in OPEN_KINDS and not (alarm.kind == "start" and alarm.due_ms > now_ms + FAR_MS)


def check_rows(ledger: Ledger, rows: Rows) -> None:
    """Check that nothing is overdue or left, and that each row has an owner."""
    now_ms = time.time_ns() // 1_000_000
    for key, alarm in rows.alarms.items():
        ledger.check("nothing is overdue", alarm.due_ms > now_ms - GRACE_MS, key)
        ledger.check("no work is left", not _asks_for_work(alarm, now_ms), key)
        is_owned = alarm.owner in rows.records or (alarm.target == "s" and alarm.owner in rows.repeats)
        ledger.check("no row without owner", is_owned, key)
    for key, owner in _owned(rows):
        ledger.check("no row without owner", owner in rows.records, key)
    for key in rows.live:
        ledger.check("no work is left", False, key)
    for response_id, record in rows.records.items():
        _check_record(ledger, rows, response_id, record)


def check_permits(ledger: Ledger, rows: Rows, spans: Sequence[tuple[float, float]]) -> None:
    """Check that no response has kept its permit without a cause, and that permits are counted.

    A cancelled response has five minutes to be stopped upstream. A fault at the end of a response, which is one of
    `spans` in unix seconds, may cost the return of its permit, and no line wants it now (invariant G3).
    """
    now_ms = time.time_ns() // 1_000_000
    for key, owner in rows.permits.items():
        ledger.check("no permit is kept", _may_keep(rows.records.get(owner), now_ms, spans), key)
    ledger.check("a gate counts its permits", rows.used == len(rows.permits), f"{rows.used}, not {len(rows.permits)}")


def _may_keep(record: dict[str, Any] | None, now_ms: int, spans: Sequence[tuple[float, float]]) -> bool:
    if record is None:
        return False
    ended_ms = record.get("ended_ms", 0)
    is_stopped = record["status"] == "cancelled" and ended_ms > now_ms - KEPT_MS
    return is_stopped or any(a < ended_ms / 1000 + RELEASE_S and b > ended_ms / 1000 - SKEW_S for a, b in spans)


def _owned(rows: Rows) -> Iterable[tuple[str, str]]:
    yield from rows.children.items()
    yield from rows.deliveries.items()
    yield from ((key, owner) for owner, keys in rows.entries.items() for key in keys)


def _check_record(ledger: Ledger, rows: Rows, response_id: str, record: dict[str, Any]) -> None:
    ledger.check("every record has ended", record["status"] in TERMINAL, f"{response_id}: {record['status']}")
    ledger.check("every end has its purge alarm", record.get("purge", "") in rows.alarms, response_id)
    listed = len(rows.entries.get(response_id, ()))
    ledger.check("every response is listed once", listed == 1, f"{response_id}: {listed} times")
    targets = {alarm.target for alarm in rows.alarms.values() if alarm.owner == response_id and alarm.kind == "deliver"}
    for delivery in record.get("deliveries", ()):
        is_open = delivery.get("state", "pending") == "pending"
        has_alarm = delivery["target"] in targets
        ledger.check("every open delivery has its alarm", has_alarm or not is_open, f"{response_id}: {delivery}")


def check_leases(
    ledger: Ledger, rows: Rows, lapsed: Iterable[tuple[str, float]], spans: Sequence[tuple[float, float]]
) -> None:
    """Check that no lease of a run has lapsed without a fault.

    `lapsed` are the ids of runs whose lease a host has found lapsed, and when, and `spans` are when there was a fault,
    in unix seconds.
    """
    bare = {one: at_s for one, at_s in lapsed if not any(a < at_s and b > at_s - EXCUSED_S for a, b in spans)}
    for response_id, record in rows.records.items():
        if record.get("mode") == "run":
            ledger.check("no lease lapses without a fault", response_id not in bare, response_id)
