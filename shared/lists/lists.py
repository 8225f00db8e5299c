"""What a caller reads about all that is theirs."""

from datetime import UTC, date, datetime

from shared.contract.callers import Caller
from shared.lists import delivery_pages, response_pages, usage, views
from shared.lists.queries import DeliveryQuery, ResponseQuery, UsageQuery
from shared.lists.views import DeliveryPage, ListView, UsagePage
from shared.runtime.ports import Ports


class Lists:
    """The lists of a caller. Methods raise as those of Engine do."""

    def __init__(self, ports: Ports, bounds: usage.Bounds = usage.BOUNDS) -> None:
        self._ports = ports
        self._bounds = bounds

    async def responses(self, caller: Caller, query: ResponseQuery) -> ListView:
        """Return a page of the caller's responses, without prompts and outputs."""
        found = await response_pages.list_responses(self._ports, caller.name, query)
        return views.list_view([views.response_view(entry) for entry in found.entries], found.next_place)

    async def deliveries_in_trouble(self, caller: Caller, query: DeliveryQuery) -> DeliveryPage:
        """Return a page of the caller's deliveries whose last attempt has failed."""
        found = await delivery_pages.list_deliveries_in_trouble(self._ports, caller.name, query)
        return views.delivery_page(found.entries, found.next_place)

    async def usage(self, caller: Caller, query: UsageQuery) -> UsagePage:
        """Return what the caller has used in whole days of UTC."""
        used = await usage.usage_of_caller(self._ports, caller.name, query, self._bounds)
        return views.usage_page(used.sums, self._ports.config.rules.prices, is_whole=not used.missing)

    def this_day(self) -> date:
        """Return the day of UTC that it is."""
        return datetime.fromtimestamp(self._ports.clock.now_ms() / 1000, UTC).date()
