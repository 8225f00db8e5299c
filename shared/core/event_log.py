"""The event log of a response as rows of the table.

A row holds a batch of events, one line each, compressed. Its key contains the number of the batch's first event. A
batch has at most 256 events, so a reader that resumes after event N finds the batch of N + 1 without reading from the
start. A large event spans several rows. The end of a stream is a row without events, because the terminal events are
made from the record.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.core import blobs, keys
from shared.core.changesets import Row

MAX_EVENTS = 256
MAX_TEXT = 1_048_576  # bytes
ROWS_A_PAGE = 16  # more rows than the largest batch has


@dataclass(frozen=True, slots=True)
class Event:
    """One stream event: its type, and its JSON text without sequence number and continuation token."""

    kind: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive events, compressed. The first event has the number `first`.

    If `ends` is true, the batch has no events. The stream ends, and its first terminal event has the number `first`.
    """

    key: str
    first: int
    packed: bytes = field(repr=False)
    ends: bool = False

    @property
    def events(self) -> tuple[Event, ...]:
        """The events. They are decompressed at every call, so that the size of a page stays bounded."""
        return tuple(_event(line) for line in blobs.expand(self.packed).split(b"\n"))

    @property
    def next_key(self) -> str:
        """A row key above all rows of this batch and below those of the next batch."""
        return keys.after_batch(self.key)


@dataclass(frozen=True, slots=True)
class Page:
    """Consecutive batches. If `is_full` is true, more of them may be stored already."""

    batches: list[Batch]
    is_full: bool


def is_full(count: int, size: int) -> bool:
    """Return whether a batch with `count` events and `size` bytes of text takes no more events."""
    return count >= MAX_EVENTS or size >= MAX_TEXT


def batches(events: Iterable[Event]) -> list[list[Event]]:
    """Return the events in batches within the limits. An event that exceeds the size limit gets a batch alone."""
    found: list[list[Event]] = []
    size = 0
    for event in events:
        if not found or is_full(len(found[-1]), size + len(event.body)):
            found.append([])
            size = 0
        found[-1].append(event)
        size += len(event.body)
    return found


def event_rows(first: int, events: Iterable[Event]) -> tuple[Row, ...]:
    """Return the rows of events that are numbered from `first`.

    Raises Oversized if a batch is larger than MAX_PACKED when compressed.
    """
    made: list[Row] = []
    for batch in batches(events):
        made += _batch_rows(first, batch)
        first += len(batch)
    return tuple(made)


def end_row(number: int) -> Row:
    """Return the row that marks the end of a stream, whose first terminal event has this number."""
    return Row(keys.event_suffix(number, 0), {"ends": True, "rows": 1})


def size_of(rows: Iterable[Row]) -> int:
    """Return the number of bytes in the binary properties of the rows."""
    return sum(len(value) for row in rows for value in row.properties.values() if isinstance(value, bytes))


def batch_key_before(response_id: str, after: int) -> str:
    """Return a row key at or below the batch that contains the event after number `after`."""
    return keys.events_from(response_id, max(0, after + 2 - MAX_EVENTS))


def batch_key_at(response_id: str, found: Sequence[str], number: int) -> str:
    """Return the row key of the batch that contains the event with a number, from the row keys of the log up to it.

    `found` are the first of them from `batch_key_before` on. If they are not all, the log has to be read on from there.
    """
    if not found:
        return batch_key_before(response_id, number - 1)
    return keys.events_from(response_id, keys.first_event_of(found[-1]))


def read_page(found: Sequence[Mapping[str, Any]]) -> Page:
    """Return the whole batches in some rows. The rows of a batch that is cut off are left for the next page."""
    whole: list[Batch] = []
    at = 0
    while at < len(found):
        count = found[at].get("rows", 1)
        if at + count > len(found):
            break
        whole.append(_batch(found[at : at + count]))
        at += count
    return Page(whole, is_full=len(found) == ROWS_A_PAGE)


def _batch(found: Sequence[Mapping[str, Any]]) -> Batch:
    key = str(found[0]["RowKey"])
    first = keys.first_event_of(key)
    if found[0].get("ends"):
        return Batch(key, first, b"", ends=True)
    return Batch(key, first, blobs.joined(found))


def _batch_rows(first: int, batch: Sequence[Event]) -> list[Row]:
    text = b"\n".join(b"%b %b" % (event.kind.encode(), event.body) for event in batch)
    parts = blobs.split(blobs.compress(text))
    return [Row(keys.event_suffix(first, n), {**part, "rows": len(parts)}) for n, part in enumerate(parts)]


def _event(line: bytes) -> Event:
    kind, _, body = line.partition(b" ")
    return Event(kind.decode(), body)
