"""Alarms: rows that say "at this time, do this for that response".

An alarm carries what its action needs, so a poll that finds no change does not read the record.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from shared.core import keys
from shared.core.records import Target


class Kind(StrEnum):
    """The action that an alarm asks for."""

    START = "start"  # start the response upstream, or find out whether it was started
    POLL = "poll"  # ask the upstream for the response's status
    RUN = "run"  # find a holder for the run: its lease has expired, or no process has claimed it
    DELIVER = "deliver"  # send the terminal event to a target
    STOP = "stop"  # tell the upstream to stop
    PURGE = "purge"  # remove rows that are no longer kept
    ERASE = "erase"  # take a step of an erasure, or remove its receipt


# How far ahead an alarm is moved before its action begins: the deadline of the action plus 10 s. If the process
# crashes, the alarm is due again at that time.
LEASE_MS = {
    Kind.POLL: 20_000,
    Kind.START: 30_000,
    Kind.RUN: 30_000,
    Kind.DELIVER: 20_000,  # an attempt takes 15 s at most, and begins at least 16 s before the alarm
    Kind.STOP: 20_000,
    Kind.PURGE: 70_000,
    Kind.ERASE: 70_000,
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm. Times are unix milliseconds. 0 means never."""

    due_ms: int
    kind: Kind
    id: str
    target: str = ""
    attempt: int = 0  # times it has fired since a success last reset the count
    tries: int = 0  # errors of the upstream in a row, or unclaimed offers of a run in a row
    unusable: int = 0  # how many of these errors are answers without a response object, or with an error in its place
    counted: int = 0  # tries that may have begun work upstream, the one under way included
    token: str = ""  # the upstream's continuation token
    upstream: str = ""  # the name of the upstream in the settings, as its record has it
    include: tuple[str, ...] = ()  # what the upstream is asked to add to the answer of a poll
    born_ms: int = 0  # when the response was created. The wait between polls grows with its age.
    deadline_ms: int = 0  # when the response, or stopping it upstream, is given up
    read_ms: int = 0  # when the record was last read for this alarm
    missing_ms: int = 0  # when the upstream began to answer 404
    epoch: int = 0  # the epoch of the run that it belongs to
    schedule: int = 1  # the schedule of the delivery that it belongs to
    caller: str = ""  # whose delivery it is
    host: str = ""  # where the delivery goes, or empty if no circuit breaker and no bulkhead can delay it
    first: bool = False  # no attempt of the delivery was claimed before
    trace: str = ""  # the W3C traceparent of the response
    unknown: Mapping[str, Any] = field(default_factory=dict, repr=False)  # members that only a newer version knows
    etag: str = ""

    @property
    def key(self) -> str:
        """The row key of the alarm."""
        return keys.alarm_key(self.due_ms, self.kind, self.id, self.target)

    def moved(self, due_ms: int, **changes: Any) -> "Alarm":
        """Return a copy that is due at `due_ms`, and at least 1 ms later than this alarm, so that its row key is new.

        `changes` are other fields to replace. The ETag is cleared, because the copy is not stored yet.
        """
        return replace(self, due_ms=max(due_ms, self.due_ms + 1), etag="", **changes)

    def at(self, due_ms: int, **changes: Any) -> "Alarm":
        """Return a copy that is due at `due_ms`, which may be earlier or later than this alarm.

        If this alarm is due at the same time, the copy is due 1 ms later, so that its row key is new. `changes` are
        other fields to replace. The ETag is cleared, because the copy is not stored yet.
        """
        return replace(self, due_ms=due_ms + (due_ms == self.due_ms), etag="", **changes)


def alarm_of(key: str) -> Alarm:
    """Return the alarm that a row key names. Fields that are not in the key have their defaults.

    Raises ValueError if the key is not that of an alarm, or if only a newer version knows its kind or its target.
    """
    named = keys.parse_alarm_key(key)
    if named.kind == Kind.DELIVER:
        Target(named.target)
    return Alarm(named.due_ms, Kind(named.kind), named.id, named.target)


class AnsweredPolls:
    """The poll alarms whose last poll in this process was answered as usual. Their next poll is a first attempt.

    To reset the count of attempts in the row takes a transaction for each response. A poll that kills its process is in
    none of these, so it is counted.
    """

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._keys: dict[str, None] = {}

    def note(self, alarm: Alarm) -> None:
        """Note that the poll of this alarm was answered. Of more than 20,000, the oldest are forgotten."""
        self._keys[alarm.key] = None
        while len(self._keys) > self._most:
            del self._keys[next(iter(self._keys))]

    def take(self, alarm: Alarm) -> bool:
        """Return whether the poll of this alarm was answered, and forget it."""
        if alarm.key not in self._keys:
            return False
        del self._keys[alarm.key]
        return True
