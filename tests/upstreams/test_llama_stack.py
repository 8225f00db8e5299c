"""An upstream of another make: llama-stack's server over a chat model of ours.

It has a background mode without streams, stores every response, and works in its own environment.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.azurite import Azurite
from tests.support.environments import need
from tests.support.peer_processes import Json, eventually, peer
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
from tests.upstreams.servers.chat_model import LONG, REASON, WORDS

CONFIG = "tests/upstreams/servers/llama_stack.yaml"
MODES = ("background", "foreground")
TALE = "".join(WORDS)
UNKNOWN = "Model 'nope' not found."
BROKEN = "An unexpected error occurred while generating the response."  # what it makes of every fault of a stream
NAMES = re.compile(r"resp_[-0-9a-z]+")
CREATES = '"POST /v1/responses HTTP'
CANCELLED = re.compile(r'/responses/(resp_[-0-9a-z]+)/cancel HTTP/1.1" 409')


@dataclass(frozen=True)
class Stack:
    """llama-stack's server, with what it has logged, and the chat model behind it."""

    url: str
    log: Path
    chat: httpx.Client

    def logged(self, text: str) -> int:
        """Return how many lines of the log have this text."""
        return self.log.read_text().count(text)

    def refused_cancels(self) -> list[int]:
        """Return for each response how often it has refused to cancel it."""
        return list(Counter(CANCELLED.findall(self.log.read_text())).values())

    def calls(self, model: str) -> int:
        """Return how often it has called a chat model."""
        counted: Json = self.chat.get("/counts").json()
        return int(counted["calls"].get(model, 0))

    def open_streams(self) -> int:
        """Return how many streams of the chat model it is reading."""
        return int(self.chat.get("/counts").json()["open"])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run llama-stack. If it is not installed, skip on a laptop and fail in CI."""
    program, directory = need("llama-stack") / "bin" / "llama", tmp_path_factory.mktemp("llama_stack")
    command = [str(program), "stack", "run", CONFIG, "--port", "{port}"]
    home = {"STORE": str(directory), "HOME": str(directory), "NO_PROXY": "127.0.0.1"}
    with (
        peer(directory, "tests.upstreams.servers.chat_model") as chat_url,
        closing(httpx.Client(base_url=chat_url.removesuffix("/v1"), trust_env=False)) as chat,
        upstream_server(directory, "llama-stack", command, {"CHAT_URL": chat_url, **home}, ready="/v1/health") as url,
    ):
        yield Stack(url, directory / "llama-stack.log", chat)


@pytest.fixture(scope="module")
def clients(
    azurite: Azurite, tmp_path_factory: pytest.TempPathFactory, stack: Stack
) -> Iterator[dict[str, httpx.Client]]:
    """Return a client of the service over llama-stack for each mode."""
    with ExitStack() as cleanup:
        running = {}
        for mode in MODES:
            directory, url = tmp_path_factory.mktemp(f"{mode}_stack"), f"{stack.url}/v1"
            over = service(directory, azurite.account(), UPSTREAM_MODE=mode, UPSTREAM_BASE_URL=url)
            running[mode] = cleanup.enter_context(over)
        yield {mode: one.client() for mode, one in running.items()}
        assert [line for one in running.values() for line in one.unexpected()] == []


@pytest.fixture(params=MODES)
def client(clients: dict[str, httpx.Client], request: pytest.FixtureRequest) -> httpx.Client:
    """Return a client of the service in either mode."""
    return clients[request.param]


@pytest.fixture
def foreground(clients: dict[str, httpx.Client]) -> httpx.Client:
    """Return a client of the service in the mode in which llama-stack can stream."""
    return clients["foreground"]


def names_only(response_id: str, *shown: object) -> None:
    """Assert that what a caller was shown names no response but its own."""
    assert set(NAMES.findall(json.dumps(shown))) == {response_id}


def test_background_work_is_polled_to_its_end(stack: Stack, client: httpx.Client) -> None:
    """The text is whole, the chat model was asked once, and the object is the caller's own."""
    before = stack.calls("tale")
    made = create(client, "openai/tale")
    ended = finished(client, made)
    assert (ended["status"], output_text(ended), ended["background"]) == ("completed", TALE, True)
    assert stack.calls("tale") == before + 1
    names_only(made["id"], made, ended)


def test_a_call_that_waits_gets_the_whole_text(stack: Stack, client: httpx.Client) -> None:
    """The chat model was asked once."""
    before = stack.calls("tale")
    answer = client.post("/responses", json={"model": "openai/tale", "input": "One."})
    assert (answer.status_code, answer.json()["status"], output_text(answer.json())) == (200, "completed", TALE)
    assert answer.json()["background"] is False
    assert stack.calls("tale") == before + 1
    names_only(answer.json()["id"], answer.json())


@pytest.mark.parametrize("background", [True, False])
def test_a_stream_is_read_to_its_end(stack: Stack, client: httpx.Client, background: bool) -> None:
    """It has every word, one end, and no name of the upstream, in events whose numbers only grow.

    With background mode, llama-stack refuses the stream. It is asked once more without, and its work is polled.
    """
    before = stack.calls("tale")
    events = streamed(client, "openai/tale", background=background)
    assert kinds(events)[0] == "created"
    assert [kind for kind in kinds(events) if kind in ("completed", "failed", "incomplete")] == ["completed"]
    assert kinds(events)[-1] == "completed"
    assert text_of(events) == output_text(events[-1]["response"]) == TALE
    assert numbers(events) == sorted(set(numbers(events)))
    assert stack.calls("tale") == before + 1
    names_only(events[0]["response"]["id"], events)


