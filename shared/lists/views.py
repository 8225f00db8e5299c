"""Entries as callers read them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from shared.contract import responses
from shared.core import ids
from shared.core.entries import DeliveryEntry, Entry
from shared.core.prices import Price
from shared.core.records import Target, Usage
from shared.core.states import Status
from shared.core.usage import UsageSums
from shared.lists import queries


class ListView(TypedDict):
    """One page of a list, as callers read it."""

    object: str  # "list"
    data: list[dict[str, Any]]
    has_more: bool
    first_id: str | None
    last_id: str | None
    next_after: str | None  # the `after` of the next page, or null if this is the last one


def list_view(data: list[dict[str, Any]], next_place: str | None) -> ListView:
    """Return a page of items that have ids. `next_place` is where the next page begins, or None."""
    return {
        "object": "list",
        "data": data,
        "has_more": next_place is not None,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "next_after": queries.cursor_to(next_place) if next_place else None,
    }


class DeliveryPage(TypedDict):
    """One page of deliveries, as callers read it."""

    object: str  # "list"
    data: list[dict[str, Any]]
    has_more: bool
    next_after: str | None


def delivery_page(entries: list[DeliveryEntry], next_place: str | None) -> DeliveryPage:
    """Return a page of deliveries that are in trouble. Times are unix seconds."""
    return {
        "object": "list",
        "data": [delivery_view(entry) for entry in entries],
        "has_more": next_place is not None,
        "next_after": queries.delivery_cursor_to(next_place) if next_place else None,
    }


def delivery_view(entry: DeliveryEntry) -> dict[str, Any]:
    """Return a delivery that is in trouble, as its caller reads it. `since` is in unix seconds."""
    is_known = entry.target in set(Target)
    return {
        "object": "delivery",
        "response_id": entry.id,
        "target": Target(entry.target).label if is_known else entry.target,
        "state": entry.state or "failed",
        "host": entry.host or None,
        "since": entry.at_ms // 1000,
    }


def response_view(entry: Entry) -> dict[str, Any]:
    """Return a response as its caller's lists show it: its fields but the prompt and the output. Times are seconds."""
    shown = {
        "id": entry.id,
        "object": "response",
        "created_at": entry.created_ms // 1000,
        "status": str(entry.status),
        "completed_at": entry.ended_ms // 1000 if entry.status is Status.COMPLETED else None,
        "ended_at": entry.ended_ms // 1000 if entry.status.is_terminal else None,
        "model": entry.model,
        "background": entry.background,
        "store": entry.store,
        "previous_response_id": entry.previous_id,
        "metadata": entry.metadata or {},
        "error": {"code": entry.error or "server_error"} if entry.status is Status.FAILED else None,
        "usage": usage_view(entry.usage),
        "continuation_token": None if entry.status.is_terminal else ids.token_for(entry.id),
    }
    if entry.wait.reason and not entry.status.is_terminal:
        shown["waiting"] = responses.waiting(entry.wait)
    return shown


class UsagePage(TypedDict):
    """What a caller has used, by day and model."""

    object: str  # "usage"
    data: list[dict[str, Any]]
    total: dict[str, Any]
    is_whole: bool  # whether every response is in the sums, or some may be missing


def usage_page(
    sums: Sequence[UsageSums], prices: Mapping[str, Price], *, with_caller: bool = False, is_whole: bool = True
) -> UsagePage:
    """Return what was used, with its cost where the model has a price. The total has a cost if each model has one."""
    data = [
        {**({"caller": one.caller} if with_caller else {}), **_usage_line(one, prices.get(one.model))} for one in sums
    ]
    counted = ("responses", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "seconds")
    total = {name: round(sum(line[name] for line in data), 3) for name in counted}
    costs = [line["cost"] for line in data]
    return {
        "object": "usage",
        "data": data,
        "total": {**total, "cost": None if not costs or None in costs else round(sum(costs), 6)},
        "is_whole": is_whole,
    }


def _usage_line(sums: UsageSums, price: Price | None) -> dict[str, Any]:
    by_status = {str(status): getattr(sums, status) for status in Status if status.is_terminal}
    return {
        "day": sums.day,
        "model": sums.model or None,
        "responses": sum(by_status.values()),
        "by_status": by_status,
        "input_tokens": sums.input_tokens,
        "cached_tokens": sums.cached_tokens,
        "output_tokens": sums.output_tokens,
        "reasoning_tokens": sums.reasoning_tokens,
        "seconds": sums.duration_ms / 1000,
        "cost": price.of(sums.input_tokens, sums.cached_tokens, sums.output_tokens) if price else None,
    }


def usage_view(usage: Usage) -> dict[str, Any] | None:
    """Return tokens in the shape of a response's `usage`, or None if none are known."""
    if usage == Usage():
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
