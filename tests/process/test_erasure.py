"""Erasure over HTTP: what is ordered is gone for its caller, and the receipt says so."""

from collections.abc import Iterator

import httpx
import pytest

from local.azurite import Azurite
from tests.support.peer_processes import Json, error_of, eventually
from tests.support.service_process import Service, create, service

BASES = ["openai/v1", "v1", "openai"]


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all tests of this module. It must have logged nothing unexpected at the end."""
    with service(tmp_path_factory.mktemp("erasure"), azurite.account()) as running:
        yield running
        assert running.unexpected() == []


def completed(client: httpx.Client, ordered: Json) -> Json:
    """Wait until an erasure is over, and return its receipt."""
    path = f"/erasures/{ordered['id']}"
    eventually(lambda: bool(client.get(path).json()["status"] == "completed"), 30)
    receipt: Json = client.get(path).json()
    return receipt


@pytest.mark.parametrize("base", BASES)
def test_the_responses_of_a_person_are_erased(running: Service, base: str) -> None:
    """Those that have ended and those that have not. Other responses stay, and nothing of the person is shown."""
    client = running.client(base=base)
    anna = [create(client, model, user="anna@example.com")["id"] for model in ("sim-instant", "sim-60s")]
    bert = create(client, "sim-instant", user="bert@example.com")["id"]
    ordered = client.delete("/responses", params={"user": "anna@example.com"})
    assert ordered.status_code == 202
    receipt = completed(client, ordered.json())
    assert (receipt["cancelled"], receipt["deleted"], receipt["by"]) == (1, 2, ["user"])
    assert [client.get(f"/responses/{one}").status_code for one in (*anna, bert)] == [404, 404, 200]
    listed = {item["id"] for item in client.get("/responses", params={"limit": "100"}).json()["data"]}
    assert not listed & set(anna)
    assert "anna" not in ordered.text + str(receipt)


def test_an_order_that_names_nothing_is_400(running: Service) -> None:
    """It would erase everything. Somebody else's receipt is a 404."""
    client = running.client()
    assert error_of(client.delete("/responses")) == (400, "before", "missing_required")
    assert error_of(client.delete("/responses", params={"before": "soon"})) == (400, "before", "invalid_value")
    assert error_of(client.get(f"/erasures/erasure_{'0' * 32}"))[0] == 404
    for base in BASES:
        assert error_of(running.stranger().delete(f"/{base}/responses"))[0] == 401
