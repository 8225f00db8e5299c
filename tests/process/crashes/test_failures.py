"""The service while something around it fails: a message, the upstream, the network or the receiver."""

import time
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest
from azure.storage.queue import QueueServiceClient, TextBase64EncodePolicy

from local.azurite import Azurite
from local.stack.process import wait_for
from tests.support.chaos_load import Load
from tests.support.peer_processes import Json
from tests.support.service_process import Service, create, finished, service

UNREADABLE = (
    *("x", "[]", "{}", "5", '{"alarm": "alarm|x|y|z"}', '{"shard": "g", "at": 1}'),
    *('{"shard": "0", "at": "x"}', '{"shard": "0", "at": 1, "until": "x"}'),
)


@pytest.fixture(scope="module")
def account(azurite: Azurite) -> str:
    """Return the connection string of the account of the shared service."""
    return azurite.account()


@pytest.fixture(scope="module")
def shared(account: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for the tests that break the model, the receiver or a message."""
    with service(tmp_path_factory.mktemp("failures"), account) as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture
def running(shared: Service) -> Iterator[Service]:
    """Return the shared service. Faults of the model and the receiver are switched off after the test."""
    shared.model.reset()
    yield shared
    shared.model.reset()
    shared.receiver.faults(fail=0, fail_first_per_id=0, status=500, delay_s=0)


@pytest.fixture
def client(running: Service) -> Iterator[httpx.Client]:
    """Return a client of the service."""
    with closing(running.client()) as client:
        yield client


# Messages


def test_messages_that_cannot_be_read_are_dropped(running: Service, client: httpx.Client, account: str) -> None:
    """Each unreadable message is logged once.

    It is not retried, does not become poison, and does not stop the next message.
    """
    with QueueServiceClient.from_connection_string(account) as queues:
        for name in ("nudges", "runs"):
            queue = queues.get_queue_client(name, message_encode_policy=TextBase64EncodePolicy())
            for text in UNREADABLE:
                queue.send_message(text)
        expected = 2 * len(UNREADABLE)
        assert wait_for(lambda: running.hosts[0].written().count(".unreadable") == expected, 30)
        response = create(client, callback_url=f"{running.receiver.url}/callback")
        assert running.receiver.first(response["id"])["type"] == "response.completed"
        poison = [queue.name for queue in queues.list_queues() if queue.name.endswith("-poison")]
        assert poison == ["requests-poison"]  # which always exists
        assert not queues.get_queue_client("requests-poison").peek_messages()
    assert running.unexpected() == []


# The upstream


@pytest.mark.parametrize("outage", ["drop", "503"])
def test_work_starts_when_the_upstream_is_back(running: Service, client: httpx.Client, outage: str) -> None:
    """The caller gets a `queued` response with a token. The work starts once, when the upstream is back."""
    running.model.faults(outage=outage)
    response = client.post("/responses", json=running.with_callback()).json()
    assert (response["status"], bool(response["continuation_token"])) == ("queued", True)
    assert wait_for(lambda: running.model.stats()["creates"] >= 2, 30)
    assert client.get(f"/responses/{response['id']}").json()["status"] == "queued"
    running.model.faults(outage=False)
    assert running.receiver.first(response["id"], 60)["type"] == "response.completed"
    assert running.model.stats()["started"] == {response["id"]: 1}


def test_polls_continue_after_an_outage_of_the_upstream(running: Service, client: httpx.Client) -> None:
    """Polls continue with back-off, and a caller reads the last known status.

    The callback is sent when the upstream is back.
    """
    response = client.post("/responses", json=running.with_callback(model="sim-2s")).json()
    running.model.faults(outage="drop")
    assert wait_for(lambda: running.model.stats()["retrieves"] >= 3, 30)
    shown = client.get(f"/responses/{response['id']}")
    assert (shown.status_code, shown.json()["status"]) == (200, response["status"])
    running.model.faults(outage=False)
    assert running.receiver.first(response["id"], 60)["type"] == "response.completed"


def test_a_create_is_retried_after_a_429(running: Service, client: httpx.Client) -> None:
    """A 429 fails nothing: the response stays `queued`, and the create is retried after the `Retry-After`."""
    running.model.faults(rate_limit={"n": 1, "retry_after": 4})
    began = time.time()
    response = client.post("/responses", json=running.with_callback(model="sim-instant")).json()
    assert response["status"] == "queued"
    callback = running.receiver.first(response["id"])
    assert (callback["type"], callback["received_at"] - began > 4) == ("response.completed", True)
    assert running.model.stats()["creates"] == 2


def test_an_upstream_sets_the_time_of_the_next_poll(running: Service, client: httpx.Client) -> None:
    """The `Retry-After` of an unfinished answer sets the time of the next poll."""
    running.model.faults(retry_after_s=5)
    response = client.post("/responses", json=running.with_callback(model="sim-1s")).json()
    assert running.receiver.first(response["id"])["type"] == "response.completed"
    assert running.model.stats()["retrieves"] <= 2


def test_an_upstream_may_fail_three_calls_in_ten(running: Service, seed: int) -> None:
    """Errors of the upstream fail no response and start no work twice."""
    running.model.faults(error_rate=0.3)
    load = Load(running, seed, count=24, pause_s=1)
    with load.sending():
        pass
    load.settle()
    load.check()
    assert set(load.answers) == {200}


def test_the_quirks_of_azure_are_tolerated(running: Service, client: httpx.Client) -> None:
    """A 404 soon after the create, and nulls while queued, are tolerated and never shown."""
    running.model.faults(missing_s=2.5, null_while_queued=True)
    response = client.post("/responses", json=running.with_callback(model="sim-20s")).json()
    for _ in range(2):
        assert isinstance(response["created_at"], int)
        assert response["output"] == []
        response = client.get(f"/responses/{response['id']}").json()
    quick = client.post("/responses", json=running.with_callback(model="sim-0.5s")).json()
    assert running.receiver.first(quick["id"])["type"] == "response.completed"
    assert client.post(f"/responses/{response['id']}/cancel").json()["status"] == "cancelled"


def test_a_create_whose_answers_are_lost_starts_nothing_twice(running: Service, client: httpx.Client) -> None:
    """The create is repeated with the same key, so the upstream finds the work that it has started."""
    running.model.faults(lose_answers=3)
    response = client.post("/responses", json=running.with_callback()).json()
    assert response["status"] == "queued"
    assert running.receiver.first(response["id"])["type"] == "response.completed"
    assert (running.model.stats()["creates"], running.model.stats()["started"]) == (4, {response["id"]: 1})


def test_a_refusal_of_the_upstream_is_passed_on(running: Service, client: httpx.Client) -> None:
    """The upstream's 4xx is passed on with its message, and nothing is stored.

    A later request may use the same idempotency key.
    """
    running.model.faults(refuse_creates={"status": 422, "message": "Not this one."})
    answer = client.post("/responses", json=running.with_callback(), headers={"Idempotency-Key": "refused"})
    assert (answer.status_code, answer.json()["error"]["message"]) == (422, "Not this one.")
    running.model.faults(refuse_creates=None)
    again = client.post("/responses", json=running.with_callback(), headers={"Idempotency-Key": "refused"})
    assert finished(client, again.json())["status"] == "completed"


# The receiver


def _delivery(client: httpx.Client, response_id: str) -> Json:
    (delivery,) = client.get(f"/responses/{response_id}/deliveries").json()["data"]
    found: Json = delivery
    return found


def _ended(client: httpx.Client, response_id: str, state: str) -> Json:
    assert wait_for(lambda: _delivery(client, response_id)["state"] == state, 30), _delivery(client, response_id)
    return _delivery(client, response_id)


def test_a_receiver_that_fails_first_gets_the_same_event_again(running: Service, client: httpx.Client) -> None:
    """A 500 is followed by another attempt after 5 to 10 s, with the same id and a new signature."""
    running.receiver.faults(fail_first_per_id=1)
    response = client.post("/responses", json=running.with_callback(model="sim-instant")).json()
    assert wait_for(lambda: _delivery(client, response["id"])["attempts"], 10)
    waiting = _delivery(client, response["id"])
    assert (waiting["state"], waiting["next_attempt_at"] > time.time()) == ("pending", True)
    delivery = _ended(client, response["id"], "delivered")
    assert [attempt["status"] for attempt in delivery["attempts"]] == [500, 204]
    first, second = running.receiver.of(response["id"])
    assert first["webhook_id"] == second["webhook_id"] == delivery["webhook_id"]
    assert (first["verified"], second["verified"]) == (True, True)
    assert 5 <= second["received_at"] - first["received_at"] < 15


def test_a_slow_receiver_is_waited_for(running: Service, client: httpx.Client) -> None:
    """An answer after 3 s is accepted, and there is only one attempt."""
    running.receiver.faults(delay_s=3)
    response = client.post("/responses", json=running.with_callback(model="sim-instant")).json()
    (attempt,) = _ended(client, response["id"], "delivered")["attempts"]
    assert (attempt["status"], attempt["duration_ms"] >= 3000) == (204, True)


def test_a_receiver_that_answers_410_gets_no_retry(running: Service, client: httpx.Client) -> None:
    """A 410 ends the delivery and does not change the response."""
    running.receiver.faults(fail_first_per_id=9, status=410)
    response = client.post("/responses", json=running.with_callback(model="sim-instant")).json()
    delivery = _ended(client, response["id"], "gone")
    assert [attempt["status"] for attempt in delivery["attempts"]] == [410]
    assert delivery["next_attempt_at"] is None
    assert client.get(f"/responses/{response['id']}").json()["status"] == "completed"
