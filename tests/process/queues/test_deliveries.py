"""Redelivery and recovery over HTTP, under every base path. A failed event is sent again under its first id."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from local.azurite import Azurite
from local.stack.process import wait_for
from tests.support.peer_processes import Json, error_of
from tests.support.service_process import Service, create, service

BASES = ["openai/v1", "v1", "openai"]
DELIVERED_S = 90.0  # usually one second, this much if the message that starts the delivery is lost
UNKNOWN = "resp_" + "0" * 32
REDELIVER = "/responses/{id}/deliveries/redeliver"


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all tests of this module. It must have logged nothing unexpected at the end.

    The receiver verifies the callbacks of the first caller.
    """
    directory = tmp_path_factory.mktemp("deliveries")
    with service(directory, azurite.account(), callers=("first", "second"), REPLY_QUEUES="replies*") as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture(scope="module")
def client(running: Service) -> httpx.Client:
    """Return a client of the service."""
    return running.client()


@pytest.fixture(params=BASES)
def based(running: Service, request: pytest.FixtureRequest) -> httpx.Client:
    """Return a client that uses one of the base paths and the `api-version` of older Azure clients."""
    client = running.client(base=request.param)
    client.params = {"api-version": "2025-04-01-preview"}
    return client


def failed(running: Service, client: httpx.Client) -> str:
    """Return the id of a response whose callback the receiver refused for good, with a 413."""
    running.receiver.faults(fail=1, status=413)
    response_id = str(create(client, **running.with_callback(model="sim-instant"))["id"])
    assert wait_for(lambda: delivery(client, response_id)["state"] == "failed", DELIVERED_S)
    return response_id


def delivery(client: httpx.Client, response_id: str) -> Json:
    """Return the only delivery of a response, as its caller sees it."""
    (found,) = client.get(f"/responses/{response_id}/deliveries").json()["data"]
    shown: Json = found
    return shown


def await_attempts(client: httpx.Client, response_id: str, *statuses: int) -> Json:
    """Wait until the delivery has succeeded and return it. Its attempts must have these statuses."""
    assert wait_for(lambda: delivery(client, response_id)["state"] == "delivered", DELIVERED_S)
    found = delivery(client, response_id)
    assert [attempt["status"] for attempt in found["attempts"]] == [*statuses]
    return found


@pytest.mark.parametrize("body", [b"", b"{}", b'{"target": "callback"}'], ids=["no body", "empty", "named"])
def test_a_failed_event_is_delivered_again(running: Service, based: httpx.Client, body: bytes) -> None:
    """The answer shows the delivery as pending.

    The receiver then gets the event with a valid signature, under the id of the first attempt.
    """
    response_id = failed(running, based)
    answer = based.post(REDELIVER.format(id=response_id), content=body)
    assert answer.status_code == 200, answer.text
    (begun,) = answer.json()["data"]
    assert (answer.json()["object"], begun["target"], begun["state"]) == ("list", "callback", "pending")
    made = await_attempts(based, response_id, 413, 204)
    callbacks = running.receiver.of(response_id)
    assert {(one["webhook_id"], one["verified"]) for one in callbacks} == {(made["webhook_id"], True)}


def test_a_delivered_event_is_delivered_again(running: Service, client: httpx.Client) -> None:
    """A receiver that has lost an event can get it again."""
    response_id = str(create(client, **running.with_callback(model="sim-instant"))["id"])
    await_attempts(client, response_id, 204)
    client.post(REDELIVER.format(id=response_id)).raise_for_status()
    await_attempts(client, response_id, 204, 204)


def test_a_recovery_redelivers_every_event_that_has_failed_since(running: Service, based: httpx.Client) -> None:
    """A recovery sends each event that has failed since the given unix time, once.

    A second recovery from the same time finds nothing.
    """
    since = f"{time.time():.3f}"
    lost = [failed(running, based) for _ in range(3)]
    answer = based.post("/deliveries/recover", params={"since": since})
    assert answer.json() == {"object": "delivery.recovery", "recovered": 3, "has_more": False, "dry_run": False}
    for response_id in lost:
        await_attempts(based, response_id, 413, 204)
    again = based.post("/deliveries/recover", params={"since": since})
    assert again.json()["recovered"] == 0


