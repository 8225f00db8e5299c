"""Webhooks of the upstream through the running service: an end is announced at once, although polls are rare."""

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
from tests.support.peer_processes import Json, error_of
from tests.support.service_process import Service, create, output_text, service

SOON_S = 30.0  # half of the wait for the first poll
PATH = "/webhooks/upstream"


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service whose model sends webhooks. It must have logged nothing unexpected at the end."""
    with service(tmp_path_factory.mktemp("webhooks"), azurite.account(), webhooks=True) as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture(scope="module")
def client(running: Service) -> httpx.Client:
    """Return a client of the service. A read of a response polls the upstream, so most tests read late or never."""
    return running.client()


@contextmanager
def fault(running: Service, name: str) -> Iterator[None]:
    """Switch on this fault of the model's webhooks during the block."""
    running.model.faults(**{name: True})
    try:
        yield
    finally:
        running.model.faults(**{name: False})


def called_back(running: Service, client: httpx.Client, models: list[str]) -> list[str]:
    """Start a response of each model, wait until each has called back, and return the ids."""
    ids = [str(create(client, **running.with_callback(model=model))["id"]) for model in models]
    assert wait_for(lambda: all(running.receiver.of(one) for one in ids), SOON_S), running.hosts[0].written()
    return ids


def started_by(running: Service, ids: list[str]) -> set[int]:
    """Return the distinct numbers of starts that the upstream counted for these responses."""
    started = running.model.stats()["started"]
    return {started[one] for one in ids}


def callbacks(running: Service, ids: list[str]) -> list[tuple[str, bool]]:
    """Return the type of each callback about these responses, and whether its signature is verified."""
    return [(one["type"], one["verified"]) for name in ids for one in running.receiver.of(name)]


@pytest.mark.parametrize(
    ("model", "status"),
    [("sim-1s", "completed"), ("sim-fail-1s", "failed"), ("sim-incomplete-1s", "incomplete")],
)
def test_an_end_is_announced_at_once(running: Service, client: httpx.Client, model: str, status: str) -> None:
    """Every kind of end calls back long before the first poll, and no client has read the response."""
    (response_id,) = called_back(running, client, [model])
    assert callbacks(running, [response_id]) == [(f"response.{status}", True)]
    assert client.get(f"/responses/{response_id}").json()["status"] == status


def test_many_ends_are_announced_at_once(running: Service, client: httpx.Client) -> None:
    """Thirty responses that end within two seconds get one callback each."""
    ids = called_back(running, client, ["sim-1s", "sim-2s", "sim-instant"] * 10)
    assert callbacks(running, ids) == [("response.completed", True)] * 30
    assert started_by(running, ids) == {1}


def test_a_caller_that_waits_gets_the_result(client: httpx.Client) -> None:
    """A foreground request returns the finished response."""
    answer = client.post("/responses", json={"model": "sim-1s", "input": "One. Two."})
    assert answer.json()["status"] == "completed"
    assert "One." in output_text(answer.json())


@pytest.mark.parametrize("model", ["sim-instant", "sim-1s"])
def test_an_event_may_come_before_the_answer(running: Service, client: httpx.Client, model: str) -> None:
    """A webhook that arrives before the create call is answered leads to one callback."""
    with fault(running, "webhook_early"):
        ids = called_back(running, client, [model] * 5)
    assert callbacks(running, ids) == [("response.completed", True)] * 5
    assert started_by(running, ids) == {1}


def test_an_event_that_is_sent_twice_leads_to_one_callback(running: Service, client: httpx.Client) -> None:
    """Two simultaneous webhooks about one end lead to one terminal status and one callback."""
    with fault(running, "webhook_twice"):
        ids = called_back(running, client, ["sim-1s", "sim-instant", "sim-fail-1s"])
    kinds = ["response.completed", "response.completed", "response.failed"]
    assert callbacks(running, ids) == [(kind, True) for kind in kinds]


# Signatures


def posted(
    running: Service, changes: dict[str, str] | None = None, *, secret: str | None = None, age_s: int = 0
) -> httpx.Response:
    """Post an event about an unknown response, signed as the model signs, and return the answer.

    `changes` replaces headers, `secret` replaces the upstream's secret, and `age_s` is the age of the signature in
    seconds.
    """
    event: Json = {"id": "evt_1", "object": "event", "type": "response.completed", "data": {"id": "resp_x"}}
    body = json.dumps(event).encode()
    theirs = secret or running.hosts[0]._settings["UPSTREAM_WEBHOOK_SECRET"]
    signed = signatures.signed_headers([theirs], "wh_1", int(time.time()) - age_s, body)
    return running.stranger().post(PATH, content=body, headers={**signed, **(changes or {})})


def test_an_event_that_the_upstream_signed_is_accepted(running: Service) -> None:
    """An event about a response that is not ours is accepted too."""
    answer = posted(running)
    assert (answer.status_code, answer.json()) == (200, {"received": True})


@pytest.mark.parametrize("age_s", [320, 3_600, -320])
def test_an_old_event_is_refused(running: Service, age_s: int) -> None:
    """A signature dated more than five minutes ago or ahead may be a replay."""
    answer = posted(running, age_s=age_s)
    assert error_of(answer) == (401, None, "invalid_signature")


@pytest.mark.parametrize(
    "changes",
    [{"webhook-signature": "v1,AAAA"}, {"webhook-signature": ""}, {"webhook-timestamp": "now"}, {"webhook-id": "wh_2"}],
)
def test_a_wrong_signature_is_refused(running: Service, changes: dict[str, str]) -> None:
    """The error is in OpenAI's envelope and does not say what would be right."""
    answer = posted(running, changes)
    assert error_of(answer) == (401, None, "invalid_signature")


def test_an_event_signed_with_another_secret_is_refused(running: Service) -> None:
    """The secret of a caller is refused too, because webhooks have their own secret."""
    answers = [
        posted(running, secret=new_signing_secret()),
        posted(running, secret=running.callers["first"].signing_secret),
    ]
    assert [error_of(answer) for answer in answers] == [(401, None, "invalid_signature")] * 2


def test_an_event_without_a_signature_is_refused(running: Service) -> None:
    """A caller's API key does not replace the signature."""
    key = {"Authorization": f"Bearer {running.callers['first'].api_key}"}
    answer = running.stranger().post(PATH, json={"type": "response.completed"}, headers=key)
    assert error_of(answer) == (401, None, "invalid_signature")
