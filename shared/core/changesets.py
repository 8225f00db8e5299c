"""A change set: one transaction about one response, decided from its record as it was read.

Change sets are built in the `*_transitions` modules and nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shared.core.alarms import Alarm
from shared.core.records import Record


@dataclass(frozen=True, slots=True)
class Row:
    """A row beside the record: the suffix of its key, and its properties."""

    suffix: str
    properties: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """What is written together, and which messages follow once it is written.

    `record` is the record as it is to be, with the ETag it was read with. An empty ETag inserts it.
    """

    record: Record
    alarms_in: tuple[Alarm, ...] = ()
    alarms_out: tuple[str, ...] = ()  # row keys
    rows: tuple[Row, ...] = ()
    index_in: tuple[str, ...] = ()  # row keys of index rows, which have no columns
    index_out: tuple[str, ...] = ()
    writes_body: bool = False
    wake_for: tuple[Alarm, ...] = ()  # the new alarms for which a sweep is asked
    deliver_now: tuple[Alarm, ...] = ()  # the new alarms for which a delivery is asked at once
    offers_run: bool = False  # whether a holder is asked for, for the record's epoch
    attributes: Mapping[str, str | int] = field(default_factory=dict, compare=False)  # for the log line about it

    def removing(self, alarm: Alarm | None) -> "ChangeSet":
        """Return this change set, which also removes an alarm if there is one."""
        return self if alarm is None else replace(self, alarms_out=(*self.alarms_out, alarm.key))
