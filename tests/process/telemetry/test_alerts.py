"""The alerts about the upstream and about callbacks find the lines that a host writes when these fail.

The health of the upstream tells the same, and so does each response that waits.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.azurite import Azurite
from local.stack.ports import free_port
from local.stack.process import wait_for
from tests.support.alert_queries import fires, matching
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
    seen = upstream_of(client)
    assert (seen["state"], seen["reason"]) == ("down", reason)
    answer = client.get("/health/upstream")
    assert error_of(answer) == (503, None, reason)
    assert detail in answer.text
    assert wait_for(lambda: fires("upstream-down", running.hosts[0].written()), SOON_S)

    def has_waited() -> bool:  # a probe that is under way waits for nothing
        waiting = client.get(f"/responses/{made['id']}").raise_for_status().json().get("waiting") or {}
        return bool(waiting.get("tries", 0) >= 2 and (waiting["next_at"] or 0) >= waiting["since"] > 0)

    assert wait_for(has_waited, SOON_S)
    found = matching("upstream-down", running.hosts[0].written())
    tries = [line for line in found if line["event"] == "start.deferred"]
    assert len(tries) >= 2
    assert {(line["response"], line["waits_for"]) for line in tries} == {(made["id"], reason)}
    client.post(f"/responses/{made['id']}/cancel").raise_for_status()


@pytest.mark.parametrize(
    ("fault", "alert", "reason"),
    [
        ({"outage": "503"}, "upstream-down", "upstream_down"),
        ({"rate_limit": {"n": 1_000, "retry_after": 600}}, "throttled", "rate_limit"),
    ],
    ids=["outage", "rate-limit"],
)
def test_a_gate_that_stays_closed_is_told_once_a_minute(
    azurite: Azurite, tmp_path: Path, fault: dict[str, Any], alert: str, reason: str
) -> None:
    """One response waits, and hardly any try is made. An instance that has made none knows of the outage, too."""
    with service(tmp_path, azurite.account(), hosts=2) as running:
        client, other = running.client(), running.client(host=1)
        running.model.faults(**fault)
        made = create(client, "sim-instant")

        def closed() -> list[Json]:
            found = [line for host in running.hosts for line in matching(alert, host.written())]
            return [line for line in found if line["event"] == "gate.closed"]

        assert wait_for(closed, SOON_S)
        assert {(line["gate"], line["waits_for"]) for line in closed()} == {("default", reason)}
        if alert == "upstream-down":
            assert wait_for(lambda: other.get("/health/upstream").status_code == 503, SOON_S)
            assert error_of(other.get("/health/upstream")) == (503, None, reason)
        else:
            assert other.get("/health/upstream").is_success
        client.post(f"/responses/{made['id']}/cancel").raise_for_status()


def test_a_first_upstream_that_is_away_raises_its_alert(azurite: Azurite, tmp_path: Path) -> None:
    """Another one takes its responses, so none waits. The health says which one is down."""
    away = {"name": "away", "base_url": f"http://127.0.0.1:{free_port()}/v1", "models": ["sim-instant"]}
    upstreams = json.dumps([{**away, "then": ["default"], "key_setting": "SIMULATED_KEY"}])
    keys = json.dumps({"SIMULATED_KEY": "simulated"})
    with service(tmp_path, azurite.account(), UPSTREAMS=upstreams, UPSTREAM_KEYS=keys) as running:
        client = running.client()

        def is_told() -> bool:
            finished(client, create(client, "sim-instant"))
            return fires("upstream-down", running.hosts[0].written())

        assert wait_for(is_told, SOON_S)
        told = {line["event"] for line in matching("upstream-down", running.hosts[0].written())}
        assert "start.rerouted" in told
        assert "start.deferred" not in told
        seen = client.get("/health/ready").raise_for_status().json()["upstreams"]
        assert seen["default"]["state"] == "up"


def test_creates_that_are_refused_with_403_raise_the_alert(azurite: Azurite, tmp_path: Path) -> None:
    """A firewall or a missing role refuses each, so none of them waits."""
    with service(tmp_path, azurite.account()) as running:
        client = running.client()
        running.model.faults(refuse_creates={"status": 403})
        for _ in range(3):
            answer = client.post("/responses", json={"model": "sim-instant", "input": "One.", "background": True})
            assert answer.status_code == 403
        assert fires("upstream-down", running.hosts[0].written())
        assert error_of(client.get("/health/upstream")) == (503, None, "credentials")


def test_a_receiver_that_refuses_each_callback_raises_its_alert(azurite: Azurite, tmp_path: Path) -> None:
    """It answers 401, so no circuit breaker opens. It has no event all the same."""
    with service(tmp_path, azurite.account()) as running:
        client = running.client()
        running.receiver.faults(fail=100, status=401)
        for _ in range(4):
            assert matching("callbacks-failing", running.hosts[0].written()) == []
            made = finished(client, create(client, "sim-instant", callback_url=f"{running.receiver.url}/callback"))
            assert wait_for(partial(attempts, client, made), SOON_S)
        assert wait_for(lambda: fires("callbacks-failing", running.hosts[0].written()), SOON_S)
        assert matching("breaker-open", running.hosts[0].written()) == []


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
