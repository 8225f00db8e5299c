"""What the upstream answers by itself, through OpenAI's SDK: models, tokens, compactions and conversations."""

from collections.abc import Iterator

import httpx
import openai
import pytest

from local.azurite import Azurite
from tests.support.peer_processes import error_of
from tests.support.service_process import Service, create, finished, service


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service with two callers."""
    directory = tmp_path_factory.mktemp("relayed")
    with service(directory, azurite.account(), callers=("first", "second")) as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture(scope="module")
def client(running: Service) -> httpx.Client:
    """Return a client of the first caller."""
    return running.client()


@pytest.fixture(scope="module")
def sdk(client: httpx.Client) -> openai.OpenAI:
    """Return OpenAI's SDK for the first caller."""
    return openai.OpenAI(
        base_url=str(client.base_url), api_key=client.headers["authorization"].split()[1], max_retries=0
    )


def test_models_are_listed(sdk: openai.OpenAI) -> None:
    """They are the upstream's. One that it does not know is its own 404."""
    names = [model.id for model in sdk.models.list()]
    assert "sim-1s" in names
    assert sdk.models.retrieve("sim-1s").id == "sim-1s"
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        sdk.models.retrieve("gpt-none")


def test_tokens_are_counted(sdk: openai.OpenAI) -> None:
    """As the upstream counts them."""
    assert sdk.responses.input_tokens.count(model="sim-1s", input="One two three.").input_tokens > 0


def test_a_response_is_compacted(client: httpx.Client, running: Service) -> None:
    """The Open Responses suite calls this `compact-response`. A response of another caller does not exist."""
    previous = finished(client, create(client, "sim-instant"))
    body = {"model": "sim-1s", "previous_response_id": previous["id"]}
    answer = client.post("/responses/compact", json=body)
    assert answer.json()["object"] == "response.compaction"
    assert answer.json()["asked_for"] not in (None, previous["id"])  # the upstream's own id
    assert error_of(running.client("second").post("/responses/compact", json=body))[:2] == (400, "previous_response_id")


def test_a_compaction_without_a_model_is_refused(client: httpx.Client) -> None:
    """The suite calls this `compact-missing-model`."""
    assert error_of(client.post("/responses/compact", json={"input": "q"}))[:2] == (400, "model")


def test_a_conversation_belongs_to_its_caller(running: Service, client: httpx.Client, sdk: openai.OpenAI) -> None:
    """Another caller neither reads nor continues it. An upstream's project would let both."""
    made = sdk.conversations.create(metadata={"topic": "clients"})
    message = {"type": "message", "role": "user", "content": "One."}
    assert client.post(f"/conversations/{made.id}/items", json={"items": [message]}).is_success
    [item] = client.get(f"/conversations/{made.id}/items", params={"limit": 1}).json()["data"]
    assert item.items() >= message.items()
    create(client, "sim-instant", conversation=made.id)
    other = running.client("second")
    asks = {"model": "sim-instant", "input": "q", "background": True, "conversation": made.id}
    for answer in (
        other.get(f"/conversations/{made.id}"),
        other.get(f"/conversations/{made.id}/items"),
        other.delete(f"/conversations/{made.id}"),
        other.post("/responses", json=asks),
        other.post("/responses", json={**asks, "conversation": {"id": made.id}}),
    ):
        assert error_of(answer)[:2] == (404, "conversation")
    assert sdk.conversations.delete(made.id).deleted
    assert client.get(f"/conversations/{made.id}").status_code == 404


def test_an_unknown_path_below_responses_does_not_exist(client: httpx.Client) -> None:
    """It is no response, so no other method would help. A response has its methods."""
    assert client.post("/responses/summarize", json={}).status_code == 404
    refused = client.put(f"/responses/resp_{'0' * 32}", json={})
    assert (refused.status_code, refused.headers["allow"]) == (405, "DELETE, GET")


def test_a_websocket_is_refused_in_words(client: httpx.Client) -> None:
    """The platform's HTTP triggers take no upgrade."""
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    answer = client.get("/responses", headers=headers)
    assert (answer.status_code, "WebSocket" in answer.json()["error"]["message"]) == (426, True)
