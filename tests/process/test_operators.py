"""Operators over HTTP: what they see of all callers, and who is refused."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from local.azurite import Azurite
from local.credentials.keys import new_credentials
from tests.support.peer_processes import Json, error_of
from tests.support.service_process import Service, service

PATHS = [
    ("GET", "/operator/status"),
    ("GET", "/operator/responses"),
    ("GET", "/operator/deliveries"),
    ("GET", "/operator/usage"),
    ("DELETE", "/operator/responses?caller=bob"),
    ("POST", f"/operator/responses/resp_{'0' * 32}/cancel"),
    ("POST", f"/operator/responses/resp_{'0' * 32}/deliveries/redeliver"),
]
Clients = dict[str, httpx.Client]


@pytest.fixture(scope="module")
def clients(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    """Run a service with two callers and an operator. Yield a client of each."""
    known = {name: new_credentials(name) for name in ("ann", "bob", "ops")}
    callers = [one.configuration() | ({"role": "operator"} if name == "ops" else {}) for name, one in known.items()]
    settings: dict[str, Any] = {"CALLERS": json.dumps(callers)}
    with ExitStack() as cleanup:
        running = cleanup.enter_context(service(tmp_path_factory.mktemp("operators"), azurite.account(), **settings))
        yield {name: cleanup.enter_context(client_of(running, one.api_key)) for name, one in known.items()}
        assert running.unexpected() == []


def client_of(running: Service, key: str) -> httpx.Client:
    """Return a client with this key."""
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=f"{running.hosts[0].url}/openai/v1", headers=headers, timeout=30, trust_env=False)


def made(client: httpx.Client) -> Json:
    """Return a response of long work."""
    request = {"model": "sim-60s", "input": "a secret", "background": True, "metadata": {"k": "a secret"}}
    created: Json = client.post("/responses", json=request).raise_for_status().json()
    return created


def test_an_operator_sees_and_cancels_the_work_of_all_callers(clients: Clients) -> None:
    """Without its content. The caller then reads that it was cancelled."""
    ids = {name: made(clients[name])["id"] for name in ("ann", "bob")}
    ops = clients["ops"]
    status = ops.get("/operator/status").raise_for_status()
    assert status.json()["in_flight"]["by_caller"] == {"ann": 1, "bob": 1}
    assert status.json()["this_process"]["last_hour"]["accepted"] == 2
    listed = ops.get("/operator/responses").raise_for_status()
    assert {item["id"]: item["caller"] for item in listed.json()["data"]} == {one: name for name, one in ids.items()}
    assert "a secret" not in status.text + listed.text
    cancelled = ops.post(f"/operator/responses/{ids['ann']}/cancel").raise_for_status()
    assert cancelled.json()["status"] == clients["ann"].get(f"/responses/{ids['ann']}").json()["status"] == "cancelled"
    of_ann = ops.get("/operator/responses", params={"caller": "ann", "status": "cancelled"}).json()["data"]
    assert [item["id"] for item in of_ann] == [ids["ann"]]
    assert clients["ops"].get(f"/responses/{ids['bob']}").status_code == 404
    clients["bob"].post(f"/responses/{ids['bob']}/cancel").raise_for_status()


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_no_other_caller_may_do_this(clients: Clients, method: str, path: str) -> None:
    """Whether the response exists makes no difference."""
    assert error_of(clients["ann"].request(method, path)) == (403, None, "operator_required")
    with client_like(clients["ann"]) as stranger:
        assert error_of(stranger.request(method, path))[0] == 401


def client_like(client: httpx.Client) -> httpx.Client:
    """Return a client of the same service without a key."""
    return httpx.Client(base_url=client.base_url, timeout=30, trust_env=False)


def test_ended_responses_of_all_callers_are_not_listed(clients: Clients) -> None:
    """That would read everything that has ever ended."""
    answer = clients["ops"].get("/operator/responses", params={"status": "failed"})
    assert error_of(answer) == (400, "caller", "missing_required")
