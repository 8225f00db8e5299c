"""The row keys of the table: how each is built and read. PartitionKey is the shard, one hex digit.

| RowKey | row |
|---|---|
| `alarm|<due, 13-digit unix ms>|<kind>|<id>[|<target>]` | an alarm: "at this time, do this for that response" |
| `conv|<32 hex digits>` | whose conversation of the upstream it is, by the hash of its id |
| `erase|<32 hex digits>` | an erasure, and later its receipt |
| `failed|<caller tag>|<failed, 13-digit unix ms>|<id>|<target>` | a delivery that was given up |
| `list|<caller tag>|<9999999999999 - created, unix ms>|<id>` | an ended response in the lists, newest first |
| `live|<caller tag>|<9999999999999 - created, unix ms>|<id>` | an unfinished one |
| `open|<caller tag>|<ended, 13-digit unix ms>|<id>|<target>` | a delivery that is still tried after failures |
| `resp|<id>` | the record, which is the truth about a response |
| `resp|<id>|attempt|<target>|<schedule, 3 digits>|<number, 4>` | one delivery attempt. Old rows lack the schedule |
| `resp|<id>|body|<nn>` | a part of the response object, where it does not fit into the record |
| `resp|<id>|event|<number of the first event, 10 digits>|<nn>` | a batch of stream events, or a part of one |
| `resp|<id>|input|<nn>` | a part of the request |
| `resp|<id>|legacy|<nn>` | a part of an agent's session, for the response that continues this one |
| `resp|<id>|memo|<number, 6 digits>|<nn>` | a part of a checkpoint of an agent's run |
| `same|<32 hex digits>` | the work that a repeat of a foreground call joins |
| `usage|<caller tag>|<day, such as 2027-01-31>|<model tag>` | sums over purged responses that ended on that day |
| `upstream|<32 hex digits>` | the response that an upstream's id belongs to |

Azure compares row keys as text, so numbers have a fixed width. Everything of a response is in its shard, and so are its
alarms: one entity group transaction can change them together. The due alarms of a shard are its first rows.
"""

import hashlib
import re
from typing import NamedTuple

_ALARM = re.compile(r"alarm\|([0-9]{13})\|([a-z]+)\|(resp_[0-9a-f]{32})(?:\|([0-9a-z]+))?")
_ENTRY = re.compile(r"(?:live|list)\|[0-9a-f]{16}\|([0-9]{13})\|(resp_[0-9a-f]{32})")
_DELIVERY = re.compile(r"(?:open|failed)\|[0-9a-f]{16}\|([0-9]{13})\|(resp_[0-9a-f]{32})\|([0-9a-z]+)")
LAST_MS = 9_999_999_999_999  # the last time that 13 digits hold, in the year 2286
ALARMS = "alarm|"
AFTER = "!"  # below every character that follows in a longer key, so KEY + AFTER comes right after KEY
END = "~"  # above every character of a key: PREFIX + END is above all keys with that prefix
INPUT = "input"
BODY = "body"
SESSION = "legacy"
CHECKPOINTS = "memo"
ATTEMPTS = "attempt"


class AlarmKey(NamedTuple):
    """The content of an alarm's row key. `due_ms` is unix milliseconds, and `target` is empty if there is no target."""

    due_ms: int
    kind: str
    id: str
    target: str


class EntryKey(NamedTuple):
    """The content of the row key of a list's entry."""

    created_ms: int
    id: str


class DeliveryKey(NamedTuple):
    """The content of the row key of a delivery in the lists."""

    at_ms: int
    id: str
    target: str


# Alarms


def alarm_key(due_ms: int, kind: str, response_id: str, target: str = "") -> str:
    """Return the row key of an alarm that is due at `due_ms`, in unix milliseconds."""
    key = f"{ALARMS}{due_ms:013d}|{kind}|{response_id}"
    return f"{key}|{target}" if target else key


def alarms_until(due_ms: int) -> str:
    """Return a key above every alarm that is due at `due_ms` or earlier, and below every later one."""
    return f"{ALARMS}{due_ms:013d}}}"


def parse_alarm_key(key: str) -> AlarmKey:
    """Return the content of an alarm's row key. Raises ValueError if the key is not that of an alarm."""
    match = _ALARM.fullmatch(key)
    if match is None:
        raise ValueError(f"not an alarm: {key}")
    due, kind, response_id, target = match.groups("")
    return AlarmKey(int(due), kind, response_id, target)


# Deliveries in the lists


def delivery_key(listing: str, caller_tag: str, at_ms: int, response_id: str, target: str) -> str:
    """Return the row key of a delivery that is in trouble since `at_ms`, in unix milliseconds."""
    return f"{deliveries_from(listing, caller_tag, at_ms)}|{response_id}|{target}"


def deliveries_from(listing: str, caller_tag: str, at_ms: int) -> str:
    """Return a key at or below every delivery of a caller that is in trouble since `at_ms` or later."""
    return f"{listing}|{caller_tag}|{at_ms:013d}"


def parse_delivery_key(key: str) -> DeliveryKey:
    """Return the content of the row key of a delivery in the lists. Raises ValueError if the key is not one."""
    match = _DELIVERY.fullmatch(key)
    if match is None:
        raise ValueError(f"not a delivery: {key}")
    return DeliveryKey(int(match[1]), match[2], match[3])


