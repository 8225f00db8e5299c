"""The main job over HTTP, against every simulated model: create, poll, finish and call back."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from azure.storage.queue import QueueClient, TextBase64DecodePolicy

from local.azurite import Azurite
from local.stack.process import wait_for
from tests.support.peer_processes import Json, error_of
from tests.support.service_process import Service, create, finished, output_text, service

# The fields that the Open Responses suite requires (the strictest reader known), and our own.
FIELDS = {
    *("id", "object", "created_at", "completed_at", "status", "incomplete_details", "model", "previous_response_id"),
    *("instructions", "output", "error", "tools", "tool_choice", "truncation", "parallel_tool_calls", "text", "top_p"),
    *("presence_penalty", "frequency_penalty", "top_logprobs", "temperature", "reasoning", "usage", "store"),
    *("max_output_tokens", "max_tool_calls", "background", "service_tier", "metadata", "safety_identifier"),
    *("prompt_cache_key", "continuation_token", "ended_at"),
}
ENDS = {
    "sim-instant": ("completed", None, None),
    "sim-1s": ("completed", None, None),
    "sim-fail-0.5s": ("failed", "server_error", None),
    "sim-incomplete-0.5s": ("incomplete", None, {"reason": "max_output_tokens"}),
}
WEATHER = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture(scope="module")
def account(azurite: Azurite) -> str:
    """Return the connection string of the service's storage account."""
    return azurite.account()


