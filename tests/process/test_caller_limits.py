"""The limits of a caller over HTTP: what is over them is refused with the time to wait, and others are not affected."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import openai
import pytest

from local.azurite import Azurite
from local.credentials.keys import new_credentials
from local.stack.process import wait_for
from tests.support.peer_processes import Json, error_of
from tests.support.service_process import Service, service

LIMITS = {"max_body_bytes": 2_000, "requests_per_minute": 12, "max_streams": 2}
LONG = {"model": "sim-30s", "input": "One.", "stream": True}


@pytest.fixture
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, dict[str, str]]]:
    """Run a service with a limited caller and a free one. Yield it with their keys."""
    known = {name: new_credentials(name) for name in ("limited", "free", "busy")}
    callers = [known["limited"].configuration() | LIMITS, known["free"].configuration()]
    callers.append(known["busy"].configuration() | {"max_in_flight": 3, "requests_per_minute": 100})
    settings: dict[str, Any] = {"CALLERS": json.dumps(callers), "FOREGROUND_HOLD_S": "1"}
    with service(tmp_path_factory.mktemp("limits"), azurite.account(), **settings) as running:
        yield running, {name: one.api_key for name, one in known.items()}
        assert running.unexpected() == []


def client_of(running: Service, key: str) -> httpx.Client:
    """Return a client with this key."""
    return httpx.Client(
        base_url=f"{running.hosts[0].url}/openai/v1",
        headers={"Authorization": f"Bearer {key}"},
        timeout=30,
        trust_env=False,
    )


def test_requests_over_the_limit_are_refused_until_one_comes_back(running: tuple[Service, dict[str, str]]) -> None:
    """Every answer says what is left. OpenAI's SDK waits as long as it is told, and then gets its answer."""
    service_, keys = running
    asked: Json = {"model": "sim-instant", "input": "One.", "background": True}
    with client_of(service_, keys["limited"]) as limited, client_of(service_, keys["free"]) as free:
        answers = [limited.post("/responses", json=asked) for _ in range(13)]
        assert [one.status_code for one in answers] == [200] * 12 + [429]
        assert [one.headers["x-ratelimit-remaining-requests"] for one in answers[:3]] == ["11", "10", "9"]
        assert {one.headers["x-ratelimit-limit-requests"] for one in answers} == {"12"}
        assert error_of(answers[-1]) == (429, None, "rate_limit_exceeded")
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 5
        assert limited.get(f"/responses/{answers[0].json()['id']}").is_success
        other = free.post("/responses", json=asked)
        assert other.is_success
        assert "x-ratelimit-limit-requests" not in other.headers
    with openai.OpenAI(base_url=f"{service_.hosts[0].url}/openai/v1", api_key=keys["limited"], max_retries=2) as sdk:
        assert sdk.responses.create(model="sim-instant", input="Two.").status == "completed"


def test_every_answer_says_what_is_left(running: tuple[Service, dict[str, str]]) -> None:
    """Errors, streams and polls, too. Before it is known who calls, nothing can be said."""
    service_, keys = running
    with client_of(service_, keys["limited"]) as client, ExitStack() as streams:
        answers = [
            client.post("/responses", content="{"),
            client.post("/responses", json={"model": "sim-instant", "input": "One.", "conversation": "conv_no"}),
            client.post("/responses", json={"model": "sim-instant", "input": "a" * 2_000}),
            *(streams.enter_context(client.stream("POST", "/responses", json=LONG)) for _ in range(2)),
            client.post("/responses", json={"model": "sim-1s", "input": "One."}),
            client.get("/responses/resp_0"),
            client.get("/models"),
        ]
        assert [one.status_code for one in answers] == [400, 404, 413, 200, 200, 429, 404, 200]
        assert {one.headers["x-ratelimit-limit-requests"] for one in answers} == {"12"}
        left = [int(one.headers["x-ratelimit-remaining-requests"]) for one in answers[:6]]
        assert left[0] == 11
        assert 6 <= left[5] <= 8  # some of six may have come back meanwhile
        assert "x-ratelimit-limit-requests" not in httpx.get(f"{client.base_url}models", trust_env=False).headers