def test_a_recovery_accepts_a_time_in_iso_8601(running: Service, client: httpx.Client) -> None:
    """A recovery accepts an ISO 8601 time. A delivery that failed before it stays failed."""
    before = failed(running, client)
    since = datetime.now(UTC).isoformat()
    after = failed(running, client)
    assert client.post("/deliveries/recover", params={"since": since}).json()["recovered"] == 1
    await_attempts(client, after, 413, 204)
    assert delivery(client, before)["state"] == "failed"


def test_a_caller_cannot_recover_the_deliveries_of_another(running: Service, client: httpx.Client) -> None:
    """For another caller the response is a 404, and a recovery finds no failed delivery."""
    since = f"{time.time():.3f}"
    response_id = failed(running, client)
    other = running.client("second")
    theirs, unknown = (other.post(REDELIVER.format(id=name)) for name in (response_id, UNKNOWN))
    assert error_of(theirs) == error_of(unknown) == (404, None, None)
    assert theirs.text.replace(response_id, UNKNOWN) == unknown.text
    assert other.post("/deliveries/recover", params={"since": since}).json()["recovered"] == 0
    assert delivery(client, response_id)["state"] == "failed"


@pytest.mark.parametrize("path", [REDELIVER.format(id=UNKNOWN), "/deliveries/recover?since=0"])
def test_a_key_is_needed(running: Service, path: str) -> None:
    """The key is checked before anything else."""
    for base in BASES:
        assert error_of(running.stranger().post(f"/{base}{path}")) == (401, None, "invalid_api_key")


def test_a_redelivery_of_nothing_is_400(running: Service, based: httpx.Client) -> None:
    """A redelivery is a 400 with its own code for each reason.

    The reasons are an unfinished response, a response without a target, and a target that the response does not have.
    """
    unfinished = create(based, **running.with_callback(model="sim-60s"))["id"]
    untold = create(based, "sim-instant")["id"]
    received = create(based, **running.with_callback(model="sim-instant"))["id"]
    refused = [
        based.post(REDELIVER.format(id=unfinished)),
        based.post(REDELIVER.format(id=untold)),
        based.post(REDELIVER.format(id=received), json={"target": "reply_queue"}),
    ]
    codes = ["response_not_finished", "no_delivery", "no_delivery"]
    assert [error_of(answer) for answer in refused] == [(400, None, code) for code in codes]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (b'{"target": "both"}', "target", "invalid_value"),
        (b'{"target": 5}', "target", "invalid_value"),
        (b"{", None, "invalid_json"),
        (b"[]", None, "invalid_type"),
    ],
)
def test_a_wrong_redelivery_body_is_400(based: httpx.Client, body: bytes, param: str | None, code: str) -> None:
    """A body without a valid target is a 400 that says what is wrong."""
    answer = based.post(REDELIVER.format(id=UNKNOWN), content=body, headers={"Content-Type": "application/json"})
    assert error_of(answer) == (400, param, code)


@pytest.mark.parametrize("since", [None, "", "yesterday", "-1", "2027-01-31", "2027-01-31T08:00:00", "1e9", "NaN"])
def test_a_recovery_needs_a_time(based: httpx.Client, since: str | None) -> None:
    """A missing or malformed `since` is a 400. A time without a zone is malformed."""
    answer = based.post("/deliveries/recover", params={} if since is None else {"since": since})
    assert error_of(answer) == (400, "since", "invalid_value")


@pytest.mark.parametrize("path", [REDELIVER.format(id=UNKNOWN), "/deliveries/recover"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_only_post_starts_deliveries(based: httpx.Client, method: str, path: str) -> None:
    """Any other method is a 405 whose `Allow` header says POST."""
    answer = based.request(method, path)
    assert error_of(answer) == (405, None, None)
    assert answer.headers["allow"] == "POST"


def test_upstream_webhooks_are_404_without_their_secret(running: Service) -> None:
    """Without the secret a POST is a 404. A GET is a 405, as it is everywhere."""
    answers = [running.stranger().post("/webhooks/upstream", json={}), running.stranger().get("/webhooks/upstream")]
    assert [error_of(answer) for answer in answers] == [(404, None, None), (405, None, None)]
    assert answers[1].headers["allow"] == "POST"