def test_a_stream_that_breaks_is_resumed(stack: Stack, foreground: httpx.Client) -> None:
    """A reader that comes back gets what follows, and the work was not begun again."""
    before = stack.calls("tale")
    with streaming(foreground, "openai/tale") as events:
        first = [next(events) for _ in range(9)]
    rest = followed(foreground, first[0]["response"]["id"], first[-1]["sequence_number"])
    assert numbers(first + rest) == list(range(len(first) + len(rest)))
    assert text_of(first + rest) == output_text(rest[-1]["response"]) == TALE
    assert stack.calls("tale") == before + 1


def test_cancelled_work_stops_where_it_runs_on_a_stream(stack: Stack, foreground: httpx.Client) -> None:
    """The chat model's own stream is closed, long before its end."""
    with streaming(foreground, "openai/long-tale") as events:
        first = [next(events) for _ in range(6)]
    assert stack.open_streams() == 1
    cancelled = foreground.post(f"/responses/{first[0]['response']['id']}/cancel").json()
    assert cancelled["status"] == "cancelled"
    eventually(lambda: stack.open_streams() == 0)
    assert len(first) < len(LONG)


def test_a_refused_cancel_is_asked_four_times(stack: Stack, clients: dict[str, httpx.Client]) -> None:
    """llama-stack forgets that begun work is in the background, and refuses to cancel it. The caller's end is final."""
    client = clients["background"]
    made = create(client, "openai/long-tale")
    eventually(lambda: client.get(f"/responses/{made['id']}").json()["status"] == "in_progress")
    cancelled = client.post(f"/responses/{made['id']}/cancel").json()
    assert (cancelled["status"], cancelled["output"]) == ("cancelled", [])
    eventually(lambda: stack.open_streams() == 0, deadline_s=30)  # the work goes on to its end
    eventually(lambda: 4 in stack.refused_cancels(), deadline_s=30)
    assert client.get(f"/responses/{made['id']}").json() == cancelled
    assert max(stack.refused_cancels()) == 4


@pytest.mark.parametrize("fields", [{"background": True}, {"background": False}])
def test_an_unknown_model_fails_in_the_upstreams_words(
    stack: Stack, client: httpx.Client, fields: dict[str, Any]
) -> None:
    """The upstream is asked once, although it takes the work first and tells the error later."""
    before = stack.logged(CREATES)
    made = client.post("/responses", json={"model": "nope", "input": "One.", **fields}).json()
    ended = finished(client, made)
    assert (ended["status"], ended["output"]) == ("failed", [])
    assert ended["error"]["message"].startswith(UNKNOWN)
    assert stack.logged(CREATES) == before + 1
    names_only(made["id"], made, ended)


def test_a_refused_request_is_the_callers_refusal(stack: Stack, client: httpx.Client) -> None:
    """A call that waits gets the status and the words of llama-stack, which is asked once."""
    before = stack.logged(CREATES)
    answer = client.post("/responses", json={"model": "openai/tale", "input": "One.", "temperature": 9})
    assert answer.status_code == 400
    assert "Input should be less than or equal to 2" in answer.json()["error"]["message"]
    assert stack.logged(CREATES) == before + 1


@pytest.mark.parametrize("model", ["breaks", "fails"])
def test_a_failure_in_the_middle_of_the_work_is_the_end(stack: Stack, client: httpx.Client, model: str) -> None:
    """The response fails in the upstream's words, and the work is not paid again."""
    before = stack.calls(model)
    ended = finished(client, create(client, f"openai/{model}"))
    assert (ended["status"], ended["error"]["code"], ended["error"]["message"]) == ("failed", "server_error", BROKEN)
    assert stack.calls(model) == before + 1


def test_a_stream_that_fails_in_the_middle_ends_once(foreground: httpx.Client) -> None:
    """The reader has the words so far, and then one end."""
    events = streamed(foreground, "openai/fails")
    assert text_of(events) == "".join(WORDS[:5])
    assert [kind for kind in kinds(events) if kind in ("completed", "failed")] == ["failed"]
    assert kinds(events)[-1] == "failed"
    assert events[-1]["response"]["error"]["message"] == BROKEN
    names_only(events[0]["response"]["id"], events)


def test_a_refusal_of_the_model_behind_it_keeps_its_words(client: httpx.Client) -> None:
    """The chat model's reason reaches the caller through both servers."""
    ended = finished(client, create(client, "openai/refuses"))
    assert (ended["status"], ended["error"]["message"]) == ("failed", REASON)


def test_the_next_response_knows_the_one_before(client: httpx.Client) -> None:
    """llama-stack stores its responses, so that a caller can chain them by our ids."""
    first = finished(client, create(client, "openai/tale"))
    second = finished(client, create(client, "openai/tale", previous_response_id=first["id"]))
    assert (second["status"], second["previous_response_id"]) == ("completed", first["id"])
    names_only(second["id"], {**second, "previous_response_id": None})
