"""What the headers of a POST tell about its client, and how long it waits for the first byte. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from shared.contract.callers import Caller

# Each of its tries has 100 s to the headers and 100 s more to the end of the body, whatever arrives meanwhile.
_DOTNET = re.compile(r"OpenAI/\S{1,100} \(\.NET |azsdk-net-")
_RETRY_COUNT = "x-stainless-retry-count"  # of OpenAI's SDKs for Python, Node.js, Java, Go and Ruby
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class Client:
    """A client. `retry_count` is the number of the try from 0, or None if the client does not say it.

    `bounds_body`: its time-out covers the whole body, and no byte of it renews it. `request_id` is the same on every
    try of a request, or None. `hold_s` is how long it gets no byte, in seconds, or None for the deployment's setting.
    """

    bounds_body: bool = False
    retry_count: int | None = None
    request_id: str | None = None
    hold_s: float | None = None

    def of(self, caller: Caller) -> "Client":
        """Return it as a client of this caller. If the caller has a `hold_s`, it bounds the whole body."""
        return self if caller.hold_s is None else replace(self, bounds_body=True, hold_s=caller.hold_s)


def client_of(headers: Mapping[str, str]) -> Client:
    """Return the client that these headers, with names in lower case, are from."""
    count = headers.get(_RETRY_COUNT, "")
    is_count = count.isdecimal() and len(count) <= 4
    return Client(
        bounds_body=bool(_DOTNET.search(headers.get("user-agent", ""))),
        retry_count=int(count) if is_count else None,
        request_id=_request_id(headers),
    )


def _request_id(headers: Mapping[str, str]) -> str | None:
    """Return the id that Azure's libraries for .NET give a request. Others give each try its own, or a constant."""
    given = headers.get("x-ms-client-request-id", "")
    is_azure = "azsdk-net-" in headers.get("user-agent", "")
    return given.lower() if is_azure and _GUID.fullmatch(given) else None
