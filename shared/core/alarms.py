"""Alarms: rows that say "at this time, do this for that response".

An alarm carries what its action needs, so a poll that finds no change does not read the record.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from shared.core import keys


class Kind(StrEnum):
    """What an alarm asks for."""

    START = "start"  # start the response upstream, or find out whether it was started
    POLL = "poll"  # ask the upstream for the response's status
    RUN = "run"  # find a holder for the run; rings when its holder has stopped renewing the lease
    DELIVER = "deliver"  # send the terminal event to a target
    STOP = "stop"  # tell the upstream to stop
    PURGE = "purge"  # remove the rows


# How far an alarm is moved before its action begins: the deadline of the action and 10 s. If the process dies, the
# alarm rings again then.
LEASE_MS = {
    Kind.POLL: 20_000,
    Kind.START: 30_000,
    Kind.RUN: 30_000,
    Kind.DELIVER: 25_000,
    Kind.STOP: 20_000,
    Kind.PURGE: 70_000,
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm. Times are unix milliseconds; 0 means never."""

    due_ms: int
    kind: Kind
    id: str
    target: str = ""
    attempt: int = 0  # rings since the last one that ended well
    tries: int = 0  # expected errors of the upstream in a row
    token: str = ""  # the upstream's continuation token
    born_ms: int = 0  # when the response was created: the wait between polls grows with its age
    deadline_ms: int = 0  # when the response is given up
    read_ms: int = 0  # when the record was last read on behalf of this alarm
    missing_ms: int = 0  # since when the upstream answers 404
    epoch: int = 0  # of the run that it belongs to
    trace: str = ""  # the traceparent of the response
    unknown: Mapping[str, Any] = field(default_factory=dict, repr=False)  # columns of a newer version
    etag: str = ""

    @property
    def key(self) -> str:
        """The row key."""
        return keys.alarm_key(self.due_ms, self.kind, self.id, self.target)

    def moved(self, due_ms: int, **changes: Any) -> "Alarm":
        """Return this alarm at a later time, at least 1 ms later, so that its key is a new one."""
        return replace(self, due_ms=max(due_ms, self.due_ms + 1), etag="", **changes)

    def at(self, due_ms: int, **changes: Any) -> "Alarm":
        """Return this alarm at another time, earlier or later but never the same, so that its key is a new one."""
        return replace(self, due_ms=due_ms + (due_ms == self.due_ms), etag="", **changes)


def alarm_of(key: str) -> Alarm:
    """Return the alarm that a row key names, without its columns; raise ValueError if it names none."""
    named = keys.parse_alarm_key(key)
    return Alarm(named.due_ms, Kind(named.kind), named.id, named.target)
