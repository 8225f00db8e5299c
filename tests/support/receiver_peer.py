"""A callback receiver as a process of its own, and a client of it."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx

from local.credentials.keys import Credentials
from local.stack.process import wait_for
from tests.support.peer_processes import Json, peer

CALL_S = 30.0
FINISHED_S = 30.0


class ReceiverPeer:
    """A client of a callback receiver process."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=CALL_S, trust_env=False)

    def close(self) -> None:
        """Close the client."""
        self._http.close()

    def faults(self, **switches: object) -> None:
        """Set the receiver's faults from now on."""
        self._http.post("/_faults", json=switches).raise_for_status()

    def received(self) -> list[Json]:
        """Return every callback, in order of arrival."""
        callbacks: list[Json] = self._http.get("/_received").json()
        return callbacks

    def of(self, response_id: str) -> list[Json]:
        """Return the callbacks about one response."""
        return [callback for callback in self.received() if callback["response_id"] == response_id]

    def first(self, response_id: str, deadline_s: float = FINISHED_S) -> Json:
        """Wait for the first callback about a response and return it."""
        callbacks = wait_for(lambda: self.of(response_id), deadline_s)
        assert callbacks, f"no callback about {response_id} within {deadline_s:g} s"
        return callbacks[0]


@contextmanager
def receiver_peer(directory: Path, credentials: Credentials) -> Iterator[ReceiverPeer]:
    """Run a receiver that verifies with this caller's secret."""
    directory.mkdir(exist_ok=True)
    with (
        peer(directory, "local.stack.receiver", "--secret", credentials.signing_secret) as url,
        closing(ReceiverPeer(url)) as receiver,
    ):
        yield receiver
