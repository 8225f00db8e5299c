"""The outcome of one delivery attempt: a status, or one word for why there is none."""

from dataclasses import dataclass
from enum import StrEnum

_OVERLOADED = frozenset({408, 429})


class SendError(StrEnum):
    """Why an attempt got no status. One word, never an address or somebody else's text."""

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
    """The outcome of one attempt: an HTTP status, or an error where there is none."""

    status: int | None
    error: SendError | None
    retry_after: str | None  # the header as it was sent
    duration_ms: int

    @property
    def host_failed(self) -> bool | None:
        """Whether the receiver's host is in trouble; None where the attempt does not show it.

        A refusal is not trouble: one caller's outdated URLs must not cut off the other callers of a shared host.
        """
        if self.status is not None:
            return self.status >= 500 or self.status in _OVERLOADED
        return True if self.error in _ON_THE_WAY else None


@dataclass(frozen=True, slots=True)
class AttemptEntry:
    """One attempt as it is kept and as callers read it. Times are unix seconds."""

    attempt: int  # its number, from 1 over all schedules
    at: float
    status: int | None
    error: str | None
    duration_ms: int
    next_at: float | None  # when the next attempt is due; None if there is none
