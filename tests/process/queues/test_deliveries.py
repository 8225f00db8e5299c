"""Redelivery and recovery over HTTP, under every base path: what has failed is sent again, under its first id."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from local.azurite import Azurite
from local.stack.process import wait_for
from tests.support.peer_processes import error_of
from tests.support.service_process import Json, Service, create, service

BASES = ["openai/v1", "v1", "openai"]
DELIVERED_S = 90.0  # usually one; this much where the message that asks for a delivery is lost
UNKNOWN = "resp_" + "0" * 32
REDELIVER = "/responses/{id}/deliveries/redeliver"


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all tests here; the first caller's callbacks are verified. It logs nothing unexpected."""
    directory = tmp_path_factory.mktemp("deliveries")
    with service(directory, azurite.account(), callers=("first", "second"), REPLY_QUEUES="replies*") as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture(scope="module")
def client(running: Service) -> httpx.Client:
    """Give a client of the service."""
    return running.client()


@pytest.fixture(params=BASES)
def based(running: Service, request: pytest.FixtureRequest) -> httpx.Client:
    """Give a client that uses one of the base paths, as older Azure clients do it too."""
    client = running.client(base=request.param)
    client.params = {"api-version": "2025-04-01-preview"}
    return client


def failed(running: Service, client: httpx.Client) -> str:
    """Return a response whose callback was refused for good."""
    running.receiver.faults(fail=1, status=413)
    response_id = str(create(client, **running.with_callback(model="sim-instant"))["id"])
    assert wait_for(lambda: delivery(client, response_id)["state"] == "failed", DELIVERED_S)
    return response_id


def delivery(client: httpx.Client, response_id: str) -> Json:
    """Return the one delivery of a response as its caller sees it."""
    (found,) = client.get(f"/responses/{response_id}/deliveries").json()["data"]
    shown: Json = found
    return shown


def await_attempts(client: httpx.Client, response_id: str, *statuses: int) -> Json:
    """Wait until the delivery has been made after these attempts; return it."""
    assert wait_for(lambda: delivery(client, response_id)["state"] == "delivered", DELIVERED_S)
    found = delivery(client, response_id)
    assert [attempt["status"] for attempt in found["attempts"]] == [*statuses]
    return found


@pytest.mark.parametrize("body", [b"", b"{}", b'{"target": "callback"}'], ids=["no body", "empty", "named"])
def test_what_has_failed_is_delivered_again(running: Service, based: httpx.Client, body: bytes) -> None:
    """The answer shows it as begun; the event comes under the id of the first, verified."""
    response_id = failed(running, based)
    answer = based.post(REDELIVER.format(id=response_id), content=body)
    assert answer.status_code == 200, answer.text
    (begun,) = answer.json()["data"]
    assert (answer.json()["object"], begun["target"], begun["state"]) == ("list", "callback", "pending")
    made = await_attempts(based, response_id, 413, 204)
    callbacks = running.receiver.of(response_id)
    assert {(one["webhook_id"], one["verified"]) for one in callbacks} == {(made["webhook_id"], True)}


def test_what_was_delivered_is_delivered_again(running: Service, client: httpx.Client) -> None:
    """Whoever has lost the event asks for it."""
    response_id = str(create(client, **running.with_callback(model="sim-instant"))["id"])
    await_attempts(client, response_id, 204)
    client.post(REDELIVER.format(id=response_id)).raise_for_status()
    await_attempts(client, response_id, 204, 204)


def test_a_recovery_begins_all_that_has_failed_since(running: Service, based: httpx.Client) -> None:
    """Since a moment in unix seconds: each delivery once, whichever path it is asked for by."""
    since = f"{time.time():.3f}"
    lost = [failed(running, based) for _ in range(3)]
    answer = based.post("/deliveries/recover", params={"since": since})
    assert answer.json() == {"object": "delivery.recovery", "recovered": 3, "has_more": False}
    for response_id in lost:
        await_attempts(based, response_id, 413, 204)
    again = based.post("/deliveries/recover", params={"since": since})
    assert again.json()["recovered"] == 0


def test_a_moment_may_be_written_in_iso_8601(running: Service, client: httpx.Client) -> None:
    """What failed before it is left as it is."""
    before = failed(running, client)
    since = datetime.now(UTC).isoformat()
    after = failed(running, client)
    assert client.post("/deliveries/recover", params={"since": since}).json()["recovered"] == 1
    await_attempts(client, after, 413, 204)
    assert delivery(client, before)["state"] == "failed"


def test_nobody_recovers_anothers_deliveries(running: Service, client: httpx.Client) -> None:
    """To another caller there is no such response, and nothing that has failed."""
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
    """Before anything else is looked at."""
    for base in BASES:
        assert error_of(running.stranger().post(f"/{base}{path}")) == (401, None, "invalid_api_key")


def test_there_is_nothing_to_redeliver(running: Service, based: httpx.Client) -> None:
    """Before the end, without a target, or to a target that the response does not have: 400, each with its code."""
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
def test_a_redelivery_names_a_target_or_none(based: httpx.Client, body: bytes, param: str | None, code: str) -> None:
    """Anything else is a 400 that says what is wrong."""
    answer = based.post(REDELIVER.format(id=UNKNOWN), content=body, headers={"Content-Type": "application/json"})
    assert error_of(answer) == (400, param, code)


@pytest.mark.parametrize("since", [None, "", "yesterday", "-1", "2027-01-31", "2027-01-31T08:00:00", "1e9", "NaN"])
def test_a_recovery_needs_a_moment(based: httpx.Client, since: str | None) -> None:
    """A moment without a zone is none."""
    answer = based.post("/deliveries/recover", params={} if since is None else {"since": since})
    assert error_of(answer) == (400, "since", "invalid_value")


@pytest.mark.parametrize("path", [REDELIVER.format(id=UNKNOWN), "/deliveries/recover"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_only_a_post_asks_for_deliveries(based: httpx.Client, method: str, path: str) -> None:
    """Any other method is a 405 that names the right one."""
    answer = based.request(method, path)
    assert error_of(answer) == (405, None, None)
    assert answer.headers["allow"] == "POST"


def test_webhooks_of_the_upstream_are_unknown_without_their_secret(running: Service) -> None:
    """A POST is a 404 where they are not set up; a GET is a 405 everywhere."""
    answers = [running.stranger().post("/webhooks/upstream", json={}), running.stranger().get("/webhooks/upstream")]
    assert [error_of(answer) for answer in answers] == [(404, None, None), (405, None, None)]
    assert answers[1].headers["allow"] == "POST"
