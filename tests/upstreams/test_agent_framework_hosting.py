"""An upstream of another make without background mode: an agent behind `agent-framework-hosting-responses`."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from local.azurite import Azurite
from tests.support.environments import need
from tests.support.peer_processes import error_of, eventually
from tests.support.service_process import (
    create,
    finished,
    followed,
    kinds,
    numbers,
    output_text,
    streamed,
    streaming,
    text_of,
)
from tests.upstreams.driving import MODES, TEXT, Upstream, ends, names_only, services, upstream_at
from tests.upstreams.running import upstream_server

SERVER = "tests/upstreams/servers/hosted_agent.py"


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    """Run the server. If it is not installed, skip on a laptop and fail in CI."""
    python, directory = need("agent-framework-hosting") / "bin" / "python", tmp_path_factory.mktemp("hosted_agent")
    command = [str(python), SERVER, "{port}", str(directory)]
    with (
        upstream_server(directory, "hosted_agent", command, ready="/asked", keep_up=True) as url,
        upstream_at(url) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def clients(
    azurite: Azurite, tmp_path_factory: pytest.TempPathFactory, upstream: Upstream
) -> Iterator[dict[str, httpx.Client]]:
    """Return a client of the service over the server for each mode."""
    with services(tmp_path_factory.mktemp("over_hosted_agent"), azurite, upstream.url) as clients:
        yield clients


@pytest.fixture
def client(clients: dict[str, httpx.Client]) -> httpx.Client:
    """Return a client of the service in the mode that fits."""
    return clients["foreground"]


@pytest.fixture(params=MODES)
def either(clients: dict[str, httpx.Client], request: pytest.FixtureRequest) -> httpx.Client:
    """Return a client of the service in either mode."""
    return clients[request.param]


def test_background_work_is_polled_to_its_end(upstream: Upstream, either: httpx.Client) -> None:
    """The server ignores `background`. The caller has a token at once, the text is whole, and the agent ran once."""
    text = f"poll {either.base_url}"
    made = create(either, "words", input=text)
    ended = finished(either, made)
    assert (ended["status"], ended["background"], output_text(ended)) == ("completed", True, f"1: {TEXT}")
    assert len(upstream.asked(text)) == 1
    names_only(made["id"], made, ended)


def test_a_stream_is_whole(upstream: Upstream, either: httpx.Client) -> None:
    """It has every number once and one end, whose response is the stored one."""
    text = f"stream {either.base_url}"
    events = streamed(either, "words", input=text)
    assert numbers(events) == list(range(len(events)))
    assert ends(events) == ["completed"]
    stored = either.get(f"/responses/{events[0]['response']['id']}").json()
    assert events[-1]["response"] == stored
    assert text_of(events) == output_text(stored) == f"1: {TEXT}"
    assert len(upstream.asked(text)) == 1
    names_only(stored["id"], events, stored)


def test_a_broken_stream_is_resumed(upstream: Upstream, client: httpx.Client) -> None:
    """The server keeps no stream, but the service does. What was read and what follows is whole. The agent ran once."""
    text = "resume"
    with streaming(client, "words", input=text) as events:
        read = [next(events) for _ in range(6)]
    named = read[0]["response"]["id"]
    rest = followed(client, named, read[-1]["sequence_number"])
    assert text_of(read + rest) == f"1: {TEXT}"
    assert ends(rest) == ["completed"]
    assert len(upstream.asked(text)) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_cancelled_work_is_stopped(upstream: Upstream, client: httpx.Client, stream: bool) -> None:
    """The service closes the call, and the agent's model is told."""
    text = f"cancel {stream}"
    if stream:
        with streaming(client, "slow", input=text) as events:
            named = next(event for event in events if event["type"].endswith("delta"))["continuation_token"]
            cancelled = client.post(f"/responses/{named}/cancel").json()
            assert list(events)[-1]["response"] == cancelled
    else:
        named = create(client, "slow", input=text)["id"]
        eventually(lambda: bool(upstream.asked(text)))
        cancelled = client.post(f"/responses/{named}/cancel").json()
    assert cancelled["status"] == "cancelled"
    eventually(lambda: upstream.has_stopped(text), 10)


def test_an_unknown_model_is_refused_in_the_words_of_the_server(upstream: Upstream, either: httpx.Client) -> None:
    """A call that waits gets the server's 404, and a poll a failed response. The server is asked once for each."""
    text, words = f"unknown {either.base_url}", "There is no model 'gpt-none' here."
    refused = either.post("/responses", json={"model": "gpt-none", "input": text})
    assert (error_of(refused)[0], refused.json()["error"]["message"]) == (404, words)
    made = either.post("/responses", json={"model": "gpt-none", "input": text, "background": True})
    if made.status_code == 200:
        assert finished(either, made.json())["error"]["message"] == words
    else:
        assert (error_of(made)[0], made.json()["error"]["message"]) == (404, words)
    assert len(upstream.asked(text)) == 2


def test_a_refused_input_reaches_a_caller_that_waits(either: httpx.Client) -> None:
    """The conversion says what is wrong, and the caller reads it."""
    item = {"type": "message", "role": "user", "content": [{"type": "input_image"}]}
    answer = either.post("/responses", json={"model": "words", "input": [item]})
    assert error_of(answer)[0] == 400
    assert answer.json()["error"]["message"] == "input_image requires a non-empty string `image_url`"


def test_a_model_that_raises_fails_the_response(upstream: Upstream, client: httpx.Client) -> None:
    """The stream ends with a failure, which says no more than that it broke. The agent does not run again."""
    polled = finished(client, create(client, "raises", input="raises"))
    events = streamed(client, "raises", input="raises")
    assert ends(events) == ["failed"]
    assert text_of(events) == "1: Whales sing in "
    for response in (polled, events[-1]["response"]):
        assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
        assert response["error"]["message"] == "An internal server error occurred."
        names_only(response["id"], response)
    assert len(upstream.asked("raises")) == 2


def test_work_is_begun_again_after_a_crash_of_the_server(upstream: Upstream, client: httpx.Client) -> None:
    """The stream breaks off, and the server has forgotten the work. Readers start over, and have every word once."""
    events = streamed(client, "dies-once", input="crash")
    assert ends(events) == ["completed"]
    assert kinds(events).count("in_progress") == 2
    assert text_of(events) == output_text(events[-1]["response"]) == f"1: {TEXT}"
    assert len(upstream.asked("crash")) == 1  # by the server that was started again


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_waits_has_the_whole_answer(upstream: Upstream, either: httpx.Client, stream: bool) -> None:
    """Without `background`, the answer of the POST is the end. `include` reaches the server."""
    text, include = f"wait {stream} {either.base_url}", ["reasoning.encrypted_content"]
    fields: dict[str, Any] = {"model": "words", "input": text, "include": include, "background": False}
    ended = streamed(either, **fields)[-1]["response"] if stream else either.post("/responses", json=fields).json()
    assert (ended["status"], ended["background"], output_text(ended)) == ("completed", False, f"1: {TEXT}")
    assert [asked["include"] for asked in upstream.asked(text)] == [include]
    names_only(ended["id"], ended)


def test_a_response_continues_another(either: httpx.Client) -> None:
    """The server finds its session under its own id of the first response: what was asked, and what was answered."""
    first = finished(either, create(either, "words"))
    second = finished(either, create(either, "words", previous_response_id=first["id"]))
    assert output_text(second) == f"3: {TEXT}"
    assert second["previous_response_id"] == first["id"]
