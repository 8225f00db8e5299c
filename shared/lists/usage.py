"""What a caller has used, by day and model.

A response is counted by its entry until it is purged, and then in the sums of its day. Its purge moves it from one to
the other in one transaction. So if the sums are the same before and after the entries are read, each was counted once.

One day is always answered. Where that takes too long, or purges come all the time, the sums are marked as not whole:
no response is counted twice in them, and some may be missing.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum
from typing import TypeVar

from shared.core import ids, keys
from shared.core.entries import Listing
from shared.core.errors import BadRequest, Unavailable
from shared.core.usage import UsageSums, summed, usage_of
from shared.lists.queries import UsageQuery
from shared.runtime.ports import Ports
from shared.storage import codec

LEAST_DEADLINE = timedelta(days=1)  # that is assumed, because the setting may have been longer
TRIES = 5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one call reads: rows of a shard, of several days or of all callers, and seconds. A day has no bound."""

    most_rows: int | None = 20_000
    within_s: float = 100.0  # with the last request to storage, less than what Azure's front end gives an answer
    rows_a_query: int = 1_000


BOUNDS = Bounds()


class Missing(IntEnum):
    """Why sums are not whole."""

    NOTHING = 0
    PURGED = 1  # purges came between all reads
    UNREAD = 2  # there is more than one call reads


@dataclass(frozen=True, slots=True)
class Used:
    """What a caller has used, by day and model, and why that is not whole, if it is not."""

    sums: list[UsageSums]
    missing: Missing = Missing.NOTHING


async def usage_of_caller(ports: Ports, caller: str, query: UsageQuery, bounds: Bounds) -> Used:
    """Return what a caller has used in whole days of UTC. Only the sums of one day may not be whole.

    Raises BadRequest if there is more in several days than one call reads, and Unavailable if purges come between its
    reads of several days all the time.
    """
    until_s = ports.clock.elapsed_s() + bounds.within_s
    if query.is_one_day:
        return await _read(ports, caller, query, replace(bounds, most_rows=None), until_s)
    used = await _read(ports, caller, query, bounds, until_s)
    match used.missing:
        case Missing.UNREAD:
            message = "These days have more responses than one call reads. Ask for fewer. One day is always answered."
            raise BadRequest(message, param="from", code="too_many")
        case Missing.PURGED:
            raise Unavailable("Responses are being purged. Ask again.", code="busy")
    return used


async def usage_of_all(ports: Ports, callers: Sequence[str], query: UsageQuery, bounds: Bounds) -> dict[str, Used]:
    """Return what each caller has used in whole days of UTC. Those of a busy one may not be whole.

    Callers with few responses come first, so that a busy one does not use up the time of the others.
    """
    until_s = ports.clock.elapsed_s() + bounds.within_s
    found = {name: await _read(ports, name, query, bounds, until_s) for name in callers}
    unread = [name for name, used in found.items() if used.missing is Missing.UNREAD] if query.is_one_day else []
    for name in unread:
        if ports.clock.elapsed_s() < until_s:
            found[name] = await _read(ports, name, query, replace(bounds, most_rows=None), until_s)
    return found


async def _read(ports: Ports, caller: str, query: UsageQuery, bounds: Bounds, until_s: float) -> Used:
    readings = [_Reading(ports, shard, ids.tag(caller), query, bounds, until_s) for shard in ids.SHARDS]
    shards = await asyncio.gather(*(one.read() for one in readings))
    return Used(summed(sums for shard in shards for sums in shard.sums), max(shard.missing for shard in shards))


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads what a caller has used from one shard, until a time of the clock in seconds."""

    ports: Ports
    shard: str
    caller_tag: str
    query: UsageQuery
    bounds: Bounds
    until_s: float

    async def read(self) -> Used:
        before = await self._purged()
        used = Used([])
        for _ in range(TRIES):
            ended, is_whole = await self._ended()
            # what is purged before it is read is in neither of these, and nothing is in both
            used = Used([*before, *ended], Missing.PURGED if is_whole else Missing.UNREAD)
            after = await self._purged()
            if before == after:
                return replace(used, missing=Missing.NOTHING) if is_whole else used
            if not is_whole or self._is_late():
                break
            before = after
        return used

    async def _ended(self) -> tuple[list[UsageSums], bool]:
        """Return the sums over the responses that are not purged, deleted ones too, and whether all were read.

        They are summed as they are read.
        """
        prefix = keys.entries_from(Listing.ENDED, self.caller_tag)
        lives = max(LEAST_DEADLINE, timedelta(milliseconds=self.ports.config.limits.deadline_ms))
        first: str | None = prefix + keys.entry_place(_start_ms(self.query.last + timedelta(days=1)))
        end = prefix + keys.entry_place(_start_ms(self.query.first) - lives // timedelta(milliseconds=1) - 1)
        sums, rows, most_rows = list[UsageSums](), 0, self.bounds.most_rows
        while first:
            if rows and (self._is_late() or (most_rows is not None and rows >= most_rows)):
                return sums, False
            entries, first = await self._rows(first, end, codec.decode_entry)
            rows += len(entries)
            sums = summed([*sums, *(one for one in map(usage_of, entries) if self.query.covers(one.day))])
        return sums, True

    def _is_late(self) -> bool:
        return self.ports.clock.elapsed_s() >= self.until_s

    async def _purged(self) -> list[UsageSums]:
        """Return the sums over purged responses."""
        first: str | None = keys.usage_from(self.caller_tag, self.query.first.isoformat())
        end = keys.usage_from(self.caller_tag, (self.query.last + timedelta(days=1)).isoformat())
        found: list[UsageSums] = []
        while first:
            sums, first = await self._rows(first, end, codec.decode_usage)
            found += sums
        return found

    async def _rows(self, first: str, end: str, decode: Callable[[str, str], T]) -> tuple[list[T], str | None]:
        return await self.ports.store.entries(self.shard, first, end, self.bounds.rows_a_query, decode)


def _start_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
