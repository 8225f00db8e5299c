"""The list of a caller's deliveries that are in trouble: their last attempt has failed. Those of longest come first.

A delivery that has failed is sorted by the time of that, and one that is still tried by the end of its response. So one
that fails while the pages are read may be on two of them.
"""

from shared.core import ids, keys
from shared.core.entries import DeliveryEntry, Listing
from shared.core.states import DeliveryState
from shared.lists.queries import DeliveryQuery
from shared.lists.ranges import Found, Ranges
from shared.runtime.ports import Ports
from shared.storage import codec


async def list_deliveries_in_trouble(ports: Ports, caller: str, query: DeliveryQuery) -> Found[DeliveryEntry]:
    """Return a page of the caller's deliveries that are in trouble."""
    ranges = Ranges(ports, ids.tag(caller), _listings(query), codec.decode_delivery_entry, query.matches)
    return await ranges.page(query.after, keys.END, query.limit)


def _listings(query: DeliveryQuery) -> tuple[Listing, ...]:
    """Return the ranges that can have what is asked for. A delivery moves from the first one to the second."""
    if query.state is None:
        return (Listing.TRIED, Listing.FAILED)
    return (Listing.TRIED,) if query.state is DeliveryState.PENDING else (Listing.FAILED,)
