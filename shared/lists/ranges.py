"""Reads ranges of entries in all shards, and merges them into one list."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

from shared.core import keys
from shared.core.entries import Listing
from shared.core.ids import SHARDS
from shared.runtime.ports import Ports


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many rows of one shard and range are read at most: by one page, by one query, and by a window of time."""

    most_rows: int = 5_000
    rows_a_query: int = 1_000
    rows_a_window: int = 250  # of a list that is read oldest first


BOUNDS = Bounds()


class Listed(Protocol):
    """An entry of a list: its place, what it is known by, and whether its caller has deleted it."""

    @property
    def place(self) -> str:
        """The end of its row key. Places sort in the order of the list."""

    @property
    def name(self) -> str:
        """The same in every range that the entry may be in."""

    @property
    def hidden(self) -> bool:
        """Whether lists leave it out."""


T = TypeVar("T", bound=Listed)


@dataclass(slots=True)
class Lane(Generic[T]):
    """What was read of one range of one shard: the entries that match, and the names of those that are hidden.

    If there is more to read, `unread` is a place before it and behind everything that was read.
    """

    entries: list[T] = field(default_factory=list)
    hidden: set[str] = field(default_factory=set)
    unread: str | None = None
    rows: int = 0  # how many were read


class Part(NamedTuple, Generic[T]):
    """A part of a list, in its order. If there is more to read, `unread` is a place before it and behind the entries.

    `rows` is how many rows of one shard and range were read for it, at most.
    """

    entries: list[T]
    unread: str | None
    rows: int


class Found(NamedTuple, Generic[T]):
    """One page of a list. `next_place` is where the next page begins, or None if this is the last one."""

    entries: list[T]
    next_place: str | None


@dataclass(frozen=True, slots=True)
class Ranges(Generic[T]):
    """The ranges of a caller that a list is merged from, in the order in which they are read.

    An entry moves from one range to the next. So what moves while this reads is in both, and counts once, as it was
    read last. `decode` makes an entry of a row's key and facts, and `matches` says whether the list shows it.
    """

    ports: Ports
    caller_tag: str
    listings: Sequence[Listing]
    decode: Callable[[str, str], T]
    matches: Callable[[T], bool]
    bounds: Bounds = BOUNDS

    async def read(self, first: str, end: str, wanted: int, most_rows: int | None = None) -> Part[T]:
        """Return the entries with places from `first` on and below `end`, in the order of the list.

        At least `wanted` entries are read, if there are so many and `most_rows` of a shard and range hold them.
        """
        lanes: list[Lane[T]] = []
        for listing in self.listings:
            prefix = keys.entries_from(listing, self.caller_tag)
            most = most_rows or self.bounds.most_rows
            lanes += await asyncio.gather(*(self._lane(shard, prefix, first, end, wanted, most) for shard in SHARDS))
        return merged(lanes)

    async def page(self, after: str | None, end: str, limit: int) -> Found[T]:
        """Return up to `limit` entries behind the place `after`, or from the beginning, and below the place `end`."""
        part = await self.read(after + keys.AFTER if after else "", end, limit + 1)
        if len(part.entries) > limit:
            return Found(part.entries[:limit], part.entries[limit - 1].place)
        return Found(part.entries, part.unread and part.unread.removesuffix(keys.AFTER))

    async def _lane(self, shard: str, prefix: str, first: str, end: str, wanted: int, most_rows: int) -> Lane[T]:
        lane, following, size = Lane[T](), prefix + first, min(wanted, self.bounds.rows_a_query)
        while True:
            entries, more = await self.ports.store.entries(shard, following, prefix + end, size, self.decode)
            lane.hidden |= {entry.name for entry in entries if entry.hidden}
            lane.entries += [entry for entry in entries if not entry.hidden and self.matches(entry)]
            lane.rows += len(entries)
            if more is None:
                return lane
            if len(lane.entries) >= wanted or lane.rows >= most_rows:
                lane.unread = more.removeprefix(prefix)
                return lane
            following, size = more, self.bounds.rows_a_query


def merged(lanes: Sequence[Lane[T]]) -> Part[T]:
    """Return the entries of all lanes in the order of the list, as far as every lane was read.

    An entry of a later lane replaces that of an earlier one.
    """
    unread = min((lane.unread for lane in lanes if lane.unread), default=None)
    hidden = {name for lane in lanes for name in lane.hidden}
    found = {entry.name: entry for lane in lanes for entry in lane.entries if entry.name not in hidden}
    ordered = sorted(found.values(), key=lambda entry: entry.place)
    entries = [entry for entry in ordered if unread is None or entry.place < unread]
    return Part(entries, unread, max((lane.rows for lane in lanes), default=0))