# Entries of the lists


def entry_key(listing: str, caller_tag: str, created_ms: int, response_id: str) -> str:
    """Return the row key of the entry of a response. Of one caller, younger ones come first."""
    return entries_from(listing, caller_tag) + entry_place(created_ms, response_id)


def entries_from(listing: str, caller_tag: str = "") -> str:
    """Return a key below every row of a caller in one range of the lists, or of all callers."""
    return f"{listing}|{caller_tag}|" if caller_tag else f"{listing}|"


def entry_place(created_ms: int, response_id: str = "") -> str:
    """Return the end of the row key of an entry, which is also its place in a list: younger ones come first.

    Without an id, return the place before all that were created at `created_ms`.
    """
    return f"{LAST_MS - created_ms:013d}|{response_id}"


def parse_entry_place(place: str) -> tuple[int, str]:
    """Return the time in unix milliseconds and the id, or an empty one, that a place in a list was made from."""
    time, _, response_id = place.partition("|")
    return LAST_MS - int(time), response_id


def parse_entry_key(key: str) -> EntryKey:
    """Return the content of the row key of an entry. Raises ValueError if the key is not one."""
    match = _ENTRY.fullmatch(key)
    if match is None:
        raise ValueError(f"not an entry: {key}")
    return EntryKey(LAST_MS - int(match[1]), match[2])


# Erasures


def erasure_key(erasure_id: str) -> str:
    """Return the row key of an erasure, whose id has the form of a response's."""
    return f"erase|{erasure_id.removeprefix('resp_')}"


# Usage


def usage_key(caller_tag: str, day: str, model_tag: str) -> str:
    """Return the row key of the sums over purged responses of a model that ended on a day, such as `2027-01-31`."""
    return f"{usage_from(caller_tag, day)}|{model_tag}"


def usage_from(caller_tag: str, day: str) -> str:
    """Return a key below every row of sums of a caller for this day or a later one."""
    return f"usage|{caller_tag}|{day}"


# Responses


def record_key(response_id: str) -> str:
    """Return the row key of a record."""
    return f"resp|{response_id}"


def child_key(response_id: str, suffix: str) -> str:
    """Return the row key of a row beside a record."""
    return f"resp|{response_id}|{suffix}"


def children_from(response_id: str, name: str = "") -> str:
    """Return a key below every row beside a record, or below those with one name."""
    return child_key(response_id, f"{name}|" if name else "")


def part_suffix(name: str, part: int) -> str:
    """Return the suffix of one part of a large value."""
    return f"{name}|{part:02d}"


def checkpoint_suffix(number: int, part: int) -> str:
    """Return the suffix of one part of a checkpoint."""
    return f"{CHECKPOINTS}|{number:06d}|{part:02d}"


def checkpoint_of(key: str) -> str:
    """Return the common prefix of the row keys of a checkpoint's parts, from one of these keys."""
    return key.rpartition("|")[0]


def attempt_suffix(target: str, schedule: int, number: int) -> str:
    """Return the suffix of a delivery attempt. `number` is its number in the schedule, from 1."""
    return f"{ATTEMPTS}|{target}|{schedule:03d}|{number:04d}"


def attempt_target(key: str) -> str:
    """Return the target of a delivery attempt, from its row key."""
    return key.split("|")[3]


# Stream events


def event_suffix(first: int, part: int) -> str:
    """Return the suffix of one part of a batch of events whose first event has the number `first`."""
    return f"event|{first:010d}|{part:02d}"


def events_from(response_id: str, first: int) -> str:
    """Return a key at or below the batch whose first event has the number `first`."""
    return child_key(response_id, f"event|{first:010d}|")


def events_end(response_id: str) -> str:
    """Return a key above every row of the event log."""
    return child_key(response_id, f"event|{END}")


def first_event_of(key: str) -> int:
    """Return the number of the first event of a batch, from the row key of one of its parts."""
    return int(key.split("|")[3])


def after_batch(key: str) -> str:
    """Return a key above every part of a batch and below the next batch, from the row key of its first part."""
    return f"{key[:-2]}{END}"


# Repeats of foreground calls

REPEATS_TARGET = "s"  # of the alarm that removes such a row
UNTIL = "until"  # its column that says how long it is kept, in unix milliseconds


def repeats_key(owner: str) -> str:
    """Return the key of the row that says which work a POST joins. `owner` is an id derived from caller and body."""
    return f"same|{owner.removeprefix('resp_')}"


# Conversations of the upstream


def conversation_key(owner: str) -> str:
    """Return the key of the row that says whose conversation it is. `owner` is an id derived from its id."""
    return f"conv|{owner.removeprefix('resp_')}"


# Upstream ids


def upstream_owner(upstream_id: str, upstream: str = "") -> str:
    """Return an id that is derived from an upstream's id and has the form of a response id.

    Its first hex digit is the shard of the row. `upstream` is the name that records have, which is empty for the
    default upstream.
    """
    named = f"{upstream}\n{upstream_id}" if upstream else upstream_id
    return f"resp_{hashlib.sha256(named.encode()).hexdigest()[:32]}"


def upstream_key(owner: str) -> str:
    """Return the key of the row that says which response an upstream's id belongs to.

    `owner` is what `upstream_owner` returns.
    """
    return f"upstream|{owner.removeprefix('resp_')}"
