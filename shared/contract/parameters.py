"""Checks of the headers and query parameters of a request."""

import re
from dataclasses import dataclass
from datetime import datetime

from shared.core import ids, keys
from shared.core.errors import BadRequest

MAX_WAIT_S = 60
MAX_INCLUDES = 20
_LAST_YEAR = 2286  # the last time that 13 digits hold is in this year
_NUMBER = re.compile(r"[0-9]{1,20}")
_UNIX = re.compile(r"[0-9]{1,10}(\.[0-9]{1,6})?")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_INCLUDE = re.compile(r"[\x21-\x7e]{1,100}")
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d+)\"?\s*(?=[,;]|$)", re.IGNORECASE)
_RESPOND_ASYNC = re.compile(r"(?:^|,)\s*respond-async\s*(?=[,;]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Preference:
    """The content of a `Prefer` header (RFC 7240): how many seconds to wait, and whether to answer 202."""

    wait_s: int | None = None
    respond_async: bool = False

    @property
    def is_unfinished_welcome(self) -> bool:
        """Whether the caller asks for an answer before the response has ended."""
        return self.respond_async or self.wait_s is not None


def parse_preference(header: str | None) -> Preference:
    """Return the preferences `wait`, at most 60 s, and `respond-async`.

    Other preferences are ignored, as RFC 7240 says.
    """
    if not header:
        return Preference()
    wait = _WAIT.search(header)
    return Preference(min(int(wait[1][:9]), MAX_WAIT_S) if wait else None, _RESPOND_ASYNC.search(header) is not None)


def check_idempotency_key(header: str | None) -> str | None:
    """Return an Idempotency-Key header, or None without one.

    Raises BadRequest if it is not 1 to 255 visible ASCII characters.
    """
    if header is not None and not _KEY.fullmatch(header):
        raise BadRequest(
            "'Idempotency-Key' must be 1 to 255 visible ASCII characters.",
            param="Idempotency-Key",
            code="invalid_value",
        )
    return header


def known_includes(given: object) -> tuple[str, ...]:
    """Return the values of `include` that can be part of a query, without repeats and at most 20.

    The upstream checks what they mean.
    """
    values = given if isinstance(given, list | tuple) else ()
    named = [one for one in values if isinstance(one, str) and _INCLUDE.fullmatch(one)]
    return tuple(dict.fromkeys(named))[:MAX_INCLUDES]


def last_seen(named: ids.Cursor, starting_after: str | None, last_event_id: str | None) -> int:
    """Return the sequence number of the last stream event that a reader has seen, or -1.

    It comes from `starting_after`, from `Last-Event-ID` or from the token in place of the id, in this order. The first
    two are a number or the token of an event. Raises BadRequest, which names the one that is wrong.
    """
    for param, given in (("starting_after", starting_after), ("Last-Event-ID", last_event_id)):
        if given:
            return _event_number(named.id, param, given.strip())
    return -1 if named.after is None else named.after


def _event_number(response_id: str, param: str, text: str) -> int:
    if _NUMBER.fullmatch(text):
        return min(int(text), ids.MAX_EVENT)
    token = ids.read_token(text)
    if token is None or token.after is None:
        raise BadRequest(
            f"'{param}' must be the sequence number of an event, or its continuation token.",
            param=param,
            code="invalid_value",
        )
    if token.id != response_id:
        raise BadRequest(f"'{param}' is a token of another response.", param=param, code="invalid_value")
    return token.after


def parse_moment(name: str, text: str) -> int:
    """Return the time in a query parameter, in unix milliseconds.

    It is given in unix seconds, or in ISO 8601 with a time zone. Raises BadRequest if it is neither, or after 2286.
    """
    try:
        moment = float(text) if _UNIX.fullmatch(text) else _moment(text)
    except ValueError:
        raise BadRequest(
            f"'{name}' must be a time: unix seconds, or ISO 8601 such as 2027-01-31T08:00:00Z.",
            param=name,
            code="invalid_value",
        ) from None
    return min(int(moment * 1000), keys.LAST_MS)


def _moment(text: str) -> float:
    moment = datetime.fromisoformat(text.replace(" ", "+"))  # a plus sign that was not percent-encoded
    if moment.tzinfo is None or not 1970 <= moment.year <= _LAST_YEAR:
        raise ValueError("the time needs a zone, or is too far away")
    return max(0.0, moment.timestamp())
