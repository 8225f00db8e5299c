"""What one attempt to deliver brought."""

from dataclasses import dataclass
from enum import StrEnum


class SendError(StrEnum):
    """Why an attempt brought no status: one word, never an address or another's text."""

    TIMEOUT = "timeout"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    PROTOCOL = "protocol"
    ADDRESS_REFUSED = "address_refused"
    URL_REFUSED = "url_refused"
    UNSIGNED = "unsigned"  # the caller has no signing secret (any more)


@dataclass(frozen=True)
class Answer:
    """What one attempt brought: a status, or the word for why there is none."""

    status: int | None
    error: SendError | None
    retry_after: str | None
    duration_ms: int