@pytest.fixture(scope="module")
def running(account: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all tests of this module. It must have logged nothing unexpected at the end."""
    with service(tmp_path_factory.mktemp("flows"), account, REPLY_QUEUES="results") as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture(scope="module")
def client(running: Service) -> httpx.Client:
    """Return a client of the service."""
    return running.client()


@pytest.mark.parametrize("model", ENDS)
def test_every_model_ends_and_calls_back(running: Service, client: httpx.Client, model: str) -> None:
    """A verified callback announces each end, although the caller does not poll.

    Every later read returns the same terminal response.
    """
    first = create(client, **running.with_callback(model=model))
    response_id = first["id"]
    callback = running.receiver.first(response_id)

    status, code, details = ENDS[model]
    assert (callback["verified"], callback["type"], callback["answered"]) == (True, f"response.{status}", 204)
    ended = client.get(f"/responses/{response_id}").json()
    assert (ended["status"], ended["incomplete_details"]) == (status, details)
    assert (ended["error"] or {}).get("code") == code
    assert (ended["completed_at"] is not None) == (status == "completed")
    assert ended["continuation_token"] is None
    assert client.get(f"/responses/{response_id}").json() == ended
    for response in (first, ended):
        _check_complete(response)


def _check_complete(response: Json) -> None:
    """Assert that a response has all fields, a list as `output` and an integer as `created_at`."""
    assert response.keys() >= FIELDS
    assert isinstance(response["output"], list)
    assert isinstance(response["created_at"], int)
    assert response["background"] is True


def test_the_token_leads_to_the_result(client: httpx.Client) -> None:
    """The token of an unfinished response leads to its own result. A finished response has no token."""
    first = create(client, "sim-0.5s", input="Whales sing in the ocean.")
    second = create(client, "sim-0.5s", input="Bees dance in the hive.")
    assert first["continuation_token"]
    assert first["status"] in {"queued", "in_progress"}
    answers = [finished(client, response) for response in (first, second)]
    assert [answer["continuation_token"] for answer in answers] == [None, None]
    assert "Whales sing in the ocean." in output_text(answers[0])
    assert "Bees dance in the hive." in output_text(answers[1])


def test_an_instant_answer_needs_no_token(client: httpx.Client) -> None:
    """A response that the upstream finishes in its create answer is returned finished, without a token."""
    response = create(client, "sim-instant")
    assert (response["status"], response["continuation_token"]) == ("completed", None)


def test_a_tool_loop_goes_through_previous_response_id(client: httpx.Client) -> None:
    """The service translates `previous_response_id` to the upstream's id. The caller reads the service's own id."""
    asking = finished(client, create(client, "sim-tool", input="Is it raining?", tools=[WEATHER]))
    (call,) = asking["output"]
    assert (call["type"], call["name"]) == ("function_call", "weather")
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "Heavy rain in Bergen."}
    following = create(client, "sim-tool", input=[result], tools=[WEATHER], previous_response_id=asking["id"])
    ended = finished(client, following)
    assert ended["previous_response_id"] == asking["id"]
    assert "Heavy rain in Bergen." in output_text(ended)


def test_only_a_finished_response_can_be_continued(client: httpx.Client) -> None:
    """An unknown or unfinished `previous_response_id` is a 400 that names the field."""
    running_id = create(client, "sim-60s")["id"]
    for previous, code in (("resp_" + "0" * 32, "not_found"), (running_id, "not_finished")):
        answer = client.post("/responses", json={"model": "sim-1s", "previous_response_id": previous})
        assert error_of(answer) == (400, "previous_response_id", f"previous_response_{code}")


def test_waiting_ends_with_the_response(client: httpx.Client) -> None:
    """`Prefer: wait` answers as soon as the response is terminal, on POST and on GET."""
    body = {"model": "sim-1s", "input": "One.", "background": True}
    posted = client.post("/responses", json=body, headers={"Prefer": "wait=20"})
    assert posted.json()["status"] == "completed"
    response = create(client, "sim-1s")
    got = client.get(f"/responses/{response['id']}", headers={"Prefer": "wait=20"})
    assert got.json()["status"] == "completed"


def test_waiting_ends_after_the_requested_time(client: httpx.Client) -> None:
    """A response that is unfinished after the wait comes back with its token. Headers say when to poll again."""
    began = time.monotonic()
    body = {"model": "sim-60s", "background": True}
    answer = client.post("/responses", json=body, headers={"Prefer": "wait=1"})
    assert 1 <= time.monotonic() - began < 5
    assert answer.status_code == 200
    assert answer.json()["continuation_token"]
    assert int(answer.headers["retry-after"]) >= 1
    assert int(answer.headers["openai-poll-after-ms"]) >= 1000


def test_respond_async_answers_202_with_a_location(running: Service, client: httpx.Client) -> None:
    """The response can be fetched at the `Location` of the 202."""
    answer = client.post("/responses", json={"model": "sim-1s"}, headers={"Prefer": "respond-async"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "respond-async")
    assert int(answer.headers["retry-after"]) >= 1
    location = f"{running.hosts[0].url}{answer.headers['location']}"
    assert client.get(location).json()["id"] == answer.json()["id"]


@pytest.mark.parametrize("fields", [{}, {"background": False}])
def test_foreground_work_waits_for_its_end(client: httpx.Client, fields: Json) -> None:
    """Without `background`, or with `false`, the answer is the finished response."""
    answer = client.post("/responses", json={"model": "sim-1s", "input": "One.", **fields})
    response = answer.json()
    assert (response["status"], response["background"], response["continuation_token"]) == ("completed", False, None)


@pytest.mark.parametrize("base", ["openai/v1", "v1", "openai"])
def test_every_base_path_serves_the_whole_contract(running: Service, base: str) -> None:
    """Create, retrieve, list, cancel and delete work with the `api-version` parameter of older Azure clients."""
    client = running.client(base=base)
    client.params = {"api-version": "2025-04-01-preview"}
    response = create(client, "sim-60s", input="One.")
    path = f"/responses/{response['id']}"
    assert client.get(path).json()["id"] == response["id"]
    assert len(client.get(f"{path}/input_items").json()["data"]) == 1
    assert client.get(f"{path}/deliveries").json() == {"object": "list", "data": []}
    assert client.post(f"{path}/cancel").json()["status"] == "cancelled"
    assert client.delete(path).json() == {"id": response["id"], "object": "response", "deleted": True}
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("header", ["Authorization", "api-key", "x-functions-key"])
def test_the_key_may_come_in_any_of_three_headers(running: Service, header: str) -> None:
    """The key is accepted as a bearer token, in Azure's `api-key` and in the Functions platform's `x-functions-key`."""
    key = running.callers["first"].api_key
    value = f"Bearer {key}" if header == "Authorization" else key
    answer = running.stranger().post("/v1/responses", json={"model": "sim-instant"}, headers={header: value})
    assert answer.json()["status"] == "completed"


def test_input_items_are_paged(client: httpx.Client) -> None:
    """Input items come newest first unless `order` says otherwise, in pages that name their last item."""
    texts = [{"role": "user", "content": f"Number {n}."} for n in range(5)]
    path = f"/responses/{create(client, 'sim-instant', input=texts)['id']}/input_items"
    newest = client.get(path, params={"limit": 2}).json()
    assert [item["content"][0]["text"] for item in newest["data"]] == ["Number 4.", "Number 3."]
    assert (newest["object"], newest["has_more"], newest["last_id"]) == ("list", True, newest["data"][1]["id"])
    rest = client.get(path, params={"after": newest["last_id"]}).json()
    assert (len(rest["data"]), rest["has_more"]) == (3, False)
    oldest = client.get(path, params={"order": "asc", "limit": 1}).json()
    assert oldest["data"] == rest["data"][-1:]


def test_deliveries_show_every_attempt(running: Service, client: httpx.Client) -> None:
    """The list shows the state of the callback and each attempt. Its `webhook_id` is the one that the receiver got."""
    response_id = client.post("/responses", json=running.with_callback(model="sim-instant")).json()["id"]
    callback = running.receiver.first(response_id)

    def delivered() -> Json | None:
        (found,) = client.get(f"/responses/{response_id}/deliveries").json()["data"]
        return found if found["state"] == "delivered" else None

    delivery = wait_for(delivered, 10)
    assert delivery
    assert (delivery["target"], delivery["webhook_id"]) == ("callback", callback["webhook_id"])
    assert [(attempt["attempt"], attempt["status"]) for attempt in delivery["attempts"]] == [(1, 204)]
    assert delivery["next_attempt_at"] is None


def test_metadata_may_carry_the_callback_url(running: Service, client: httpx.Client) -> None:
    """Clients that cannot add fields send `callback_url` in `metadata`. The metadata is returned as sent."""
    metadata = {"callback_url": f"{running.receiver.url}/metadata", "purpose": "test"}
    response = create(client, "sim-instant", metadata=metadata)
    assert response["metadata"] == metadata
    callback = running.receiver.first(response["id"])
    assert (callback["path"], callback["verified"]) == ("/metadata", True)


def test_a_reply_queue_gets_the_event(client: httpx.Client, account: str) -> None:
    """The terminal event arrives on a reply queue that the deployment allows. Any other queue is a 400."""
    with QueueClient.from_connection_string(
        account, "results", message_decode_policy=TextBase64DecodePolicy()
    ) as queue:
        queue.create_queue()
        response = create(client, "sim-0.5s", reply_to="results")
        message = wait_for(queue.receive_message, 30)
        assert message
    event = json.loads(message.content)
    assert (event["type"], event["data"]["id"]) == ("response.completed", response["id"])
    refused = client.post("/responses", json={"model": "sim-1s", "reply_to": "nudges"})
    assert error_of(refused) == (400, "reply_to", "queue_not_allowed")


def test_a_cancel_reaches_the_upstream_and_calls_back(running: Service, client: httpx.Client) -> None:
    """A cancelled response is terminal at once. A callback announces it, and the upstream stops its work."""
    before = running.model.stats()["cancelled"]
    response = client.post("/responses", json=running.with_callback(model="sim-60s")).json()
    path = f"/responses/{response['id']}"
    cancelled = client.post(f"{path}/cancel").json()
    assert (cancelled["status"], cancelled["output"], cancelled["continuation_token"]) == ("cancelled", [], None)
    assert client.post(f"{path}/cancel").json() == cancelled
    assert running.receiver.first(response["id"])["type"] == "response.cancelled"
    assert wait_for(lambda: running.model.stats()["cancelled"] > before, 30)
    assert client.get(path).json() == cancelled


def test_an_ended_response_cannot_be_cancelled_nor_a_running_one_deleted(client: httpx.Client) -> None:
    """Each request is a 400 with the message of the contract."""
    ended, unfinished = create(client, "sim-instant")["id"], create(client, "sim-60s")["id"]
    refused = [client.post(f"/responses/{ended}/cancel"), client.delete(f"/responses/{unfinished}")]
    assert [answer.status_code for answer in refused] == [400, 400]
    messages = [answer.json()["error"]["message"] for answer in refused]
    assert messages == ["Cannot cancel a completed response.", "Cannot delete an in-flight response."]


def test_a_repeat_with_the_same_key_is_the_same_response(running: Service, client: httpx.Client) -> None:
    """Eight concurrent requests with one key and one body create one response. Another body creates another."""
    body = {"model": "sim-1s", "input": "Same.", "background": True}
    headers = {"Idempotency-Key": "k1"}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/responses", json=body, headers=headers), range(8)))
    assert {answer.status_code for answer in answers} == {200}
    (response_id,) = {answer.json()["id"] for answer in answers}
    assert running.model.stats()["started"][response_id] == 1
    other = client.post("/responses", json={**body, "input": "Other."}, headers=headers)
    assert other.json()["id"] != response_id
