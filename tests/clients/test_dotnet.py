"""The requests of Agent Framework for .NET work, and it can read our answers by the rules in dotnet.py."""

import json
from collections.abc import Iterator
from itertools import islice

import httpx
import pytest

from local.azurite import Azurite
from tests.clients import dotnet
from tests.support.peer_processes import Json
from tests.support.service_process import (
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
    """Run one service for all tests here. At the end it has logged nothing unexpected."""
    with service(tmp_path_factory.mktemp("dotnet"), azurite.account()) as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture
def client(running: Service) -> httpx.Client:
    """Return an HTTP client that sends the headers of the .NET client."""
    client = running.client()
    client.headers.update(dotnet.HEADERS)
    return client


def posted(client: httpx.Client, model: str, request: Json, prefer: str = "") -> Json:
    """Send a request without streaming. Return the response, after checking that the .NET client can read it."""
    answer = client.post("/responses", json={"model": model, **request}, headers={"Prefer": prefer} if prefer else {})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    response: Json = answer.json()
    assert list(dotnet.wrong_in_response(response)) == []
    return response


def streamed(client: httpx.Client, model: str, request: Json = dotnet.STREAM) -> list[Json]:
    """Send a streamed request and return all its events."""
    with streaming(client, model, **request) as events:
        return list(events)


def test_a_response_is_polled_until_it_ends(client: httpx.Client) -> None:
    """Each answer but the last has a token, with which the client polls again. The last answer has the text."""
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
def test_each_status_can_be_read(client: httpx.Client, model: str, status: str) -> None:
    """The client can read all six statuses. It makes a token only for `queued` and `in_progress`."""
    response = posted(client, model, dotnet.START)
    if status == "cancelled":
        client.post(f"/responses/{response['id']}/cancel").raise_for_status()
    found: Json = client.get(f"/responses/{response['id']}").json()
    assert list(dotnet.wrong_in_response(found)) == []
    assert found["status"] == status
    assert dotnet.token_of(found) == ({"responseId": found["id"]} if dotnet.STATUSES[status] else None)


def test_a_failure_is_returned_with_its_error(client: httpx.Client) -> None:
    """The client raises nothing for a failed response, which has no token and an error with code and message."""
    failed = posted(client, "sim-fail-0s", dotnet.START)
    assert dotnet.token_of(failed) is None
    assert failed["error"]["message"] == "Simulated failure, as the model sim-fail-0s promises."


def test_a_foreground_call_that_comes_back_unfinished(client: httpx.Client) -> None:
    """Only `Prefer: wait` asks for that. The answer says `background: false`, so the client makes no token of it."""
    response = posted(client, "sim-2s", dotnet.FOREGROUND, prefer="wait=1")
    assert (response["background"], dotnet.token_of(response)) == (False, None)
    ended = finished(client, response)
    assert list(dotnet.wrong_in_response(ended)) == []
    assert (ended["status"], dotnet.token_of(ended)) == ("completed", None)


def test_a_stream_of_eighteen_events(client: httpx.Client) -> None:
    """Events are numbered from 0 to 17. Each but the last has a token with its number. The text is in nine deltas."""
    events = streamed(client, f"sim-events-{DELTAS}")
    assert [event["type"] for event in events] == EIGHTEEN
    received = list(dotnet.updates(events))
    response_id = events[0]["response"]["id"]
    tokens = [{"responseId": response_id, "sequenceNumber": number} for number in range(17)]
    assert [update.token for update in received] == [*tokens, None]
    assert "".join(update.text for update in received) == output_text(events[-1]["response"])
    assert received[-1].finish == "stop"


def test_a_stream_resumes_after_event_9(client: httpx.Client) -> None:
    """The resumed stream has events 10 to 17, equal to those of the first stream.

    The client makes a token for each event but the last, although only the last contains a status.
    """
    events = streamed(client, f"sim-events-{DELTAS}")
    token = list(dotnet.updates(events))[9].token
    assert token
    assert dotnet.resumption(token) == {"stream": "true", "starting_after": "9"}
    resumed = followed(client, token["responseId"], 9)
    assert resumed == events[10:]
    received = list(dotnet.updates(resumed, resumed=token["responseId"]))
    assert [update.number for update in received] == list(range(10, 18))
    assert [update.token for update in received] == [*({**token, "sequenceNumber": n} for n in range(10, 17)), None]


def test_a_stream_resumes_while_the_response_runs(client: httpx.Client) -> None:
    """A client that leaves after event 9 and resumes gets event 10 next, and all events to the end."""
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
    """The client turns the `error` event into an error, and makes no token for `response.failed`."""
    events = streamed(client, "sim-fail-0s")
    *_, error, failed = dotnet.updates(events)
    assert error.error == "Simulated failure, as the model sim-fail-0s promises."
    assert failed.token is None


def test_a_tool_and_its_result(client: httpx.Client) -> None:
    """The arguments of a call are a JSON string. The output is chained to the background response of the call."""
    asking = finished(client, posted(client, "sim-tool", dotnet.WITH_TOOL))
    [call] = asking["output"]
    assert list(dotnet.wrong_in_item(call)) == []
    assert json.loads(call["arguments"]) == {"place": "hello"}
    answer = finished(client, posted(client, "sim-tool", dotnet.tool_result(call, "It snows.", asking["id"])))
    assert output_text(answer).endswith("1. It snows.")


def test_a_call_in_a_stream(client: httpx.Client) -> None:
    """The last update of a stream with a tool call has the finish reason `tool_calls`."""
    events = streamed(client, "sim-tool", {**dotnet.WITH_TOOL, "stream": True})
    assert [update.finish for update in dotnet.updates(events)][-1] == "tool_calls"


@pytest.mark.parametrize("name", ["created_at", "background", "output"])
def test_the_rules_find_missing_and_null_fields(client: httpx.Client, name: str) -> None:
    """The rules report a required field that is missing, and one that is null although it must not be."""
    response = posted(client, "sim-instant", dotnet.START)
    assert len(list(dotnet.wrong_in_response(response | {name: None}))) == 1
    del response[name]
    assert len(list(dotnet.wrong_in_response(response))) == 1


@pytest.mark.parametrize("model", ["sim-events-3", "sim-reason-0s", "sim-tool-0s", "sim-fail-0s", "sim-incomplete-0s"])
def test_every_event_can_be_read(client: httpx.Client, model: str) -> None:
    """Each event has every field that the client reads, with the kind that it expects."""
    for event in streamed(client, model, {**dotnet.WITH_TOOL, "stream": True}):
        assert list(dotnet.wrong_in_event(event)) == []


def test_a_stream_that_is_cancelled(client: httpx.Client) -> None:
    """A cancelled stream ends with `response.failed` and the status `cancelled`. The client makes no token for it."""
    with streaming(client, "sim-60s", **dotnet.STREAM) as events:
        heard = [next(events)]
        client.post(f"/responses/{heard[0]['response']['id']}/cancel").raise_for_status()
        heard += events
    assert [wrong for event in heard for wrong in dotnet.wrong_in_event(event)] == []
    assert heard[-1]["response"]["status"] == "cancelled"
    assert list(dotnet.updates(heard))[-1].token is None
