"""An upstream of another make with background mode: Microsoft's `azure-ai-agentserver-responses`."""

from collections.abc import Iterator

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

SERVER = "tests/upstreams/servers/agentserver.py"
BROKEN = "An internal server error occurred."


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    """Run the server, so that it recovers from a crash. If it is not installed, skip on a laptop and fail in CI."""
    python, directory = need("agentserver") / "bin" / "python", tmp_path_factory.mktemp("agentserver")
    command, state = [str(python), SERVER, "--resilient"], {"PORT": "{port}", "AGENTSERVER_STATE_ROOT": str(directory)}
    with (
        upstream_server(directory, "agentserver", command, state, ready="/readiness", keep_up=True) as url,
        upstream_at(url) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def clients(
    azurite: Azurite, tmp_path_factory: pytest.TempPathFactory, upstream: Upstream
) -> Iterator[dict[str, httpx.Client]]:
    """Return a client of the service over the server for each mode."""
    with services(tmp_path_factory.mktemp("over_agentserver"), azurite, upstream.url) as clients:
        yield clients


@pytest.fixture(params=MODES)
def client(clients: dict[str, httpx.Client], request: pytest.FixtureRequest) -> httpx.Client:
    """Return a client of the service in either mode."""
    return clients[request.param]


def test_background_work_is_polled_to_its_end(upstream: Upstream, client: httpx.Client) -> None:
    """The text is whole, the handler was called once, and no id of the server is shown."""
    text = f"poll {client.base_url}"
    made = create(client, "words", input=text)
    ended = finished(client, made)
    assert (ended["status"], output_text(ended)) == ("completed", f"0: {TEXT}")
    assert len(upstream.asked(text)) == 1
    names_only(made["id"], made, ended)


def test_a_stream_is_whole(upstream: Upstream, client: httpx.Client) -> None:
    """It has every number once and one end, whose response is the stored one."""
    text = f"stream {client.base_url}"
    events = streamed(client, "words", input=text)
    assert numbers(events) == list(range(len(events)))
    assert ends(events) == ["completed"]
    stored = client.get(f"/responses/{events[0]['response']['id']}").json()
    assert events[-1]["response"] == stored
    assert text_of(events) == output_text(stored) == f"0: {TEXT}"
    assert len(upstream.asked(text)) == 1
    names_only(stored["id"], events, stored)


def test_a_broken_stream_is_resumed(upstream: Upstream, client: httpx.Client) -> None:
    """What was read before the break and what follows it is the whole stream. The handler was called once."""
    text = f"resume {client.base_url}"
    with streaming(client, "words", input=text) as events:
        read = [next(events) for _ in range(7)]
    named = read[0]["response"]["id"]
    rest = followed(client, named, read[-1]["sequence_number"])
    assert read + rest == followed(client, named)
    assert text_of(read + rest) == f"0: {TEXT}"
    assert kinds(rest).count("completed") == 1
    assert len(upstream.asked(text)) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_cancelled_work_is_stopped(upstream: Upstream, client: httpx.Client, stream: bool) -> None:
    """The response is cancelled, its stream ends with that, and the handler is told."""
    text = f"cancel {stream} {client.base_url}"
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
    assert client.get(f"/responses/{cancelled['id']}").json()["status"] == "cancelled"


def test_an_unknown_model_fails_in_the_words_of_the_handler(upstream: Upstream, client: httpx.Client) -> None:
    """The server knows no models. Its handler ends the response, so the caller finds a failed one in every shape."""
    text = f"unknown {client.base_url}"
    waited = client.post("/responses", json={"model": "gpt-none", "input": text}).json()
    polled = finished(client, create(client, "gpt-none", input=text))
    events = streamed(client, "gpt-none", input=text)
    assert kinds(events)[-1] == "failed"
    for response in (waited, polled, events[-1]["response"]):
        assert (response["status"], response["error"]["code"]) == ("failed", "model_not_found")
        assert response["error"]["message"] == "There is no model 'gpt-none' here."
    assert len(upstream.asked(text)) == 3


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_reaches_a_caller_that_waits(upstream: Upstream, client: httpx.Client, stream: bool) -> None:
    """It is the server's status and words, and it names the field. The handler is not called."""
    text = f"refused {stream} {client.base_url}"
    request = {"model": "words", "input": text, "include": ["everything"], "stream": stream}
    answer = client.post("/responses", json=request)
    assert error_of(answer) == (400, "include[0]", "invalid_request")
    assert "Invalid value 'everything'" in answer.json()["error"]["message"]
    assert upstream.asked(text) == []


@pytest.mark.parametrize("model", ["raises", "raises-at-once"])
def test_a_handler_that_raises_fails_the_response(upstream: Upstream, client: httpx.Client, model: str) -> None:
    """The server says no more than that it broke. It is not asked again, also by a caller that streams or waits."""
    text = f"{model} {client.base_url}"
    polled = finished(client, create(client, model, input=text))
    events = streamed(client, model, input=text)
    waited = client.post("/responses", json={"model": model, "input": text}).json()
    assert ends(events) == ["failed"]
    assert text_of(events) == ("0: Whales sing in " if model == "raises" else "")
    for response in (polled, waited, events[-1]["response"]):
        assert (response["status"], response["error"]["message"]) == ("failed", BROKEN)
    assert len(upstream.asked(text)) == 3


def test_a_stream_whose_handler_just_stops_fails(client: httpx.Client) -> None:
    """The server ends the stream with a failure."""
    events = streamed(client, "stops", input="stops")
    assert kinds(events)[-1] == "failed"
    assert events[-1]["response"]["error"]["message"] == BROKEN


def test_a_poll_never_ends_if_the_handler_just_stops(upstream: Upstream, clients: dict[str, httpx.Client]) -> None:
    """The server then shows `in_progress` for ever. A cancel ends the response, and so does its deadline."""
    client = clients["background"]
    made = create(client, "stops", input="stops unseen")
    eventually(lambda: bool(upstream.asked("stops unseen")))
    assert client.get(f"/responses/{made['id']}", headers={"Prefer": "wait=2"}).json()["status"] == "in_progress"
    assert client.post(f"/responses/{made['id']}/cancel").json()["status"] == "cancelled"


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_waits_has_the_whole_answer(upstream: Upstream, client: httpx.Client, stream: bool) -> None:
    """Without `background`, the answer of the POST is the end."""
    text = f"wait {stream} {client.base_url}"
    if stream:
        ended = streamed(client, "words", input=text, background=False)[-1]["response"]
    else:
        ended = client.post("/responses", json={"model": "words", "input": text}).json()
    assert (ended["status"], ended["background"], output_text(ended)) == ("completed", False, f"0: {TEXT}")
    assert len(upstream.asked(text)) == 1
    names_only(ended["id"], ended)


def test_a_response_continues_another(client: httpx.Client) -> None:
    """The server finds the history of the first one under its own id: what was asked, and what was answered."""
    first = finished(client, create(client, "words"))
    second = finished(client, create(client, "words", previous_response_id=first["id"]))
    assert output_text(second) == f"2: {TEXT}"
    assert second["previous_response_id"] == first["id"]
    names_only(first["id"], first)


def test_include_reaches_the_server(upstream: Upstream, client: httpx.Client) -> None:
    """It is in the request, and the polls that repeat it are answered."""
    text, include = f"include {client.base_url}", ["message.output_text.logprobs"]
    ended = finished(client, create(client, "words", input=text, include=include))
    assert ended["status"] == "completed"
    assert [asked["include"] for asked in upstream.asked(text)] == [include]
    shown = client.get(f"/responses/{ended['id']}", params={"include[]": include[0]})
    assert output_text(shown.json()) == f"0: {TEXT}"


def test_a_crash_of_the_server_begins_the_output_again(clients: dict[str, httpx.Client]) -> None:
    """The server calls its handler again, in the same stream. A reader that follows our rule has every word once."""
    client = clients["background"]
    received = streamed(client, "dies-once", input="background")
    assert ends(received) == ["completed"]
    assert kinds(received).count("in_progress") == 2
    assert text_of(received) == output_text(received[-1]["response"]) == f"0: {TEXT}"
    assert text_of(followed(client, received[0]["response"]["id"])) == f"0: {TEXT}"


def test_a_crash_of_the_server_fails_foreground_work(clients: dict[str, httpx.Client]) -> None:
    """The server says so when it is asked whether the work was finished. So the service does not begin it again."""
    received = streamed(clients["foreground"], "dies-once", input="foreground")
    assert ends(received) == ["failed"]
    assert received[-1]["response"]["error"]["message"] == "Server interrupted before completing this response"
