"""Foreground calls over HTTP: whole answers however long they take, repeats that join, and clients that leave.

The service's times are shortened by FOREGROUND_HOLD_S, so that a call of 4 s is one of minutes.
"""

import contextlib
import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from local.azurite import Azurite
from local.stack.process import wait_for
from tests.support.peer_processes import Json, error_of
from tests.support.service_process import Service, output_text, service, streamed

HOLD_S = 1.0
TEXT = "1. One."
DOTNET = {"User-Agent": "OpenAI/2.14.0 (.NET 10.0.0; Debian GNU/Linux 12)"}


@pytest.fixture(scope="module", params=["background", "foreground"])
def running(
    request: pytest.FixtureRequest, azurite: Azurite, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Run a service with an upstream of either kind. It must have logged nothing unexpected at the end."""
    settings = {"FOREGROUND_HOLD_S": str(HOLD_S), "STREAM_HEARTBEAT_S": "1", "UPSTREAM_MODE": request.param}
    with service(tmp_path_factory.mktemp("calls"), azurite.account(), **settings) as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture
def client(running: Service) -> httpx.Client:
    """Return a client of the service."""
    return running.client()


def body(model: str, **fields: object) -> Json:
    """Return the body of a foreground call, which no other test sends."""
    return {"model": model, "input": f"One. Two. {time.monotonic_ns()}", **fields}


def works(running: Service) -> int:
    """Return how many works the model has started."""
    return int(running.model.stats()["started"].__len__())


def test_a_long_call_is_answered_whole(client: httpx.Client) -> None:
    """The status line goes out early, blanks follow, and then the response, which is never an unfinished one."""
    began_s, pieces = time.monotonic(), list[tuple[float, bytes]]()
    with client.stream("POST", "/responses", json=body("sim-4s")) as answer:
        headers_s = time.monotonic() - began_s
        pieces += [(time.monotonic() - began_s, piece) for piece in answer.iter_raw()]
    assert HOLD_S <= headers_s < 3
    whole = b"".join(piece for _, piece in pieces)
    response = json.loads(whole)
    assert (response["status"], response["background"], response["continuation_token"]) == ("completed", False, None)
    assert TEXT in output_text(response)
    assert whole.lstrip() != whole
    blanks = [at_s for at_s, piece in pieces if not piece.strip()]
    assert len(blanks) >= 2
    assert answer.status_code == 200
    assert answer.headers["x-response-id"] == response["id"]
    assert answer.headers["cache-control"] == "no-cache, no-transform"
    assert client.get(f"/responses/{response['id']}").json() == response


def test_a_short_call_has_no_blank(client: httpx.Client) -> None:
    """It is an ordinary answer, with its length."""
    answer = client.post("/responses", json=body("sim-instant"))
    assert answer.content.startswith(b"{")
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_an_early_refusal_has_its_own_status(client: httpx.Client) -> None:
    """An SDK raises only then."""
    answer = client.post("/responses", json=body("no-such-model"))
    assert error_of(answer)[:2] == (400, "model")


def test_a_late_failure_is_in_the_object(client: httpx.Client) -> None:
    """The status line is out, so the response says it, as that of a background call does."""
    answer = client.post("/responses", json=body("sim-fail-3s"))
    assert (answer.status_code, answer.json()["status"], answer.json()["error"]["code"]) == (
        200,
        "failed",
        "server_error",
    )


def test_a_client_that_bounds_the_body_gets_nothing_before(client: httpx.Client) -> None:
    """No byte renews the time-out of a client for .NET, so the first one comes as late as the setting allows."""
    with client.stream("POST", "/responses", json=body("sim-4s"), headers=DOTNET) as answer:
        assert json.loads(answer.read())["status"] == "completed"


def leave(running: Service, sent: Json, after_s: float, headers: dict[str, str] | None = None) -> None:
    """Make a call, and leave it after so many seconds. Return when the service has noted that."""
    before = left(running)
    client = running.client()
    with (
        contextlib.suppress(httpx.ReadTimeout),
        httpx.Client(base_url=client.base_url, headers=client.headers) as leaver,
    ):
        leaver.post("/responses", json=sent, headers=headers, timeout=after_s)
    assert wait_for(lambda: left(running) > before, 20)


def left(running: Service) -> int:
    """Return how many clients have left so far."""
    return running.hosts[0].written().count('"event":"call.left"')


def test_a_client_for_net_that_repeats_joins_without_a_header(running: Service, client: httpx.Client) -> None:
    """It sends the same bytes at the moment it leaves, and says nothing. The work is one."""
    sent, before = body("sim-4s"), works(running)
    leave(running, sent, 0.7, DOTNET)
    response = client.post("/responses", json=sent, headers=DOTNET).json()
    assert (response["status"], works(running) - before) == ("completed", 1)


def test_ten_equal_calls_are_ten_works(running: Service) -> None:
    """Nobody has left, so each is meant."""
    sent, before = body("sim-1s"), works(running)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: running.client().post("/responses", json=sent).json(), range(10)))
    assert len({answer["id"] for answer in answers}) == 10
    assert works(running) - before == 10


def test_a_cut_stream_is_joined_from_its_first_event(running: Service, client: httpx.Client) -> None:
    """A client without a retry count, such as Codex, sends the same request again."""
    sent, before, gone = body("sim-4s", stream=True), works(running), left(running)
    with client.stream("POST", "/responses", json=sent) as answer:
        first = next(answer.iter_lines())
    assert wait_for(lambda: left(running) > gone, 20)
    with client.stream("POST", "/responses", json=sent) as answer:
        lines = list(answer.iter_lines())
    assert lines[0] == first
    assert any(line == "event: response.completed" for line in lines)
    assert works(running) - before == 1


def test_work_that_its_caller_pays_for_is_cancelled_with_the_connection(client: httpx.Client) -> None:
    """`on_disconnect: "cancel"` ends it 5 s after the client has left."""
    sent = body("sim-60s", on_disconnect="cancel", stream=True)
    with client.stream("POST", "/responses", json=sent) as answer:
        data = next(line for line in answer.iter_lines() if line.startswith("data: "))
    response_id = json.loads(data[6:])["response"]["id"]
    assert client.get(f"/responses/{response_id}").json()["status"] in ("queued", "in_progress")

    def is_cancelled() -> bool:
        return bool(client.get(f"/responses/{response_id}").json()["status"] == "cancelled")

    assert wait_for(is_cancelled, 20)


def test_a_repeat_saves_work_that_would_be_cancelled(running: Service, client: httpx.Client) -> None:
    """It comes within the 5 s."""
    sent, before = body("sim-8s", on_disconnect="cancel"), works(running)
    leave(running, sent, 0.5)
    response = client.post("/responses", json=sent).json()
    assert (response["status"], works(running) - before) == ("completed", 1)


def test_an_on_disconnect_that_is_unknown_is_refused(client: httpx.Client) -> None:
    """In the body and in the metadata."""
    for fields in ({"on_disconnect": "stop"}, {"metadata": {"on_disconnect": "stop"}}):
        answer = client.post("/responses", json=body("sim-instant", **fields))
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "on_disconnect")


# How streams end


def test_a_cut_stream_breaks(azurite: Azurite, tmp_path: Any) -> None:
    """A client that reads HTTP/1.1 learns it from the connection. HTTP/1.0 has no way, so an event says it."""
    with service(tmp_path, azurite.account(), STREAM_MAX_S="2") as cut:
        client = cut.client()
        sent = body("sim-10s", stream=True, background=True)
        with pytest.raises(httpx.RemoteProtocolError), client.stream("POST", "/responses", json=sent) as answer:
            list(answer.iter_lines())
        told = old_http(cut, sent)
        assert b'"code":"interrupted"' in told.splitlines()[-2]
        assert b"response.completed" not in told
        ended = streamed(client, "sim-instant")[-1]["response"]
        past = client.get(f"/responses/{ended['id']}", params={"stream": "true", "starting_after": "100000"})
        assert (past.status_code, past.content) == (200, b"")


def old_http(running: Service, sent: Json) -> bytes:
    """Make a call over HTTP/1.0, and return the body of the answer as it was received."""
    address = urlsplit(running.hosts[0].url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"  # type: ignore[attr-defined]
    headers = {"Authorization": f"Bearer {running.callers['first'].api_key}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/responses", json.dumps(sent), headers)
    with contextlib.closing(connection):
        try:
            return connection.getresponse().read()
        except (
            http.client.IncompleteRead
        ) as cut:  # the server may say by chunks that it breaks, in spite of the version
            return cut.partial
