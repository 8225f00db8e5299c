"""A gateway of another make: LiteLLM's proxy over our simulated model, with its mock and a route for every model.

It passes background mode on, but streams only models that it knows. Its ids are sealed, and new in every answer.
"""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from local.azurite import Azurite
from tests.support.environments import need
from tests.support.peer_processes import Json, ModelPeer, eventually, model_peer
from tests.support.service_process import (
    create,
    finished,
    followed,
    kinds,
    numbers,
    output_text,
    service,
    streamed,
    streaming,
    text_of,
)
from tests.upstreams.running import upstream_server

CONFIG = "tests/upstreams/servers/litellm.yaml"
KEY = "sk-of-a-team"
MODES = ("background", "foreground")
ENDS = ("completed", "failed", "incomplete", "cancelled")
NAMES = re.compile(r"resp_[-=\w]+")
NATIVE = "sim-1s"  # a model whose streams it passes on
OTHER = "sim-0.7s"  # a model that it does not know
UNKNOWN = "The model 'nope' does not exist."
FAILURE = "Simulated failure, as the model sim-fail-0.5s promises."


@dataclass(frozen=True)
class Proxy:
    """LiteLLM's proxy, with what it has logged, and the simulated model behind it."""

    url: str
    log: Path
    model: ModelPeer

    def creates(self) -> int:
        """Return how many creates the proxy has answered."""
        return self.log.read_text().count('"POST /v1/responses HTTP')


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Run LiteLLM's proxy. If it is not installed, skip on a laptop and fail in CI."""
    program, directory = need("litellm") / "bin" / "litellm", tmp_path_factory.mktemp("litellm")
    command = [str(program), "--config", CONFIG, "--host", "127.0.0.1", "--port", "{port}"]
    alone = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1", "LITELLM_MASTER_KEY": "sk-" + "0f9a" * 12}
    with model_peer(directory) as model:
        url = str(model.http.base_url.join("/v1"))
        with upstream_server(
            directory, "litellm", command, {"MODEL_URL": url, **alone}, ready="/health/liveliness"
        ) as own:
            yield Proxy(own, directory / "litellm.log", model)


@pytest.fixture(scope="module")
def clients(
    azurite: Azurite, tmp_path_factory: pytest.TempPathFactory, proxy: Proxy
) -> Iterator[dict[str, httpx.Client]]:
    """Return a client of the service over the proxy for each mode."""
    with ExitStack() as cleanup:
        running = {}
        for mode in MODES:
            over = service(
                tmp_path_factory.mktemp(f"{mode}_litellm"),
                azurite.account(),
                UPSTREAM_MODE=mode,
                UPSTREAM_BASE_URL=f"{proxy.url}/v1",
                UPSTREAM_API_KEY=KEY,
                UPSTREAM_HONOURS_IDEMPOTENCY_KEY="false",
            )
            running[mode] = cleanup.enter_context(over)
        yield {mode: one.client() for mode, one in running.items()}
        assert [line for one in running.values() for line in one.unexpected()] == []


@pytest.fixture(params=MODES)
def client(clients: dict[str, httpx.Client], request: pytest.FixtureRequest) -> httpx.Client:
    """Return a client of the service in either mode."""
    return clients[request.param]


@pytest.fixture
def model(proxy: Proxy) -> Iterator[ModelPeer]:
    """Return a client of the simulated model, which has counted nothing yet and has no faults after the test."""
    proxy.model.reset()
    yield proxy.model
    proxy.model.reset()


def names_only(response_id: str, *shown: object) -> None:
    """Assert that what a caller was shown names no response but its own."""
    assert set(NAMES.findall(json.dumps(shown))) == {response_id}


def ends(events: list[Json]) -> list[str]:
    """Return the types of the events that end a stream."""
    return [kind for kind in kinds(events) if kind in ENDS]


def test_background_work_is_polled_to_its_end(model: ModelPeer, client: httpx.Client) -> None:
    """The text is whole, and the model worked once, although the proxy's ids are long and change with every answer."""
    made = create(client, OTHER)
    ended = finished(client, made)
    assert (ended["status"], ended["background"]) == ("completed", True)
    assert output_text(ended).endswith("1. One.\n2. Two.")
    assert model.stats()["creates"] == 1
    names_only(made["id"], made, ended)


@pytest.mark.parametrize("name", [OTHER, NATIVE])
def test_a_call_that_waits_gets_the_whole_text(model: ModelPeer, client: httpx.Client, name: str) -> None:
    """The model worked once."""
    answer = client.post("/responses", json={"model": name, "input": "One. Two."})
    assert (answer.status_code, answer.json()["status"], answer.json()["background"]) == (200, "completed", False)
    assert output_text(answer.json()).endswith("1. One.\n2. Two.")
    assert model.stats()["creates"] == 1
    names_only(answer.json()["id"], answer.json())


@pytest.mark.parametrize("fields", [{"background": True}, {"background": False}])
def test_the_mock_answers_calls_that_ask_for_no_stream(
    proxy: Proxy, client: httpx.Client, fields: dict[str, bool]
) -> None:
    """The mock cannot stream, and says so with a 500. In foreground mode it is asked once more without a stream."""
    before = proxy.creates()
    made = client.post("/responses", json={"model": "mocked", "input": "One.", **fields}).json()
    ended = finished(client, made)
    assert (ended["status"], output_text(ended)) == ("completed", "The mock answers.")
    assert proxy.creates() <= before + 2
    names_only(made["id"], made, ended)


