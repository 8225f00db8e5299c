"""Entries as callers read them. Pure."""

from typing import Any, TypedDict

from shared.contract import responses
from shared.core import ids
from shared.core.entries import DeliveryEntry, Entry
from shared.core.records import Target, Usage
from shared.core.states import Status
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
