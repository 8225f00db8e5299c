"""Tries: what a failed create means, and when the next one may follow. Pure.

    free      it cannot have begun anything: no connection, 401, 425, 429, 503. It is tried again until the deadline.
    counted   it may have begun the work: a time-out after the request was sent, a cut connection, 408, 500, 502, 504,
              an answer that cannot be read. The next try waits 10 s, then 2 min. There are at most three.
    end       the upstream said in words that it will not do the work: any other 4xx, a 3xx, 501, a 429 about a spent
              quota, an error object in a 2xx, an error event. Or it works under an id that cannot be asked for. The
              create is not tried again.

Where the upstream honours the idempotency key, a repeat begins nothing, so no try is counted.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from shared.core.backoff import MAX_COUNTED, Random, counted_delay, retry_delay
from shared.core.errors import (
    UpstreamError,
    UpstreamFailed,
    UpstreamOversized,
    UpstreamPaused,
    UpstreamRedirected,
    UpstreamRefused,
    UpstreamUnavailable,
    UpstreamUncertain,
    UpstreamUnnamed,
)

_FREE = frozenset({401, 425, 429, 503})
_NOT_SENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"})
_SPENT = re.compile("quota|billing|budget|balance|credit|funds|payment", re.IGNORECASE)
_UNSTREAMED = re.compile("(?<![a-z])stream|__aiter__|async for|async iterator", re.IGNORECASE)
_BACKGROUND = re.compile("(?<![a-z])background(?![a-z])", re.IGNORECASE)
_UNSTREAMED_STATUSES = frozenset({406, 501})


class Meaning(StrEnum):
    """What a failed create means."""

    FREE = "free"
    COUNTED = "counted"
    END = "end"


@dataclass(frozen=True, slots=True)
class NextTry:
    """When the next try follows, in milliseconds from now, and the counts from then on.

    `counted` has no try that is yet to be made. `free` are the free tries in a row.
    """

    wait_ms: int
    counted: int
    free: int


def of_status(status: int, code: str = "") -> Meaning:
    """Return what a status other than a 2xx means as the answer to a create.

    `code` is the code and the type of the error in the answer, if it has any.
    """
    if status == 429 and _SPENT.search(code):
        return Meaning.END
    if status in _FREE:
        return Meaning.FREE
    is_told = status == 501 or (300 <= status < 500 and status != 408)
    return Meaning.END if is_told else Meaning.COUNTED


def of_transport(name: str) -> Meaning:
    """Return what an error of the HTTP client means. `name` is that of its class, in httpx's words."""
    return Meaning.FREE if name in _NOT_SENT else Meaning.COUNTED


def of_error(error: UpstreamError) -> Meaning:
    """Return what an error of a create means."""
    match error:
        case UpstreamRefused() | UpstreamFailed() | UpstreamOversized() | UpstreamRedirected() | UpstreamUnnamed():
            return Meaning.END
        case UpstreamUncertain():
            return Meaning.COUNTED
        case UpstreamUnavailable() | UpstreamPaused():
            return Meaning.FREE
        case _:
            return Meaning.COUNTED


def may_have_begun(error: UpstreamError) -> bool:
    """Return whether a create that failed so may have begun the work."""
    return of_error(error) is Meaning.COUNTED


def is_under_way(error: UpstreamError) -> bool:
    """Return whether an upstream says of a repeated create that the first one is still under way: a 409."""
    return isinstance(error, UpstreamRefused) and error.status == 409


def seen(error: UpstreamError) -> dict[str, str | None]:
    """Return what a log line about a later try says of the error: what was seen, and what the response waits for."""
    return {"reason": str(error), "waits_for": error.waits_for}


def is_about_streaming(error: UpstreamError) -> bool:
    """Return whether an upstream says that it cannot answer this create as a stream."""
    if isinstance(error, UpstreamRefused) and error.status in _UNSTREAMED_STATUSES:
        return True
    return _says(error, _UNSTREAMED)


def is_about_background(error: UpstreamError) -> bool:
    """Return whether an upstream says that it refuses this create because of `background: true`."""
    return of_error(error) is Meaning.END and _says(error, _BACKGROUND)


def _says(error: UpstreamError, words: re.Pattern[str]) -> bool:
    said = (getattr(error, name, None) for name in ("param", "code", "message"))
    return any(words.search(one) for one in said if one)


def next_try(error: UpstreamError, counted: int, free: int, random: Random, *, honours_keys: bool) -> NextTry | None:
    """Return the try that follows a failed one, or None if there is none, because three may have begun the work.

    `counted` includes the failed try, which was counted before it was made. An error that is an end is not passed here.
    """
    if of_error(error) is Meaning.COUNTED and not honours_keys:
        if counted >= MAX_COUNTED:
            return None
        return NextTry(counted_delay(counted, random, retry_after_s=error.retry_after_s), counted, free)
    wait_ms = retry_delay(free, random, retry_after_s=error.retry_after_s)
    return NextTry(wait_ms, max(0, counted - 1), free + 1)
