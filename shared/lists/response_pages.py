"""The list of a caller's responses, newest or oldest first.

The place of an entry never changes. So whatever exists when the first page is read, and matches throughout, is on
exactly one page. What is accepted later may be on none.
"""

from shared.core import ids, keys
from shared.core.entries import Entry, Listing
from shared.core.errors import BadRequest
from shared.gates import waits
from shared.lists import queries
from shared.lists.queries import ResponseQuery
from shared.lists.ranges import BOUNDS, Bounds, Found, Ranges
from shared.lists.windows import walk_from
from shared.runtime.ports import Ports
from shared.storage import codec

_SKEW_MS = 60_000  # how far ahead the clock of a process may be that has accepted a response


async def list_responses(ports: Ports, caller: str, query: ResponseQuery, bounds: Bounds = BOUNDS) -> Found[Entry]:
    """Return a page of the caller's responses. Raises BadRequest if `after` names none of them.

    Where little of what is read matches, a page may be short and have more behind it. What waits in a line says for
    what, as it is now.
    """
    found = await _as_stored(ports, caller, query, bounds)
    return found._replace(entries=await waits.as_now(ports.gates, ports.upstreams, found.entries, ports.clock.now_ms()))


async def _as_stored(ports: Ports, caller: str, query: ResponseQuery, bounds: Bounds) -> Found[Entry]:
    ranges = Ranges(ports, ids.tag(caller), _listings(query), codec.decode_entry, query.matches, bounds)
    after = await place_after(ports, caller, query.page.after)
    if query.page.descending:
        oldest = keys.entry_place(query.created_after_ms) if query.created_after_ms >= 0 else keys.END
        return await ranges.page(after, oldest, query.page.limit)
    return await _oldest_first(ports, ranges, query, after)


def _listings(query: ResponseQuery) -> tuple[Listing, ...]:
    """Return the ranges that can have what is asked for, the live one first."""
    if query.status is None:
        return (Listing.LIVE, Listing.ENDED)
    return (Listing.ENDED,) if query.status.is_terminal else (Listing.LIVE,)


async def place_after(ports: Ports, caller: str | None, after: str | None) -> str | None:
    """Return the place that `after` names in the list of a caller, or of all callers.

    Raises BadRequest if it names none.
    """
    if after is None or (place := queries.place_at(after)):
        return None if after is None else place
    record = await ports.store.read(after, with_body=False) if ids.is_id(after) else None
    if record is None or caller not in (None, record.caller):
        message = "'after' must be the id of a response in this list, or the 'next_after' of an earlier page."
        raise BadRequest(message, param="after", code="invalid_value")
    return keys.entry_place(record.created_ms, record.id)


async def _oldest_first(ports: Ports, ranges: Ranges[Entry], query: ResponseQuery, after: str | None) -> Found[Entry]:
    """Walk forward in windows of time, of which each is read whole. Every page goes through one window at least."""
    limit, bounds = query.page.limit, ranges.bounds
    walk = walk_from(query.created_after_ms, after, ports.clock.now_ms() + _SKEW_MS)
    found, rows, is_through = list[Entry](), 0, False
    while not walk.is_over and len(found) <= limit and (rows < bounds.most_rows or not is_through):
        most = bounds.most_rows if walk.is_narrow else bounds.rows_a_window
        part = await ranges.read(walk.first, walk.end, most + 1, most)
        rows += part.rows
        if part.unread is not None and not walk.is_narrow:
            walk.splits(part.unread)
            continue
        found += reversed(part.entries)
        walk.goes_on()
        is_through = True
    if len(found) > limit:
        return Found(found[:limit], found[limit - 1].place)
    return Found(found, None if walk.is_over else walk.end)
