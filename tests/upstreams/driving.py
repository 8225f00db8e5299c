"""What the tests of every upstream need: the service over it in each mode, and what the upstream has seen."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from local.azurite import Azurite
from tests.support.peer_processes import Event, Json
from tests.support.service_process import TERMINAL, kinds, service

TEXT = "Whales sing in the ocean, and bees dance."
MODES = ("background", "foreground")
RESPONSE_ID = re.compile(r"(?:ca)?resp_[0-9A-Za-z]+")


@dataclass(frozen=True)
class Upstream:
    """An upstream that runs: its base URL, and a client of it that asks what it has seen."""

    url: str
    http: httpx.Client

    def asked(self, text: str) -> list[Json]:
        """Return the requests with this input, in order."""
        asked: dict[str, list[Json]] = self.http.get("/asked").json()
        return asked.get(text, [])

    def has_stopped(self, text: str) -> bool:
        """Return whether the work for this input was stopped before its end."""
        return text in self.http.get("/stopped").json()


@contextmanager
def upstream_at(url: str) -> Iterator[Upstream]:
    """Yield the upstream that runs at a URL."""
    with closing(httpx.Client(base_url=url, timeout=10, trust_env=False)) as http:
        yield Upstream(url, http)


@contextmanager
def services(directory: Path, azurite: Azurite, url: str) -> Iterator[dict[str, httpx.Client]]:
    """Yield a client of a service over the upstream for each mode. They have logged nothing unexpected at the end."""
    with ExitStack() as cleanup:
        running = {}
        for mode in MODES:
            (directory / mode).mkdir()
            over = service(directory / mode, azurite.account(), UPSTREAM_MODE=mode, UPSTREAM_BASE_URL=url)
            running[mode] = cleanup.enter_context(over)
        yield {mode: one.client() for mode, one in running.items()}
        assert [line for one in running.values() for line in one.unexpected()] == []


def ends(events: Iterable[Event]) -> list[str]:
    """Return the types of the events that end a stream, without their common prefix."""
    return [kind for kind in kinds(events) if kind in TERMINAL]


def names_only(response_id: str, *shown: object) -> None:
    """Assert that what a caller was shown names no response but its own."""
    assert set(RESPONSE_ID.findall(json.dumps(shown))) == {response_id}
