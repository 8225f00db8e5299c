"""One transaction about one response."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.core.alarms import Alarm
from shared.core.records import Record


@dataclass(frozen=True, slots=True)
class Row:
    """A child row to insert: its key's suffix and its properties."""

    suffix: str
    properties: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Write:
    """One transaction about one response, decided from the record as it was read.

    `record` is the record as it shall be, with the ETag it was read with: empty for a new one.
    """

    record: Record
    alarms_in: tuple[Alarm, ...] = ()
    alarms_out: tuple[str, ...] = ()  # row keys
    rows: tuple[Row, ...] = ()
    failures_in: tuple[str, ...] = ()  # row keys of deliveries that have failed
    failures_out: tuple[str, ...] = ()
    writes_body: bool = False
    wakes: tuple[Alarm, ...] = ()  # the new alarms a sweep is asked for, once written
    delivers: tuple[Alarm, ...] = ()  # the new alarms a delivery is asked for at once
    grants: bool = False  # whether a holder is asked for, for the record's epoch
    said: Mapping[str, str | int] = field(default_factory=dict, compare=False)  # what a line about it says beside
