"""Reads ranges of entries in all shards, and merges them into one list."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from shared.core import keys
from shared.core.entries import Entry, Listing
from shared.core.ids import SHARDS
from shared.runtime.ports import Ports


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many rows of one shard and range one page reads, at most, and one query."""

    most_rows: int = 5_000
    rows_a_query: int = 1_000


BOUNDS = Bounds()

Matches = Callable[[Entry], bool]
"""Returns whether a list shows an entry."""


@dataclass(slots=True)
class Lane:
    """What was read of one range of one shard: the entries that match, and the ids of those that are hidden.

    If there is more to read, `unread` is a place before it and behind everything that was read.
    """

    entries: list[Entry] = field(default_factory=list)
    hidden: set[str] = field(default_factory=set)
    unread: str | None = None
    rows: int = 0  # how many were read, at most


class Part(NamedTuple):
    """A part of a list, in its order. If there is more to read, `unread` is a place before it and behind the entries.

    `rows` is how many rows of one shard and range were read for it, at most.
    """

    entries: list[Entry]
    unread: str | None
    rows: int


@dataclass(frozen=True, slots=True)
class Ranges:
    """The ranges that a list is merged from: those of one caller, in the order in which they are read.

    A response that ends moves from the live range to the other. So the live one is read first: who moves meanwhile is
    in both, and counts once, as ended.
    """

    ports: Ports
    caller_tag: str
    listings: Sequence[Listing]
    matches: Matches
    bounds: Bounds = BOUNDS

    async def read(self, first: str, end: str, wanted: int) -> Part:
        """Return the entries with places from `first` on and below `end`, in the order of the list.

        At least `wanted` entries are read, if there are so many and the bounds allow it.
        """
        lanes: list[Lane] = []
        for listing in self.listings:
            prefix = keys.entries_from(listing, self.caller_tag)
            lanes += await asyncio.gather(*(self._lane(shard, prefix, first, end, wanted) for shard in SHARDS))
        return merged(lanes)

    async def _lane(self, shard: str, prefix: str, first: str, end: str, wanted: int) -> Lane:
        lane, following, size = Lane(), prefix + first, min(wanted, self.bounds.rows_a_query)
        while True:
            entries, more = await self.ports.store.entries(shard, following, prefix + end, size)
            lane.hidden |= {entry.id for entry in entries if entry.hidden}
            lane.entries += [entry for entry in entries if not entry.hidden and self.matches(entry)]
            lane.rows += size
            if more is None:
                return lane
            if len(lane.entries) >= wanted or lane.rows >= self.bounds.most_rows:
                lane.unread = more.removeprefix(prefix)
                return lane
            following, size = more, self.bounds.rows_a_query


def place_of(entry: Entry) -> str:
    """Return the place of an entry in a list."""
    return keys.entry_place(entry.created_ms, entry.id)


def merged(lanes: Sequence[Lane]) -> Part:
    """Return the entries of all lanes in the order of the list, as far as every lane was read.

    An entry of a later lane replaces that of an earlier one.
    """
    unread = min((lane.unread for lane in lanes if lane.unread), default=None)
    hidden = {response_id for lane in lanes for response_id in lane.hidden}
    found = {entry.id: entry for lane in lanes for entry in lane.entries if entry.id not in hidden}
    ordered = sorted(found.values(), key=place_of)
    entries = [entry for entry in ordered if unread is None or place_of(entry) < unread]
    return Part(entries, unread, max((lane.rows for lane in lanes), default=0))
