"""What Agent Framework for .NET asks, and how it reads our answers: by the rules in tests/clients/dotnet.py."""

import json
from collections.abc import Iterator
from itertools import islice

import httpx
import pytest

from local.azurite import Azurite
from tests.clients import dotnet
from tests.support.service_process import (
    Json,
    Service,
    finished,
    followed,
    following,
    numbers,
    output_text,
    service,
    streaming,
)

DELTAS = 9
EIGHTEEN = [
    "response.created",
    "response.queued",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    *["response.output_text.delta"] * DELTAS,
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all tests here; by the end it has logged nothing unexpected."""
    with service(tmp_path_factory.mktemp("dotnet"), azurite.account()) as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture
def client(running: Service) -> httpx.Client:
    """Give a client that calls with the headers of the .NET one."""
    client = running.client()
    client.headers.update(dotnet.HEADERS)
    return client


def posted(client: httpx.Client, model: str, request: Json, prefer: str = "") -> Json:
    """Send a request that is not streamed, and return the response, which the .NET client can read."""
    answer = client.post("/responses", json={"model": model, **request}, headers={"Prefer": prefer} if prefer else {})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    response: Json = answer.json()
    assert list(dotnet.wrong_in_response(response)) == []
    return response


def streamed(client: httpx.Client, model: str, request: Json = dotnet.STREAM) -> list[Json]:
    """Send a request that is streamed, and return its events."""
    with streaming(client, model, **request) as events:
        return list(events)


def test_polling_until_an_end(client: httpx.Client) -> None:
    """Each answer but the last makes a token, which is enough to ask again; the last has the text."""
    response = posted(client, "sim-0.5s", dotnet.START)
    seen = [response["status"]]
    while token := dotnet.token_of(response):
        response = client.get(f"/responses/{token['responseId']}", headers={"Prefer": "wait=5"}).json()
        assert list(dotnet.wrong_in_response(response)) == []
        seen.append(response["status"])
    assert seen[0] in {"queued", "in_progress"}
    assert seen[-1] == "completed"
    assert output_text(response).endswith("1. hello")


@pytest.mark.parametrize(
    ("model", "status"),
    [
        ("sim-60s", "queued"),
        ("sim-silent-60s", "in_progress"),
        ("sim-instant", "completed"),
        ("sim-fail-0s", "failed"),
        ("sim-incomplete-0s", "incomplete"),
        ("sim-silent-60s", "cancelled"),
    ],
)
def test_each_status_as_it_reads(client: httpx.Client, model: str, status: str) -> None:
    """All six can be read, and a token is made of the first two only."""
    response = posted(client, model, dotnet.START)
    if status == "cancelled":
        client.post(f"/responses/{response['id']}/cancel").raise_for_status()
    found: Json = client.get(f"/responses/{response['id']}").json()
    assert list(dotnet.wrong_in_response(found)) == []
    assert found["status"] == status
    assert dotnet.token_of(found) == ({"responseId": found["id"]} if dotnet.STATUSES[status] else None)


def test_a_failure_is_told_as_error(client: httpx.Client) -> None:
    """The client raises nothing: a failed response has no token, and an error with code and message."""
    failed = posted(client, "sim-fail-0s", dotnet.START)
    assert dotnet.token_of(failed) is None
    assert failed["error"]["message"] == "Simulated failure, as the model sim-fail-0s promises."


def test_a_foreground_call_that_comes_back_unfinished(client: httpx.Client) -> None:
    """It says `background: true` until it has ended, although it was asked with `false`: else there were no token."""
    response = posted(client, "sim-2s", dotnet.FOREGROUND, prefer="wait=1")
    assert dotnet.token_of(response) == {"responseId": response["id"]}
    ended = finished(client, response)
    assert list(dotnet.wrong_in_response(ended)) == []
    assert (ended["status"], dotnet.token_of(ended)) == ("completed", None)


def test_a_stream_of_eighteen_events(client: httpx.Client) -> None:
    """Numbers from 0 to 17, each but the last with a token that names it; the text is in nine deltas."""
    events = streamed(client, f"sim-events-{DELTAS}")
    assert [event["type"] for event in events] == EIGHTEEN
    received = list(dotnet.updates(events))
    response_id = events[0]["response"]["id"]
    tokens = [{"responseId": response_id, "sequenceNumber": number} for number in range(17)]
    assert [update.token for update in received] == [*tokens, None]
    assert "".join(update.text for update in received) == output_text(events[-1]["response"])
    assert received[-1].finish == "stop"


def test_a_resumption_after_the_ninth_event(client: httpx.Client) -> None:
    """Events 10 to 17, the same as before; the client has a token for each though none tells a status until the end."""
    events = streamed(client, f"sim-events-{DELTAS}")
    token = list(dotnet.updates(events))[9].token
    assert token
    assert dotnet.resumption(token) == {"stream": "true", "starting_after": "9"}
    resumed = followed(client, token["responseId"], 9)
    assert resumed == events[10:]
    received = list(dotnet.updates(resumed, resumed=token["responseId"]))
    assert [update.number for update in received] == list(range(10, 18))
    assert [update.token for update in received] == [*({**token, "sequenceNumber": n} for n in range(10, 17)), None]


def test_a_resumption_while_the_response_runs(client: httpx.Client) -> None:
    """Left after event 9 and resumed, the stream goes on with event 10 and comes to its end."""
    with streaming(client, "sim-2s", **dotnet.STREAM) as events:
        heard = list(islice(events, 10))
    with following(client, heard[0]["response"]["id"], 9) as events:
        heard += events
    assert numbers(heard) == list(range(len(heard)))
    received = list(dotnet.updates(heard))
    assert "".join(update.text for update in received) == output_text(heard[-1]["response"]) != ""
    assert all(update.token for update in received[:-1])
    assert received[-1].token is None


def test_a_failure_in_a_stream(client: httpx.Client) -> None:
    """The client makes an error of the `error` event, and an end without token of `response.failed`."""
    events = streamed(client, "sim-fail-0s")
    *_, error, failed = dotnet.updates(events)
    assert error.error == "Simulated failure, as the model sim-fail-0s promises."
    assert failed.token is None


def test_a_tool_and_its_result(client: httpx.Client) -> None:
    """The arguments of a call are JSON in a string; its output is chained to the background response that asked."""
    asking = finished(client, posted(client, "sim-tool", dotnet.WITH_TOOL))
    [call] = asking["output"]
    assert list(dotnet.wrong_in_item(call)) == []
    assert json.loads(call["arguments"]) == {"place": "hello"}
    answer = finished(client, posted(client, "sim-tool", dotnet.tool_result(call, "It snows.", asking["id"])))
    assert output_text(answer).endswith("1. It snows.")


def test_a_call_in_a_stream(client: httpx.Client) -> None:
    """The last update of a stream that calls a tool says so."""
    events = streamed(client, "sim-tool", {**dotnet.WITH_TOOL, "stream": True})
    assert [update.finish for update in dotnet.updates(events)][-1] == "tool_calls"


@pytest.mark.parametrize("name", ["created_at", "background", "output"])
def test_the_rules_notice_what_is_wrong(client: httpx.Client, name: str) -> None:
    """A field that the client needs is missed, and one that is null where it may not be."""
    response = posted(client, "sim-instant", dotnet.START)
    assert len(list(dotnet.wrong_in_response(response | {name: None}))) == 1
    del response[name]
    assert len(list(dotnet.wrong_in_response(response))) == 1


@pytest.mark.parametrize("model", ["sim-events-3", "sim-reason-0s", "sim-tool-0s", "sim-fail-0s", "sim-incomplete-0s"])
def test_every_event_can_be_read(client: httpx.Client, model: str) -> None:
    """Each field that the client reads is there, and of the kind that it expects."""
    for event in streamed(client, model, {**dotnet.WITH_TOOL, "stream": True}):
        assert list(dotnet.wrong_in_event(event)) == []


def test_a_stream_that_is_cancelled(client: httpx.Client) -> None:
    """It ends with `response.failed`, whose status is `cancelled`: the client makes no token of it."""
    with streaming(client, "sim-60s", **dotnet.STREAM) as events:
        heard = [next(events)]
        client.post(f"/responses/{heard[0]['response']['id']}/cancel").raise_for_status()
        heard += events
    assert [wrong for event in heard for wrong in dotnet.wrong_in_event(event)] == []
    assert heard[-1]["response"]["status"] == "cancelled"
    assert list(dotnet.updates(heard))[-1].token is None
