"""Several upstreams over HTTP: each model is served where the settings say, and one that is away is passed by."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest

from local.azurite import Azurite
from local.stack.process import wait_for
from tests.support.peer_processes import ModelPeer, error_of, peer
from tests.support.service_process import Service, create, finished, output_text, service, streaming

REOPENED_S = 30.0
LIMITED = {"n": 1_000, "retry_after": 2}


@dataclass(frozen=True)
class Running:
    """The service and its upstreams: `default` of the usual settings, and two of the list."""

    service: Service
    sweden: ModelPeer
    france: ModelPeer

    @property
    def client(self) -> httpx.Client:
        """A client of the caller."""
        return self.service.client()

    def begun(self) -> tuple[int, int, int]:
        """Return how many pieces of work each upstream has begun: Sweden, France, the default one."""
        return _begun(self.sweden), _begun(self.france), _begun(self.service.model)


def _begun(peer: ModelPeer) -> int:
    return sum(peer.stats()["started"].values())


@pytest.fixture(scope="module")
def started(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run the service with two upstreams beside the default one."""
    with ExitStack() as cleanup:
        urls = [cleanup.enter_context(peer(tmp_path_factory.mktemp(name), "local.model")) for name in ("se", "fr")]
        sweden, france = (cleanup.enter_context(closing(ModelPeer(url))) for url in urls)
        base = {"honours_idempotency_key": True, "key_setting": "SIMULATED_KEY", "models": ["fast", "sim-1s"]}
        renamed = {"rename": {"fast": "sim-instant"}}
        upstreams = [
            {"name": "sweden", "base_url": urls[0], "then": ["france"], **base, **renamed},
            {"name": "france", "base_url": urls[1], **base, **renamed},
        ]
        settings: dict[str, Any] = {
            "UPSTREAMS": json.dumps(upstreams),
            "UPSTREAM_KEYS": '{"SIMULATED_KEY": "simulated"}',
        }
        running = cleanup.enter_context(service(tmp_path_factory.mktemp("several"), azurite.account(), **settings))
        yield Running(running, sweden, france)
        assert running.unexpected() == []


@pytest.fixture
def running(started: Running) -> Running:
    """Reset every upstream before a test, when the first one takes responses again."""
    peers = (started.sweden, started.france, started.service.model)
    for one in peers:
        one.reset()

    def is_open() -> bool:
        finished(started.client, create(started.client, "fast"))
        return started.begun()[0] > 0

    assert wait_for(is_open, REOPENED_S)
    for one in peers:
        one.reset()
    return started


def test_a_model_is_served_where_the_settings_say(running: Running) -> None:
    """The caller sees the name that they have given, and not the upstream's."""
    ended = finished(running.client, create(running.client, "fast"))
    assert (ended["status"], ended["model"]) == ("completed", "fast")
    other = finished(running.client, create(running.client, "sim-instant"))
    assert (other["status"], other["model"]) == ("completed", "sim-instant")
    assert running.begun() == (1, 0, 1)


@pytest.mark.parametrize("fault", [{"outage": "503"}, {"outage": "drop"}, {"rate_limit": LIMITED}], ids=str)
def test_an_upstream_that_cannot_begin_is_passed_by(running: Running, fault: dict[str, object]) -> None:
    """A cut connection may have begun work, so that response waits. What answers 503 or 429 has begun none."""
    running.sweden.faults(**fault)
    made = create(running.client)
    if fault == {"outage": "drop"}:
        assert made["waiting"]["reason"] == "upstream_down"
        running.sweden.reset()
    ended = finished(running.client, made)
    assert ended["status"] == "completed"
    assert running.begun() == ((1, 0, 0) if fault == {"outage": "drop"} else (0, 1, 0))


def test_a_stream_is_passed_on_too(running: Running) -> None:
    """Its reader notices nothing."""
    running.sweden.faults(outage="503")
    with streaming(running.client, "fast") as events:
        kinds = [event["type"] for event in events]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert running.begun() == (0, 1, 0)


def test_a_refusal_is_passed_on_to_the_caller(running: Running) -> None:
    """A request that is wrong is wrong everywhere."""
    running.sweden.faults(refuse_creates={"status": 422, "message": "No."})
    answer = running.client.post("/responses", json={"model": "fast", "input": "One.", "background": True})
    assert (answer.status_code, running.begun()) == (422, (0, 0, 0))


def test_a_previous_response_is_continued_where_it_is(running: Running) -> None:
    """Although the first upstream is back."""
    running.sweden.faults(outage="503")
    previous = finished(running.client, create(running.client, "fast", store=True))
    running.sweden.reset()
    ended = finished(running.client, create(running.client, "fast", previous_response_id=previous["id"]))
    assert output_text(ended)
    assert running.begun() == (0, 2, 0)


def test_models_and_their_upstreams_are_shown(running: Running) -> None:
    """Each once. One that nobody serves is 404 where no upstream serves all, and here the default one's own answer."""
    sdk = openai.OpenAI(
        base_url=str(running.client.base_url), api_key=running.client.headers["authorization"].split()[1], max_retries=0
    )
    names = [model.id for model in sdk.models.list()]
    assert names.count("fast") == names.count("sim-1s") == names.count("sim-instant") == 1
    assert sdk.models.retrieve("fast").id == "fast"
    assert error_of(running.client.get("/models/none"))[0] == 404
    ready = running.service.stranger().get("/health/ready").json()
    assert set(ready["upstreams"]) == {"sweden", "france", "default"}
    assert ready["upstream"] == ready["upstreams"]["sweden"]


def test_a_health_check_names_the_upstream_that_is_down(running: Running) -> None:
    """After three failures, which are the probes of new responses. The other upstream does their work."""
    running.sweden.faults(outage="503")
    stranger = running.service.stranger()

    def is_down() -> bool:
        assert finished(running.client, create(running.client, "fast"))["status"] == "completed"
        return stranger.get("/health/upstream").status_code == 503

    assert wait_for(is_down, REOPENED_S)
    answer = stranger.get("/health/upstream")
    assert "'sweden'" in answer.json()["error"]["message"]
