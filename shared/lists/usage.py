"""What a caller has used, by day and model.

A response is counted by its entry until it is purged, and then in the sums of its day. Its purge moves it from one to
the other in one transaction. So if the sums are the same before and after the entries are read, each was counted once.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

from shared.core import ids, keys
from shared.core.entries import Listing
from shared.core.errors import BadRequest, Unavailable
from shared.core.usage import UsageSums, summed, usage_of
from shared.lists.queries import UsageQuery
from shared.runtime.ports import Ports
from shared.storage import codec

MOST_ROWS = 20_000  # of one shard that one request reads
ROWS_A_QUERY = 1_000
LEAST_DEADLINE = timedelta(days=1)  # that is assumed, because the setting may have been longer
_TRIES = 5

T = TypeVar("T")


async def usage_by_day(
    ports: Ports, caller: str, query: UsageQuery, most_rows: int = MOST_ROWS, rows_a_query: int = ROWS_A_QUERY
) -> list[UsageSums]:
    """Return what a caller has used in whole days of UTC, by day and model.

    Raises BadRequest if more responses of one shard ended in these days than one request reads, and Unavailable if
    purges come between its reads of a shard all the time.
    """
    reading = [_Reading(ports, shard, ids.tag(caller), query, most_rows, rows_a_query) for shard in ids.SHARDS]
    shards = await asyncio.gather(*(one.read() for one in reading))
    return summed(sums for shard in shards for sums in shard)


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads what a caller has used from one shard."""

    ports: Ports
    shard: str
    caller_tag: str
    query: UsageQuery
    most_rows: int
    rows_a_query: int

    async def read(self) -> list[UsageSums]:
        before = await self._purged()
        for _ in range(_TRIES):
            ended = await self._ended()
            after = await self._purged()
            if before == after:
                return [*after, *ended]
            before = after
        raise Unavailable("Responses are being purged. Ask again.", code="busy")

    async def _ended(self) -> list[UsageSums]:
        """Return the sums over the responses that are not purged, deleted ones too, summed as they are read."""
        prefix = keys.entries_from(Listing.ENDED, self.caller_tag)
        lives = max(LEAST_DEADLINE, timedelta(milliseconds=self.ports.config.limits.deadline_ms))
        first: str | None = prefix + keys.entry_place(_start_ms(self.query.last + timedelta(days=1)))
        end = prefix + keys.entry_place(_start_ms(self.query.first) - lives // timedelta(milliseconds=1) - 1)
        sums, rows = list[UsageSums](), 0
        while first:
            if rows >= self.most_rows:
                message = "Too many responses ended in this time. Ask for fewer days."
                raise BadRequest(message, param="from", code="too_many")
            entries, first = await self._rows(first, end, codec.decode_entry)
            rows += len(entries)
            sums = summed([*sums, *(one for one in map(usage_of, entries) if self.query.covers(one.day))])
        return sums

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
        return await self.ports.store.entries(self.shard, first, end, self.rows_a_query, decode)


def _start_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
