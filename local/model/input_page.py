"""One page of a response's input items."""

from collections.abc import Mapping, Sequence
from typing import Any

from local.model.conversation import Item
from local.model.errors import ApiError


def input_page(items: Sequence[Item], query: Mapping[str, str]) -> dict[str, Any]:
    """Return the page that the query's `limit`, `order` and `after` select. The default order is newest first."""
    ordered = list(items) if query.get("order") == "asc" else list(reversed(items))
    begin = _position(ordered, query.get("after"))
    rest, limit = ordered[begin:], limit_in(query)
    page = rest[:limit]
    return {
        "object": "list",
        "data": page,
        "has_more": len(rest) > limit,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }


def limit_in(query: Mapping[str, str]) -> int:
    """Return the query's `limit`, or 20 without one. Raise a 400 if it is no number from 1 to 100."""
    given = query.get("limit", "20")
    if given.isdecimal() and 1 <= int(given) <= 100:
        return int(given)
    raise ApiError(400, "'limit' must be an integer from 1 to 100.", param="limit")


def _position(ordered: Sequence[Item], after: str | None) -> int:
    """Return the index after the item with that id, or 0 without an id."""
    if after is None:
        return 0
    ids = [item["id"] for item in ordered]
    if after not in ids:
        raise ApiError(400, f"No input item with id '{after}'.", param="after")
    return ids.index(after) + 1
