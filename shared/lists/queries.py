"""What a caller asks a list for: the parameters of its query, and the cursor that goes on behind a page. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from shared.contract import parameters
from shared.contract.pages import Page, is_true, one_of, parse_page
from shared.core import keys
from shared.core.entries import DeliveryEntry, Entry
from shared.core.errors import BadRequest
from shared.core.states import DeliveryState, Status

_CURSOR = re.compile(r"([0-9]{1,13})\.((?:resp_[0-9a-f]{32})?)")
_DELIVERY_CURSOR = re.compile(r"([0-9]{1,13})\.(resp_[0-9a-f]{32})\.([a-z]{1,8})")
MOST_DAYS = 366
_FIRST_DAY, _LAST_DAY = date(1970, 1, 10), date(2286, 1, 1)  # row keys hold times from 1970 to 2286
IN_TROUBLE = (DeliveryState.PENDING, DeliveryState.FAILED, DeliveryState.BLOCKED)


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


@dataclass(frozen=True, slots=True)
class DeliveryQuery:
    """Which deliveries in trouble a caller wants to see, and which page of them. None is any."""

    limit: int
    after: str | None  # a place in the list
    state: DeliveryState | None
    host: str | None

    def matches(self, entry: DeliveryEntry) -> bool:
        """Return whether a delivery is one of them. One of an older version, that names no state, has failed."""
        state = entry.state or DeliveryState.FAILED
        return self.state in (None, state) and self.host in (None, entry.host)


def parse_deliveries(query: Mapping[str, str]) -> DeliveryQuery:
    """Return what the query parameters `state`, `host`, `limit` and `after` of `GET /deliveries` ask for.

    Raises BadRequest, which names the parameter that is wrong.
    """
    state, after = one_of(query, "state", IN_TROUBLE), query.get("after")
    place = None if after is None else delivery_place_at(after)
    if after is not None and place is None:
        raise BadRequest("'after' must be the 'next_after' of an earlier page.", param="after", code="invalid_value")
    return DeliveryQuery(
        parse_page({"limit": query.get("limit", "20")}).limit,
        place,
        DeliveryState(state) if state else None,
        _host(query),
    )


@dataclass(frozen=True, slots=True)
class RecoveryQuery:
    """Which failed deliveries are begun again: those that failed from `since_ms` on and before `until_ms`.

    With `host`, only those that go there. A dry run begins none.
    """

    since_ms: int
    until_ms: int = keys.LAST_MS
    host: str | None = None
    dry_run: bool = False


def parse_recovery(query: Mapping[str, str]) -> RecoveryQuery:
    """Return what the query parameters `since`, `until`, `host` and `dry_run` of `POST /deliveries/recover` ask for.

    Raises BadRequest, which names the parameter that is wrong.
    """
    since_ms = parameters.parse_moment("since", query.get("since", ""))
    until_ms = parameters.parse_moment("until", query["until"]) if "until" in query else keys.LAST_MS
    if until_ms < since_ms:
        raise BadRequest("'until' must not be before 'since'.", param="until", code="invalid_value")
    return RecoveryQuery(
        since_ms,
        until_ms,
        _host(query),
        is_true(query, "dry_run"),
    )


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """The days whose usage is asked for, both included."""

    first: date
    last: date

    @property
    def is_one_day(self) -> bool:
        """Whether it is a single day."""
        return self.first == self.last

    def covers(self, day: str) -> bool:
        """Return whether a day, such as `2027-01-31`, is one of them."""
        return self.first.isoformat() <= day <= self.last.isoformat()


def parse_usage(query: Mapping[str, str], this_day: date) -> UsageQuery:
    """Return what the query parameters `from` and `to` of `GET /usage` ask for: days of UTC.

    `to` is `this_day` by default. Raises BadRequest, which names the parameter that is wrong.
    """
    first = _day("from", query.get("from", ""))
    last = _day("to", query["to"]) if "to" in query else this_day
    if not first <= last <= first + timedelta(days=MOST_DAYS - 1):
        raise BadRequest(f"'to' must be from 'from' on, up to {MOST_DAYS} days.", param="to", code="invalid_value")
    return UsageQuery(first, last)


def _day(name: str, text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if not _FIRST_DAY <= day <= _LAST_DAY or len(text) != len("2027-01-31"):
        raise BadRequest(f"'{name}' must be a day such as 2027-01-31.", param=name, code="invalid_value")
    return day


def _host(query: Mapping[str, str]) -> str | None:
    return query["host"].lower() if "host" in query else None


def delivery_cursor_to(place: str) -> str:
    """Return the cursor that names a place in a list of deliveries, for `next_after`."""
    at_ms, response_id, target = place.split("|")
    return f"{int(at_ms)}.{response_id}.{target}"


def delivery_place_at(cursor: str) -> str | None:
    """Return the place that a cursor of a list of deliveries names, or None if the text is none."""
    match = _DELIVERY_CURSOR.fullmatch(cursor)
    return DeliveryEntry(match[2], match[3], int(match[1])).place if match else None


def cursor_to(place: str) -> str:
    """Return the cursor that names a place in a list, for `next_after`. It stays good if what stood there is gone."""
    created_ms, response_id = keys.parse_entry_place(place)
    return f"{created_ms}.{response_id}"


def place_at(cursor: str) -> str | None:
    """Return the place that a cursor names, or None if the text is no cursor."""
    match = _CURSOR.fullmatch(cursor)
    return keys.entry_place(int(match[1]), match[2]) if match else None