def test_calls_that_ask_to_wait_count_as_streams(running: tuple[Service, dict[str, str]]) -> None:
    """A poll and a create with `Prefer: wait` need room as they do. Without it they need none."""
    service_, keys = running
    asked, waits = {"model": "sim-1s", "input": "One.", "background": True}, {"Prefer": "wait=60"}
    with client_of(service_, keys["limited"]) as client:
        path = f"/responses/{client.post('/responses', json=asked).json()['id']}"
        with ExitStack() as streams:
            for _ in range(2):
                streams.enter_context(client.stream("POST", "/responses", json=LONG))
            for refused in (client.get(path, headers=waits), client.post("/responses", json=asked, headers=waits)):
                assert error_of(refused) == (429, None, "rate_limit_exceeded")
                assert refused.headers["retry-after"] == "5"
            assert client.get(path).is_success
            assert client.get(path, headers={"Prefer": "wait=0"}).is_success
            assert client.post("/responses", json=asked, headers={"Prefer": "respond-async"}).status_code == 202
        assert wait_for(lambda: client.get(path, headers=waits).is_success, 20)
        assert client.post("/responses", json=asked, headers=waits).json()["status"] == "completed"


def test_streams_and_waiting_calls_over_the_limit_are_refused(running: tuple[Service, dict[str, str]]) -> None:
    """One that ends, or whose client leaves, makes room. Work in the background needs none."""
    service_, keys = running
    with client_of(service_, keys["limited"]) as client, ExitStack() as streams:
        first, second = (streams.enter_context(client.stream("POST", "/responses", json=LONG)) for _ in range(2))
        lines = second.iter_lines()  # the stream is open as long as somebody holds this
        created = json.loads(next(line for line in lines if line.startswith("data: "))[6:])
        path = f"/responses/{created['response']['id']}"
        refused = client.get(path, params={"stream": "true"})
        assert error_of(refused) == (429, None, "rate_limit_exceeded")
        assert refused.headers["retry-after"] == "5"
        assert error_of(client.post("/responses", json={"model": "sim-1s", "input": "One."}))[0] == 429
        assert client.post("/responses", json={"model": "sim-1s", "input": "One.", "background": True}).is_success
        first.close()

        def has_room() -> bool:
            return client.post("/responses", json={"model": "sim-3s", "input": "Two."}).is_success

        assert wait_for(has_room, 20)


def test_responses_in_flight_over_the_limit_are_refused(running: tuple[Service, dict[str, str]]) -> None:
    """Over all processes. OpenAI's SDK waits as long as it is told, and then gets its answer."""
    service_, keys = running
    asked: Json = {"model": "sim-1s", "input": "One.", "background": True}
    with client_of(service_, keys["busy"]) as busy:
        answers = [busy.post("/responses", json=asked) for _ in range(4)]
        assert [one.status_code for one in answers] == [200, 200, 200, 429]
        assert (error_of(answers[3])[2], answers[3].headers["retry-after"]) == ("rate_limit_exceeded", "5")
        assert answers[3].headers["x-ratelimit-limit-requests"] == "100"
        foreground = busy.post("/responses", json={"model": "sim-1s", "input": "One."})
        assert error_of(foreground) == (429, None, "rate_limit_exceeded")
    with openai.OpenAI(base_url=f"{service_.hosts[0].url}/openai/v1", api_key=keys["busy"], max_retries=2) as sdk:
        assert sdk.responses.create(model="sim-instant", input="Two.").status == "completed"


def test_a_body_over_the_limit_is_refused(running: tuple[Service, dict[str, str]]) -> None:
    """Before it is read, where its length is said."""
    service_, keys = running
    body = {"model": "sim-instant", "input": "a" * 2_000}
    with client_of(service_, keys["limited"]) as limited, client_of(service_, keys["free"]) as free:
        refused = limited.post("/responses", json=body)
        assert error_of(refused) == (413, None, "request_too_large")
        assert "2000 bytes" in refused.text
        assert free.post("/responses", json=body).is_success
