"""The event log of a response as rows of its partition.

A row holds a batch of events, one line each, compressed; its key ends in the number of the first. A batch has at most
256 events, so whoever resumes after N finds the batch that N + 1 is in without reading from the start. A large event
spans rows. The end of a stream is a row of its own without events: they are made from the record.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.core import blobs
from shared.core.changesets import Row
from shared.core.records import child_key

MAX_EVENTS = 256
MAX_TEXT = 1_048_576
ROWS_A_PAGE = 16  # rows; more than the largest batch has


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its type, and its JSON text without number and token."""

    kind: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that follow each other, the first with the number `first`; `ends`: the stream ends at that number."""

    key: str
    first: int
    packed: bytes = field(repr=False)
    ends: bool = False

    @property
    def events(self) -> tuple[Event, ...]:
        """The events, unpacked anew at every call: a page holds them packed, so that its size is bounded."""
        return tuple(_event(line) for line in blobs.expand(self.packed).split(b"\n"))

    @property
    def next_key(self) -> str:
        """A row key above all rows of this batch, and below those of the next."""
        return f"{self.key[:-2]}~"


@dataclass(frozen=True, slots=True)
class Page:
    """Batches that follow each other; `is_full`: there may be more of them now."""

    batches: list[Batch]
    is_full: bool


def is_full(count: int, size: int) -> bool:
    """Say whether a batch of so many events and bytes of text takes no more."""
    return count >= MAX_EVENTS or size >= MAX_TEXT


def batches(events: Iterable[Event]) -> list[list[Event]]:
    """Return the events in batches that are not over the limits; an event that is over them alone is one."""
    found: list[list[Event]] = []
    size = 0
    for event in events:
        if not found or is_full(len(found[-1]), size + len(event.body)):
            found.append([])
            size = 0
        found[-1].append(event)
        size += len(event.body)
    return found


def rows(first: int, events: Iterable[Event]) -> tuple[Row, ...]:
    """Return the rows of events numbered from `first`; raise Oversized if a batch is over the limit when packed."""
    made: list[Row] = []
    for batch in batches(events):
        made += _batch_rows(first, batch)
        first += len(batch)
    return tuple(made)


def end_row(number: int) -> Row:
    """Return the row that says: the stream ends with the events from this number on."""
    return Row(_suffix(number, 0), {"ends": True, "rows": 1})


def size(made: Sequence[Row]) -> int:
    """Return how many bytes of data the rows have."""
    return sum(len(value) for row in made for value in row.properties.values() if isinstance(value, bytes))


def first_key(response_id: str, after: int) -> str:
    """Return a row key at or before the batch that the event after this number is in."""
    return child_key(response_id, f"event|{max(0, after + 2 - MAX_EVENTS):010d}|")


def last_key(response_id: str) -> str:
    """Return a key above every row of the log."""
    return child_key(response_id, "event|~")


def read(found: Sequence[Mapping[str, Any]]) -> Page:
    """Return the whole batches that some rows hold; the rows of one that is cut off are left for the next page."""
    whole: list[Batch] = []
    at = 0
    while at < len(found):
        count = found[at].get("rows", 1)
        if at + count > len(found):
            break
        whole.append(_read(found[at : at + count]))
        at += count
    return Page(whole, is_full=len(found) == ROWS_A_PAGE)


def _read(found: Sequence[Mapping[str, Any]]) -> Batch:
    key = str(found[0]["RowKey"])
    first = int(key.split("|")[3])
    if found[0].get("ends"):
        return Batch(key, first, b"", ends=True)
    return Batch(key, first, blobs.from_rows(found))


def _batch_rows(first: int, batch: Sequence[Event]) -> list[Row]:
    text = b"\n".join(b"%b %b" % (event.kind.encode(), event.body) for event in batch)
    cut = blobs.to_rows(blobs.compress(text))
    return [Row(_suffix(first, n), {**properties, "rows": len(cut)}) for n, properties in enumerate(cut)]


def _suffix(first: int, n: int) -> str:
    return f"event|{first:010d}|{n:02d}"


def _event(line: bytes) -> Event:
    kind, _, body = line.partition(b" ")
    return Event(kind.decode(), body)
