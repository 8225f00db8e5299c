"""What operators see and do. It costs what is in flight and in trouble, and never reads what has ended well."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from shared.contract.callers import Caller
from shared.core import ids, keys
from shared.core.alarms import Alarm
from shared.core.entries import Entry, Listing, entry_of
from shared.core.erasures import Wanted
from shared.core.errors import BadRequest, NotFound
from shared.core.gates.state import Gate, GateState
from shared.core.records import Record
from shared.deliveries import delivery_log, redelivery
from shared.erasure import erasing
from shared.erasure.orders import Receipt
from shared.gates import waits
from shared.lifecycle import cancellation
from shared.lists import delivery_pages, response_pages, usage
from shared.lists.queries import DeliveryQuery, ResponseQuery, UsageQuery
from shared.lists.ranges import Found, Listed
from shared.operators import views
from shared.operators.views import OperatorUsage, Status
from shared.runtime.ports import Ports
from shared.storage import codec
from shared.telemetry.logs import logger

MOST_ROWS = 5_000  # of one shard and range that one request reads
OVERDUE_MS = 5_000
_MOST_ALARMS = 1_000  # of one shard

_log = logger(__name__)
T = TypeVar("T", bound=Listed)


class Operators:
    """What a caller with the role of an operator may do. Methods raise as those of Engine do."""

    def __init__(self, ports: Ports, bounds: usage.Bounds = usage.BOUNDS) -> None:
        self._ports = ports
        self._bounds = bounds

    async def status(self) -> Status:
        """Return how the service is."""
        ports, now_ms = self._ports, self._ports.clock.now_ms()
        (entries, all_live), (tried, all_tried), (failed, all_failed), (alarms, all_alarms) = await asyncio.gather(
            self._all(Listing.LIVE, codec.decode_entry),
            self._all(Listing.TRIED, codec.decode_delivery_entry),
            self._all(Listing.FAILED, codec.decode_delivery_entry),
            self._overdue(now_ms),
        )
        gates = await self._gates()
        entries = await self._as_now(entries)
        return {
            "object": "operator.status",
            "at": now_ms // 1000,
            "in_flight": views.in_flight(entries),
            "alarms": views.overdue(alarms),
            "deliveries_in_trouble": views.in_trouble([*tried, *failed]),
            "gates": views.gates(gates),
            "this_process": {
                "last_hour": ports.rates.last_hour(now_ms),
                "by_minute": ports.rates.by_minute(now_ms),
            },
            "is_whole": all_live and all_tried and all_failed and all_alarms,
        }

    async def _as_now(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return entries with what they wait for now."""
        return await waits.as_now(self._ports.gates, self._ports.upstreams, entries, self._ports.clock.now_ms())

    async def _gates(self) -> list[tuple[Gate, GateState]]:
        """Return the gates that have rows, as they are now."""
        ports = self._ports
        found = [ports.upstreams.gate_named(name) for name in await ports.gates.registered()]
        seen = await asyncio.gather(*map(ports.gates.look, found))
        return [(gate, state) for gate, state in zip(found, seen, strict=True) if state]

    async def responses(self, query: ResponseQuery, caller: str | None) -> dict[str, Any]:
        """Return a page of a caller's responses, or of all that have not ended.

        Raises BadRequest if ended ones of all callers are asked for.
        """
        if caller is not None:
            return views.operator_responses(*await response_pages.list_responses(self._ports, caller, query))
        if query.status is not None and query.status.is_terminal:
            raise BadRequest("Ended responses are listed for one 'caller'.", param="caller", code="missing_required")
        after = await response_pages.place_after(self._ports, None, query.page.after)
        entries, is_whole = await self._all(Listing.LIVE, codec.decode_entry)
        found = [entry for entry in entries if query.matches(entry)]
        page = _page(found, after, query.page.limit, is_reversed=not query.page.descending)
        return views.operator_responses(await self._as_now(page.entries), page.next_place, is_whole=is_whole)

    async def deliveries(self, query: DeliveryQuery, caller: str | None) -> dict[str, Any]:
        """Return a page of the deliveries in trouble, of one caller or of all."""
        if caller is not None:
            found = await delivery_pages.list_deliveries_in_trouble(self._ports, caller, query)
            return views.operator_deliveries(*found)
        tried, all_tried = await self._all(Listing.TRIED, codec.decode_delivery_entry)
        failed, all_failed = await self._all(Listing.FAILED, codec.decode_delivery_entry)
        by_name = {entry.name: entry for entry in (*tried, *failed) if query.matches(entry)}
        page = _page(list(by_name.values()), query.after, query.limit)
        return views.operator_deliveries(*page, is_whole=all_tried and all_failed)

    async def usage(self, query: UsageQuery, caller: str | None) -> OperatorUsage:
        """Return what one caller has used, or each of those that the settings name, in whole days of UTC."""
        ports, bounds = self._ports, self._bounds
        if caller is None:
            found = await usage.usage_of_all(ports, ports.callers.names(), query, bounds)
        else:
            found = {caller: await usage.usage_of_caller(ports, caller, query, bounds)}
        sums = [one for used in found.values() for one in used.sums]
        incomplete = [name for name, used in found.items() if used.missing]
        return views.operator_usage(sums, ports.config.rules.prices, incomplete)

    async def cancel(self, operator: Caller, named: str) -> dict[str, Any]:
        """Cancel a response of any caller, and return it as operators see it."""
        record = await self._record(named)
        cancelled = await cancellation.cancel(self._ports, record)
        _log.info("operator.cancelled", extra={"operator": operator.name, "response": record.id})
        return views.operator_response(entry_of(cancelled))

    async def erase(self, operator: Caller, caller: str, wanted: Wanted) -> Receipt:
        """Order the erasure of a caller's responses, and return its receipt, which only this operator can read."""
        return await erasing.order(self._ports, operator, caller, wanted)

    async def redeliver(self, operator: Caller, named: str, target: str | None) -> dict[str, Any]:
        """Begin the deliveries of a response of any caller again, and return them."""
        record = await redelivery.redeliver(self._ports, await self._record(named), target)
        _log.info("operator.redelivered", extra={"operator": operator.name, "response": record.id})
        return {"object": "list", "data": await delivery_log.deliveries_of(self._ports, record)}

    async def _record(self, named: str) -> Record:
        cursor = ids.read_token(named)
        record = await self._ports.store.read(cursor.id) if cursor else None
        if record is None or record.deleted:
            raise NotFound(f"Response with id '{named[:100]}' not found.")
        return record

    async def _overdue(self, now_ms: int) -> tuple[list[Alarm], bool]:
        """Return the alarms that should have been acted on, and whether these are all."""
        agenda = self._ports.store.agenda
        shards = await asyncio.gather(*(agenda(shard, now_ms - OVERDUE_MS, _MOST_ALARMS) for shard in ids.SHARDS))
        is_whole = all(len(shard.due) < _MOST_ALARMS for shard in shards)
        return [alarm for shard in shards for alarm in shard.due], is_whole

    async def _all(self, listing: Listing, decode: Callable[[str, str], T]) -> tuple[list[T], bool]:
        """Return the entries of all callers in one range, and whether these are all."""
        shards = await asyncio.gather(*(self._shard(shard, listing, decode) for shard in ids.SHARDS))
        return [entry for entries, _ in shards for entry in entries], all(is_whole for _, is_whole in shards)

    async def _shard(self, shard: str, listing: Listing, decode: Callable[[str, str], T]) -> tuple[list[T], bool]:
        prefix = keys.entries_from(listing)
        first: str | None = prefix
        found: list[T] = []
        while first and len(found) < MOST_ROWS:
            entries, first = await self._ports.store.entries(shard, first, prefix + keys.END, 1_000, decode)
            found += entries
        return found, first is None


def _page(entries: Sequence[T], after: str | None, limit: int, *, is_reversed: bool = False) -> Found[T]:
    """Return the entries behind a place, in the order of places or against it, up to a limit."""
    ordered = sorted(entries, key=lambda entry: entry.place, reverse=is_reversed)
    if after is not None:
        ordered = [entry for entry in ordered if (entry.place < after if is_reversed else entry.place > after)]
    return Found(ordered[:limit], ordered[limit - 1].place if len(ordered) > limit else None)
