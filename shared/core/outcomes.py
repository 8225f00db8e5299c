"""The outcome of a delivery attempt: an HTTP status, or one word for why there was no answer."""

from dataclasses import dataclass
from enum import StrEnum

_OVERLOADED = frozenset({408, 429})


class SendError(StrEnum):
    """Why an attempt got no status: one word, which never contains an address or text from outside."""

    TIMEOUT = "timeout"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    PROTOCOL = "protocol"
    ADDRESS_REFUSED = "address_refused"
    URL_REFUSED = "url_refused"
    UNSIGNED = "unsigned"  # the caller has no signing secret


_ON_THE_WAY = frozenset({SendError.TIMEOUT, SendError.DNS, SendError.CONNECT, SendError.TLS, SendError.PROTOCOL})


@dataclass(frozen=True)
class Answer:
    """The outcome of one attempt: an HTTP status, or the error that prevented one."""

    status: int | None
    error: SendError | None
    retry_after: str | None  # the Retry-After header as received
    duration_ms: int

    @property
    def host_failed(self) -> bool | None:
        """Whether the receiver's host is in trouble, or None if the attempt does not show it.

        A 5xx, a 408, a 429 and an error of the network are trouble. Another status is not: one outdated URL must not
        block the deliveries to other URLs on the same host.
        """
        if self.status is not None:
            return self.status >= 500 or self.status in _OVERLOADED
        return True if self.error in _ON_THE_WAY else None

    @property
    def failed(self) -> bool | None:
        """Whether the receiver was asked and has not taken the event. A 410 shows neither: it wants no more of them."""
        if self.status is not None:
            return None if self.status == 410 else not 200 <= self.status < 300
        return True if self.error in _ON_THE_WAY else None


@dataclass(frozen=True, slots=True)
class AttemptEntry:
    """One attempt as it is stored and as callers read it. Times are unix seconds."""

    attempt: int  # its number, from 1 in each schedule
    at: float | None  # its start. None if it is not known
    status: int | None
    error: str | None
    duration_ms: int | None
    next_at: float | None  # when the next attempt is due, or None if no attempt follows
    schedule: int = 1  # the first one, and one more for each redelivery