@pytest.mark.parametrize("name", [OTHER, NATIVE])
def test_a_stream_is_read_to_its_end(model: ModelPeer, client: httpx.Client, name: str) -> None:
    """It has one end with the whole text, also where the proxy ends it before the work has begun."""
    events = streamed(client, name)
    assert (kinds(events)[0], ends(events), kinds(events)[-1]) == ("created", ["completed"], "completed")
    assert output_text(events[-1]["response"]).endswith("1. One.\n2. Two.")
    assert text_of(events) == output_text(events[-1]["response"])
    assert numbers(events) == sorted(set(numbers(events)))
    assert model.stats()["creates"] == 1
    names_only(events[0]["response"]["id"], events)


@pytest.mark.parametrize("name", [OTHER, NATIVE])
def test_a_stream_that_breaks_is_resumed(model: ModelPeer, client: httpx.Client, name: str) -> None:
    """A reader that comes back gets what follows, and the work was not begun again."""
    with streaming(client, name) as events:
        first = [next(events) for _ in range(2)]
    rest = followed(client, first[0]["response"]["id"], first[-1]["sequence_number"])
    assert numbers(first + rest) == sorted(set(numbers(first + rest)))
    assert ends(rest) == ["completed"]
    assert text_of(first + rest) == output_text(rest[-1]["response"])
    assert output_text(rest[-1]["response"]).endswith("1. One.\n2. Two.")
    assert model.stats()["creates"] == 1


@pytest.mark.parametrize("name", ["sim-50s", "sim-60s"])
def test_cancelled_work_stops(model: ModelPeer, client: httpx.Client, name: str) -> None:
    """The proxy passes a cancel on, and stops a call whose connection closes."""
    made = create(client, name)
    eventually(lambda: model.stats()["creates"] == 1)
    cancelled = client.post(f"/responses/{made['id']}/cancel").json()
    assert cancelled["status"] == "cancelled"
    eventually(lambda: model.stats()["cancelled"] + model.stats()["aborted"] == 1)
    assert client.get(f"/responses/{made['id']}").json() == cancelled


@pytest.mark.parametrize("fields", [{}, {"stream": True}])
def test_an_unknown_model_is_the_callers_refusal(
    proxy: Proxy, model: ModelPeer, client: httpx.Client, fields: dict[str, bool]
) -> None:
    """The words of the model's own server reach the caller, with a 4xx, and nobody is asked again."""
    before = proxy.creates()
    answer = client.post("/responses", json={"model": "nope", "input": "One.", **fields})
    assert answer.status_code == 400
    assert UNKNOWN in answer.json()["error"]["message"]
    assert (proxy.creates(), model.stats()["creates"]) == (before + 1, 1)


def test_an_unknown_model_in_the_background_is_asked_for_once(
    proxy: Proxy, clients: dict[str, httpx.Client], model: ModelPeer
) -> None:
    """In foreground mode the caller has its id before the refusal. So the response fails in the same words."""
    before = proxy.creates()
    ended = finished(clients["foreground"], create(clients["foreground"], "nope"))
    assert (ended["status"], ended["output"]) == ("failed", [])
    assert UNKNOWN in ended["error"]["message"]
    assert (proxy.creates(), model.stats()["creates"]) == (before + 1, 1)


@pytest.mark.parametrize("stream", [True, False])
def test_the_status_of_the_response_is_its_end(model: ModelPeer, client: httpx.Client, stream: bool) -> None:
    """The proxy ends everything in `response.completed`. A failed response fails in the model's words all the same."""
    if stream:
        events = streamed(client, "sim-fail-0.5s")
        assert ends(events) == ["failed"]
        ended = events[-1]["response"]
    else:
        ended = finished(client, create(client, "sim-fail-0.5s"))
    assert (ended["status"], ended["error"]["code"], ended["error"]["message"]) == ("failed", "server_error", FAILURE)
    assert model.stats()["creates"] == 1


def test_an_incomplete_response_is_incomplete(model: ModelPeer, client: httpx.Client) -> None:
    """It keeps its reason and its text, whatever the last event is called."""
    events = streamed(client, "sim-incomplete-0.5s")
    ended = events[-1]["response"]
    assert (ends(events), ended["status"]) == (["incomplete"], "incomplete")
    assert ended["incomplete_details"] == {"reason": "max_output_tokens"}
    assert output_text(ended)
    assert model.stats()["creates"] == 1


def test_a_stream_that_the_proxy_loses_does_not_end_background_work(
    model: ModelPeer, clients: dict[str, httpx.Client]
) -> None:
    """The proxy tells a cut connection as `response.failed`, while the model works on. The answer is polled instead."""
    model.faults(stream_drop_after=8, stream_drops=9)
    events = streamed(clients["background"], NATIVE)
    assert ends(events) == ["completed"]
    assert output_text(events[-1]["response"]).endswith("1. One.\n2. Two.")
    assert model.stats()["creates"] == 1
    names_only(events[0]["response"]["id"], events)


def test_a_stream_that_the_proxy_loses_ends_in_its_words(model: ModelPeer, clients: dict[str, httpx.Client]) -> None:
    """The proxy tells a cut connection as `response.failed`. That is an end, and the work is not begun again."""
    model.faults(stream_drop_after=8, stream_drops=9)
    events = streamed(clients["foreground"], NATIVE)
    assert ends(events) == ["failed"]
    assert text_of(events)
    assert "payload is not completed" in events[-1]["response"]["error"]["message"]
    assert model.stats()["creates"] == 1
    names_only(events[0]["response"]["id"], events)
