"""A change set: one transaction about one response, decided from its record as read.

Change sets are built only in `shared.transitions`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shared.core.alarms import Alarm
from shared.core.entries import DeliveryEntry, Entry
from shared.core.records import Record


@dataclass(frozen=True, slots=True)
class Row:
    """A row beside the record: the suffix of its row key, and its properties."""

    suffix: str
    properties: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class IndexRow:
    """A row that lists and recoveries read: its row key, and what it says beside that."""

    key: str
    entry: Entry | DeliveryEntry | None = None


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """The rows that one transaction writes, and the messages to send once it is committed.

    `record` is the new record, with the ETag of the record as read. An empty ETag inserts it.
    """

    record: Record
    alarms_in: tuple[Alarm, ...] = ()
    alarms_out: tuple[str, ...] = ()  # row keys
    rows: tuple[Row, ...] = ()
    index_in: tuple[IndexRow, ...] = ()
    index_changes: tuple[IndexRow, ...] = ()  # rows that are there
    index_out: tuple[str, ...] = ()  # row keys
    writes_body: bool = False  # whether the body of the record is written as well
    wake_for: tuple[Alarm, ...] = ()  # the new alarms that a wake-up is sent for
    offers_run: bool = False  # whether the run is offered to a new holder, for the record's epoch
    attributes: Mapping[str, str | int] = field(default_factory=dict, compare=False)  # for telemetry about the change

    def removing(self, alarm: Alarm | None) -> "ChangeSet":
        """Return the change set with the removal of `alarm` added. Without an alarm, return it unchanged."""
        return self if alarm is None else replace(self, alarms_out=(*self.alarms_out, alarm.key))
