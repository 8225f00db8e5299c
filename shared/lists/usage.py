"""What a caller has used, by day and model.

A response is counted by its entry until it is purged, and then in the sums of its day. Its purge moves it from one to
the other in one transaction. So if the sums are the same before and after the entries are read, each was counted once.
"""

import asyncio
from datetime import UTC, date, datetime, timedelta

from shared.core import ids, keys
from shared.core.entries import Entry, Listing
from shared.core.errors import BadRequest, Unavailable
from shared.core.usage import UsageSums, summed, usage_of
from shared.lists.queries import UsageQuery
from shared.lists.ranges import Bounds, Ranges
from shared.runtime.ports import Ports
from shared.storage import codec

BOUNDS = Bounds(most_rows=50_000)
MOST_DEADLINE = timedelta(days=7)  # the longest that a response lives until its end
_TRIES = 5
_ROWS_A_QUERY = 1_000


async def usage_by_day(ports: Ports, caller: str, query: UsageQuery, bounds: Bounds = BOUNDS) -> list[UsageSums]:
    """Return what a caller has used in whole days of UTC, by day and model.

    Raises BadRequest if more responses ended in these days than one request reads, and Unavailable if purges come
    between its reads all the time.
    """
    before = await _sums(ports, caller, query)
    for _ in range(_TRIES):
        entries = await _entries(ports, caller, query, bounds)
        after = await _sums(ports, caller, query)
        if before == after:
            return summed([*after, *(one for one in map(usage_of, entries) if query.covers(one.day))])
        before = after
    raise Unavailable("Responses are being purged. Ask again.", code="busy")


async def _entries(ports: Ports, caller: str, query: UsageQuery, bounds: Bounds) -> list[Entry]:
    """Return the ended responses that were created early enough to end in these days, deleted ones too."""
    tag, listings = ids.tag(caller), (Listing.ENDED,)
    ranges = Ranges(ports, tag, listings, codec.decode_entry, lambda _: True, bounds, with_hidden=True)
    youngest = keys.entry_place(_start_ms(query.last + timedelta(days=1)))
    part = await ranges.read(youngest, keys.entry_place(_start_ms(query.first - MOST_DEADLINE) - 1), bounds.most_rows)
    if part.unread is not None:
        raise BadRequest("Too many responses ended in this time. Ask for fewer days.", param="from", code="too_many")
    return part.entries


async def _sums(ports: Ports, caller: str, query: UsageQuery) -> list[UsageSums]:
    shards = await asyncio.gather(*(_shard(ports, shard, ids.tag(caller), query) for shard in ids.SHARDS))
    return [sums for shard in shards for sums in shard]


async def _shard(ports: Ports, shard: str, caller_tag: str, query: UsageQuery) -> list[UsageSums]:
    first: str | None = keys.usage_from(caller_tag, query.first.isoformat())
    end = keys.usage_from(caller_tag, (query.last + timedelta(days=1)).isoformat())
    found: list[UsageSums] = []
    while first:
        rows, first = await ports.store.entries(shard, first, end, _ROWS_A_QUERY, codec.decode_usage)
        found += rows
    return found


def _start_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
