"""Alarms: rows that say "at this time, do this for that response".

The row key starts with the due time, so the due alarms of a shard are the first rows of its partition. An alarm carries
what its action needs, so that a poll that finds no change reads no record.
"""

import re
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

import orjson

PREFIX = "alarm|"
_KEY = re.compile(r"alarm\|([0-9]{13})\|([a-z]+)\|(resp_[0-9a-f]{32})(?:\|([0-9a-z]+))?")


class Kind(StrEnum):
    """What an alarm asks for."""

    START = "start"  # start the response upstream, or learn whether that has been done
    POLL = "poll"  # ask the upstream how far it is
    RUN = "run"  # drive the response; rings when its runner has stopped renewing
    DELIVER = "deliver"  # push the terminal event to a target
    STOP = "stop"  # tell the upstream to stop
    PURGE = "purge"  # remove the rows


# How long the action of a kind may take, plus 10 s: where a rung alarm is moved to, so that a death delays it, no more.
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
    attempt: int = 0  # rings since one last ended well
    tries: int = 0  # expected errors of the upstream in a row
    token: str = ""  # the upstream's
    born_ms: int = 0  # what the wait between polls grows with
    deadline_ms: int = 0  # when the response is given up
    read_ms: int = 0  # when the record was last read on behalf of this alarm
    missing_ms: int = 0  # since when the upstream answers 404
    epoch: int = 0  # of the run it belongs to
    trace: str = ""  # the traceparent that what it asks for is done under
    etag: str = ""

    @property
    def key(self) -> str:
        """The row key."""
        key = f"{PREFIX}{self.due_ms:013d}|{self.kind}|{self.id}"
        return f"{key}|{self.target}" if self.target else key

    def moved(self, due_ms: int, **changes: Any) -> "Alarm":
        """Return this alarm at a later time, at least 1 ms later, so that its key is a new one."""
        return replace(self, due_ms=max(due_ms, self.due_ms + 1), etag="", **changes)

    def at(self, due_ms: int, **changes: Any) -> "Alarm":
        """Return this alarm at another time, earlier or later; never at the same, so that its key is a new one."""
        return replace(self, due_ms=due_ms + (due_ms == self.due_ms), etag="", **changes)

    def facts(self) -> str:
        """Return, as JSON, what the row says beside its key."""
        facts = {name: value for name, value in asdict(self).items() if name in _FACTS and value}
        return orjson.dumps(facts).decode()


_TEXTS = frozenset({"token", "trace"})
_FACTS = frozenset(field.name for field in fields(Alarm)) - {"due_ms", "kind", "id", "target", "etag"}


def bound(due_ms: int) -> str:
    """Return the row key just above every alarm due at that time or earlier."""
    return f"{PREFIX}{due_ms:013d}}}"


def read_key(key: str) -> Alarm:
    """Return the alarm a row key names, without its facts; raise ValueError if it names none."""
    match = _KEY.fullmatch(key)
    if match is None:
        raise ValueError(f"not an alarm: {key}")
    due, kind, response_id, target = match.groups("")
    return Alarm(int(due), Kind(kind), response_id, target)


def read(key: str, facts: str, etag: str) -> Alarm:
    """Return the alarm of a row; raise ValueError or TypeError if the row is not one."""
    loaded = orjson.loads(facts)
    if not isinstance(loaded, dict):
        raise TypeError(f"no facts of an alarm: {key}")
    known = {name: value for name, value in loaded.items() if name in _FACTS}
    if not all(isinstance(value, str if name in _TEXTS else int) for name, value in known.items()):
        raise TypeError(f"facts of the wrong type: {key}")
    return replace(read_key(key), etag=etag, **known)
