"""What a caller asks a list for: the parameters of its query, and the cursor that goes on behind a page. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from shared.contract import parameters
from shared.contract.pages import Page, one_of, parse_page
from shared.core import keys
from shared.core.entries import Entry
from shared.core.states import Status

_CURSOR = re.compile(r"([0-9]{1,13})\.((?:resp_[0-9a-f]{32})?)")


@dataclass(frozen=True, slots=True)
class ResponseQuery:
    """Which responses a caller wants to see, and which page of them. None is any."""

    page: Page
    status: Status | None = None
    model: str | None = None
    created_after_ms: int = -1

    def matches(self, entry: Entry) -> bool:
        """Return whether a response is one of them."""
        is_wanted = self.status in (None, entry.status) and self.model in (None, entry.model)
        return is_wanted and entry.created_ms > self.created_after_ms


def parse_responses(query: Mapping[str, str]) -> ResponseQuery:
    """Return what the query parameters of `GET /responses` ask for.

    They are `status`, `model`, `created_after`, `limit`, `order` and `after`. Raises BadRequest, which names the
    parameter that is wrong.
    """
    status = one_of(query, "status", list(Status))
    created_after = query.get("created_after")
    return ResponseQuery(
        parse_page(query),
        Status(status) if status else None,
        query.get("model"),
        -1 if created_after is None else parameters.parse_moment("created_after", created_after),
    )


def cursor_to(place: str) -> str:
    """Return the cursor that names a place in a list, for `next_after`. It stays good if what stood there is gone."""
    created_ms, response_id = keys.parse_entry_place(place)
    return f"{created_ms}.{response_id}"


def place_at(cursor: str) -> str | None:
    """Return the place that a cursor names, or None if the text is no cursor."""
    match = _CURSOR.fullmatch(cursor)
    return keys.entry_place(int(match[1]), match[2]) if match else None
