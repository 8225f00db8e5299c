"""The upstream's webhooks, through the running service: what has ended is told at once, though it is rarely polled."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from local.azurite import Azurite
from local.credentials.keys import new_signing_secret
from local.stack.process import wait_for
from shared.contract import signatures
from shared.runtime.config import ANNOUNCED_POLL_MS
from tests.support.peer_processes import error_of
from tests.support.service_process import Json, Service, create, output_text, service

SOON_S = 15.0  # a quarter of the wait for the first poll
LOST_S = 2 * ANNOUNCED_POLL_MS / 1000 + 15.0
PATH = "/webhooks/upstream"


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service whose model tells it of ends; by the end it has logged nothing unexpected."""
    with service(tmp_path_factory.mktemp("webhooks"), azurite.account(), webhooks=True) as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture(scope="module")
def client(running: Service) -> httpx.Client:
    """Give a client of the service; whoever asks for a response polls, so most tests ask late or never."""
    return running.client()


@contextmanager
def fault(running: Service, name: str) -> Iterator[None]:
    """Let the model do this with its webhooks during the block."""
    running.model.faults(**{name: True})
    try:
        yield
    finally:
        running.model.faults(**{name: False})


def lines_of(running: Service, client: httpx.Client, models: list[str], deadline_s: float = SOON_S) -> list[str]:
    """Start one response of each model; wait until each has called back, and return their ids."""
    ids = [str(create(client, **running.with_callback(model=model))["id"]) for model in models]
    assert wait_for(lambda: all(running.receiver.of(one) for one in ids), deadline_s), f"not within {deadline_s:g} s"
    return ids


def started_by(running: Service, ids: list[str]) -> set[int]:
    """Return how often the work of these responses was started upstream."""
    started = running.model.stats()["started"]
    return {started[one] for one in ids}


def callbacks(running: Service, ids: list[str]) -> list[tuple[str, bool]]:
    """Return the types of the callbacks about these responses, and whether each is verified."""
    return [(one["type"], one["verified"]) for name in ids for one in running.receiver.of(name)]


@pytest.mark.parametrize(
    ("model", "status"),
    [("sim-1s", "completed"), ("sim-fail-1s", "failed"), ("sim-incomplete-1s", "incomplete")],
)
def test_an_end_is_told_at_once(running: Service, client: httpx.Client, model: str, status: str) -> None:
    """Whatever the end, long before the first poll; nobody has asked for the response."""
    (response_id,) = lines_of(running, client, [model])
    assert callbacks(running, [response_id]) == [(f"response.{status}", True)]
    assert client.get(f"/responses/{response_id}").json()["status"] == status


def test_many_ends_are_told_at_once(running: Service, client: httpx.Client) -> None:
    """Thirty that end within two seconds: one callback each."""
    ids = lines_of(running, client, ["sim-1s", "sim-2s", "sim-instant"] * 10)
    assert callbacks(running, ids) == [("response.completed", True)] * 30
    assert started_by(running, ids) == {1}


def test_a_caller_who_waits_reads_the_result(client: httpx.Client) -> None:
    """Foreground work ends as fast as ever."""
    answer = client.post("/responses", json={"model": "sim-1s", "input": "One. Two."})
    assert answer.json()["status"] == "completed"
    assert "One." in output_text(answer.json())


@pytest.mark.parametrize("model", ["sim-instant", "sim-1s"])
def test_an_event_may_come_before_the_answer(running: Service, client: httpx.Client, model: str) -> None:
    """What is told before the create call is answered is neither lost nor told twice."""
    with fault(running, "webhook_early"):
        ids = lines_of(running, client, [model] * 5)
    assert callbacks(running, ids) == [("response.completed", True)] * 5
    assert started_by(running, ids) == {1}


def test_an_event_that_comes_twice_is_told_once(running: Service, client: httpx.Client) -> None:
    """Two at once about one end: one terminal status, one callback."""
    with fault(running, "webhook_twice"):
        ids = lines_of(running, client, ["sim-1s", "sim-instant", "sim-fail-1s"])
    kinds = ["response.completed", "response.completed", "response.failed"]
    assert callbacks(running, ids) == [(kind, True) for kind in kinds]


def test_an_event_that_is_lost_costs_a_minute(running: Service, client: httpx.Client) -> None:
    """The poll, once a minute, is the safety net."""
    with fault(running, "webhook_lost"):
        began = time.monotonic()
        ids = lines_of(running, client, ["sim-1s"], LOST_S)
    assert time.monotonic() - began > SOON_S, "nothing was lost"
    assert callbacks(running, ids) == [("response.completed", True)]


# What is not the upstream's word


def posted(
    running: Service, changes: dict[str, str] | None = None, *, secret: str | None = None, age_s: int = 0
) -> httpx.Response:
    """Send an event about a response that nobody knows, signed like the model's but for what is named."""
    event: Json = {"id": "evt_1", "object": "event", "type": "response.completed", "data": {"id": "resp_x"}}
    body = json.dumps(event).encode()
    theirs = secret or running.hosts[0]._settings["UPSTREAM_WEBHOOK_SECRET"]
    signed = signatures.signed_headers([theirs], "wh_1", int(time.time()) - age_s, body)
    return running.stranger().post(PATH, content=body, headers={**signed, **(changes or {})})


def test_the_word_of_the_upstream_is_taken(running: Service) -> None:
    """Also about a response that is not ours."""
    answer = posted(running)
    assert (answer.status_code, answer.json()) == (200, {"received": True})


@pytest.mark.parametrize("age_s", [320, 3_600, -320])
def test_an_old_event_is_refused(running: Service, age_s: int) -> None:
    """What was signed more than five minutes ago, or is said to be signed later than now, may be a replay."""
    answer = posted(running, age_s=age_s)
    assert error_of(answer) == (401, None, "invalid_signature")


@pytest.mark.parametrize(
    "changes",
    [{"webhook-signature": "v1,AAAA"}, {"webhook-signature": ""}, {"webhook-timestamp": "now"}, {"webhook-id": "wh_2"}],
)
def test_a_wrong_signature_is_refused(running: Service, changes: dict[str, str]) -> None:
    """In OpenAI's envelope, which does not say what would have been right."""
    answer = posted(running, changes)
    assert error_of(answer) == (401, None, "invalid_signature")


def test_anothers_secret_signs_nothing_here(running: Service) -> None:
    """Nor does the key of a caller: webhooks have a secret of their own."""
    answers = [
        posted(running, secret=new_signing_secret()),
        posted(running, secret=running.callers["first"].signing_secret),
    ]
    assert [error_of(answer) for answer in answers] == [(401, None, "invalid_signature")] * 2


def test_a_message_without_signature_is_refused(running: Service) -> None:
    """Whoever calls with a key and no signature is nobody here."""
    key = {"Authorization": f"Bearer {running.callers['first'].api_key}"}
    answer = running.stranger().post(PATH, json={"type": "response.completed"}, headers=key)
    assert error_of(answer) == (401, None, "invalid_signature")
