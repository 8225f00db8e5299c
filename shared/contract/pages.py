"""Paged lists, and the input items of a request as such a list.

https://developers.openai.com/api/reference/resources/responses/subresources/input_items/methods/list
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from shared.contract.redaction import without_credentials
from shared.core import ids
from shared.core.errors import BadRequest

MAX_LIMIT = 100
ORDERS = ("asc", "desc")
_LIMIT = re.compile(r"[1-9][0-9]?|100")


class ItemList(TypedDict):
    """One page of a list, as callers read it."""

    object: str  # "list"
    data: list[dict[str, Any]]
    has_more: bool
    first_id: str | None
    last_id: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """The part of a list that a caller asks for. `after` is the id of the item before the first one of the part."""

    limit: int = 20
    descending: bool = True
    after: str | None = None


def parse_page(query: Mapping[str, str]) -> Page:
    """Return the page that the query parameters `limit`, `order` and `after` ask for.

    Raises BadRequest, which names the parameter that is wrong.
    """
    limit = query.get("limit", "20")
    if not _LIMIT.fullmatch(limit):
        raise BadRequest(f"'limit' must be an integer from 1 to {MAX_LIMIT}.", param="limit", code="invalid_value")
    order = one_of(query, "order", ORDERS) or "desc"
    return Page(int(limit), order == "desc", query.get("after"))


def one_of(query: Mapping[str, str], name: str, allowed: Sequence[str]) -> str | None:
    """Return the value of a query parameter, or None without one. Raises BadRequest if it is not allowed."""
    value = query.get(name)
    if value is not None and value not in allowed:
        *others, last = (f"'{one}'" for one in allowed)
        raise BadRequest(f"'{name}' must be {', '.join(others)} or {last}.", param=name, code="invalid_value")
    return value


def is_true(query: Mapping[str, str], name: str) -> bool:
    """Return whether a query parameter is `true`, in whatever case.

    Raises BadRequest if it is neither that nor `false`. SDKs write a boolean as their language does, such as `True`.
    """
    return one_of({name: query[name].lower()} if name in query else {}, name, ("true", "false")) == "true"


def input_items(response_id: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the input of a request as items with ids, in their order.

    A string becomes one message of the user. Elements that are not objects are left out. An id that is missing or
    repeated is replaced with a derived one. Credentials are masked.
    """
    given = body.get("input")
    if given is None:
        return []
    items = [{"role": "user", "content": [{"type": "input_text", "text": given}]}] if isinstance(given, str) else given
    found: dict[str, dict[str, Any]] = {}
    for n, item in enumerate(items):
        if isinstance(item, dict):
            name = _item_id(response_id, n, item)
            found[name if name not in found else _item_id(response_id, n, {})] = item
    shown = without_credentials([_item(item) for item in found.values()])
    return [{"id": name, **item} for name, item in zip(found, shown, strict=True)]


def page_of(items: list[dict[str, Any]], page: Page) -> ItemList:
    """Return one page of items. Raises BadRequest if `after` is not the id of one of them."""
    ordered = items[::-1] if page.descending else items
    if page.after is not None:
        names = [item["id"] for item in ordered]
        if page.after not in names:
            raise BadRequest("'after' is not the id of an item of this list.", param="after", code="invalid_value")
        ordered = ordered[names.index(page.after) + 1 :]
    data = ordered[: page.limit]
    return {
        "object": "list",
        "data": data,
        "has_more": len(ordered) > len(data),
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def _item_id(response_id: str, n: int, item: dict[str, Any]) -> str:
    """Return the caller's own id of item `n`, or an id that is derived from the response and `n`."""
    own = item.get("id")
    prefix = "msg" if (item.get("type") or "message") == "message" else "item"
    return own if isinstance(own, str) and own else f"{prefix}_{ids.tag(f'{response_id}|{n}')}"


def _item(item: dict[str, Any]) -> dict[str, Any]:
    kind = item.get("type") or "message"
    shown = {"type": kind, "status": "completed"} if kind == "message" else {"type": kind}
    content = item.get("content")
    if isinstance(content, str):
        part = "output_text" if item.get("role") == "assistant" else "input_text"
        item = {**item, "content": [{"type": part, "text": content}]}
    return shown | {name: value for name, value in item.items() if value is not None and name != "id"}
