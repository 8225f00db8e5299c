"""The alerts about the upstream and about callbacks find the lines that a host writes when these fail.

The health of the upstream tells the same, and so does each response that waits.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.azurite import Azurite
from local.stack.ports import free_port
from local.stack.process import wait_for
from tests.support.alert_queries import matching
from tests.support.peer_processes import Json, error_of
from tests.support.service_process import Service, create, finished, service

SOON_S = 60.0


def upstream_of(client: httpx.Client) -> Json:
    """Return how the service says that it has last seen its upstream."""
    seen: Json = client.get("/health/ready").raise_for_status().json()["upstream"]
    return seen


@pytest.fixture(params=["away", "keyless"])
def broken(
    request: pytest.FixtureRequest, azurite: Azurite, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, str, str]]:
    """Run a service whose upstream cannot be reached, or refuses its key. Yield it with the reason and the detail."""
    is_away = request.param == "away"
    settings: dict[str, Any] = {"UPSTREAM_BASE_URL": f"http://127.0.0.1:{free_port()}/v1"} if is_away else {}
    with service(tmp_path_factory.mktemp("broken"), azurite.account(), **settings) as running:
        running.model.faults(refuse_creates={"status": 401})
        yield running, *(("upstream_down", "ConnectError") if is_away else ("credentials", "status 401"))


def test_an_upstream_that_fails_raises_its_alert(broken: tuple[Service, str, str]) -> None:
    """The caller reads why its response waits, `/health/upstream` is 503, and the service still takes work."""
    running, reason, detail = broken
    client = running.client()
    assert upstream_of(client)["state"] == "unknown"
    assert client.get("/health/upstream").is_success
    made = create(client, "sim-0.5s")
    assert (made["status"], made["waiting"]["reason"], made["waiting"]["detail"]) == ("queued", reason, detail)
    assert wait_for(lambda: upstream_of(client)["state"] == "down", SOON_S)
    assert upstream_of(client)["reason"] == reason
    answer = client.get("/health/upstream")
    assert error_of(answer) == (503, None, reason)
    assert detail in answer.text
    waiting = client.get(f"/responses/{made['id']}").json()["waiting"]
    assert waiting["tries"] >= 2
    assert waiting["next_at"] >= waiting["since"] > 0
    found = matching("upstream-down", running.hosts[0].written())
    assert len(found) >= 3
    assert {(line["response"], line["waits_for"]) for line in found} == {(made["id"], reason)}
    client.post(f"/responses/{made['id']}/cancel").raise_for_status()


def test_a_host_of_callbacks_that_fails_raises_its_alert(azurite: Azurite, tmp_path: Path) -> None:
    """The fourth failure in a row is told. An upstream that works raises no alert."""
    with service(tmp_path, azurite.account()) as running:
        client, dead = running.client(), f"http://127.0.0.1:{free_port()}/hook"
        for _ in range(4):
            assert matching("callbacks-failing", running.hosts[0].written()) == []
            made = finished(client, create(client, "sim-instant", callback_url=dead))
            assert wait_for(partial(attempts, client, made), SOON_S)
        assert wait_for(lambda: matching("callbacks-failing", running.hosts[0].written()), SOON_S)
        (line,) = matching("callbacks-failing", running.hosts[0].written())
        assert (line["caller"], line["host"]) == ("first", "127.0.0.1")
        assert matching("upstream-down", running.hosts[0].written()) == []
        assert upstream_of(client)["state"] == "up"


def attempts(client: httpx.Client, response: Json) -> list[Json]:
    """Return the attempts of a response's delivery."""
    (delivery,) = client.get(f"/responses/{response['id']}/deliveries").raise_for_status().json()["data"]
    found: list[Json] = delivery["attempts"]
    return found
