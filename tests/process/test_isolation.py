"""Two callers of one service cannot see each other's responses, nor that such responses exist."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from local.azurite import Azurite
from tests.support.peer_processes import error_of
from tests.support.receiver_peer import receiver_peer
from tests.support.service_process import Service, create, finished, service

CALLS = [
    ("GET", ""),
    ("DELETE", ""),
    ("POST", "/cancel"),
    ("GET", "/input_items"),
    ("GET", "/deliveries"),
]
UNKNOWN = "resp_" + "0" * 32


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service with two callers. It must have logged nothing unexpected at the end."""
    with service(tmp_path_factory.mktemp("isolation"), azurite.account(), callers=("alice", "bob")) as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture(scope="module")
def alice(running: Service) -> httpx.Client:
    """Return a client that calls as Alice. The shared receiver verifies with Alice's secret."""
    return running.client("alice")


@pytest.fixture(scope="module")
def bob(running: Service) -> httpx.Client:
    """Return a client that calls as Bob."""
    return running.client("bob")


@pytest.mark.parametrize("model", ["sim-60s", "sim-instant"], ids=["running", "ended"])
@pytest.mark.parametrize(("method", "path"), CALLS)
def test_another_callers_response_does_not_exist(
    alice: httpx.Client, bob: httpx.Client, model: str, method: str, path: str
) -> None:
    """A call with the id or token of another caller's response is answered like a call with an unknown id.

    The call does not change the response.
    """
    response = create(alice, model)
    unknown = bob.request(method, f"/responses/{UNKNOWN}{path}")
    for name in (response["id"], response["continuation_token"] or response["id"]):
        answer = bob.request(method, f"/responses/{name}{path}")
        assert error_of(answer) == error_of(unknown) == (404, None, None)
        assert answer.text.replace(name, UNKNOWN) == unknown.text
        assert answer.headers.keys() == unknown.headers.keys()
    assert alice.get(f"/responses/{response['id']}").json()["status"] in {response["status"], "in_progress"}


def test_another_callers_response_cannot_be_continued(alice: httpx.Client, bob: httpx.Client) -> None:
    """Another caller's response is an unknown `previous_response_id`, whether it runs or has ended."""
    for model in ("sim-60s", "sim-instant"):
        previous = create(alice, model)["id"]
        answer = bob.post("/responses", json={"model": "sim-instant", "previous_response_id": previous})
        assert error_of(answer) == (400, "previous_response_id", "previous_response_not_found")


def test_equal_idempotency_keys_of_two_callers_name_two_responses(alice: httpx.Client, bob: httpx.Client) -> None:
    """An idempotency key belongs to its caller, even with the same body."""
    body, headers = {"model": "sim-0.5s", "input": "One.", "background": True}, {"Idempotency-Key": "same"}
    first, second = (client.post("/responses", json=body, headers=headers).json() for client in (alice, bob))
    assert first["id"] != second["id"]
    assert finished(bob, second)["status"] == "completed"
    assert alice.get(f"/responses/{second['id']}").status_code == 404


def test_callbacks_are_signed_with_their_callers_secret(running: Service, bob: httpx.Client, tmp_path: Path) -> None:
    """Bob's callback verifies with Bob's secret and not with Alice's."""
    with receiver_peer(tmp_path, running.callers["bob"]) as own:
        for receiver, verified in ((running.receiver, False), (own, True)):
            request = running.with_callback(model="sim-instant", callback_url=f"{receiver.url}/callback")
            response_id = bob.post("/responses", json=request).json()["id"]
            assert receiver.first(response_id)["verified"] is verified
