"""Every HTTP function works in Microsoft's worker: real requests reach its server, each with an invocation.

The host's own part is not tested: its limits of size and time, its keys and its proxy.
"""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from local.stack.process import wait_for
from tests.conformance.conftest import Running
from tests.conformance.hosting import client, http_input
from tests.support.peer_processes import error_of
from tests.support.receiver_peer import CALL_S, FINISHED_S
from tests.support.service_process import create, finished, followed, following, kinds, numbers, output_text, streaming
from tests.unit.functions.test_function_app import BASES, OPERATIONS

FIRST_EVENT_S = 1.0
WHOLE_S = 4.0


@pytest.mark.parametrize(("suffix", "base"), BASES.items(), ids=BASES.values())
def test_every_operation_is_invoked(running: Running, suffix: str, base: str) -> None:
    """Every operation works under each base path, from the creation of a response to its deletion."""
    with client(running.worker, base, running.caller.api_key) as (http, forwarding):
        assert http.get("/health/live").json() == {"status": "live"}
        assert wait_for(lambda: http.get("/health/ready").json().get("status") == "ready", CALL_S)
        assert http.get("/health/upstream").json()["status"] == "ok"
        assert http.get("/openapi.json").json()["openapi"].startswith("3.1")
        ended = finished(http, create(http, "sim-instant", callback_url=f"{running.receiver.url}/callback"))
        path = f"/responses/{ended['id']}"
        assert "One." in output_text(ended)
        assert running.receiver.first(ended["id"])["verified"]
        assert len(http.get(f"{path}/input_items").json()["data"]) == 1
        assert wait_for(lambda: http.get(f"{path}/deliveries").json()["data"][0]["state"] == "delivered", CALL_S)
        assert http.post(f"{path}/deliveries/redeliver").is_success
        assert wait_for(lambda: len(running.receiver.of(ended["id"])) == 2, CALL_S)
        assert http.post("/deliveries/recover", params={"since": "2026-01-01T00:00:00Z"}).json()["recovered"] == 0
        assert http.post(f"/responses/{create(http, 'sim-60s')['id']}/cancel").json()["status"] == "cancelled"
        assert wait_for(lambda: http.delete(path).is_success, CALL_S)
        ask_upstream(http)
        ask_lists(http, f"{path}x")
        results = forwarding.results()
    assert {name for name, _ in results} == {name + suffix for name in OPERATIONS}
    assert all(result["succeeded"] for _, result in results)


def ask_upstream(http: httpx.Client) -> None:
    """Make every call that is passed on. The simulated model has no single items, so those are its own 404."""
    assert http.get("/models").json()["object"] == "list"
    assert http.get("/models/sim-1s").json()["id"] == "sim-1s"
    asked = {"model": "sim-1s", "input": "One."}
    assert http.post("/responses/input_tokens", json=asked).json()["input_tokens"] > 0
    assert http.post("/responses/compact", json=asked).json()["object"] == "response.compaction"
    one = f"/conversations/{http.post('/conversations', json={}).json()['id']}"
    assert http.post(one, json={"metadata": {"a": "b"}}).json()["metadata"] == http.get(one).json()["metadata"]
    assert http.post(f"{one}/items", json={"items": []}).json() == http.get(f"{one}/items").json()
    assert [http.get(f"{one}/items/msg_1").status_code, http.delete(f"{one}/items/msg_1").status_code] == [404, 404]
    assert http.delete(one).json()["deleted"]


def ask_lists(http: httpx.Client, path: str) -> None:
    """Make every call that lists something. This caller is no operator."""
    assert http.get("/responses", params={"limit": "1"}).json()["object"] == "list"
    assert http.get("/deliveries").json()["data"] == []
    assert http.get("/usage", params={"from": "2026-12-31", "to": "2026-12-31"}).json()["object"] == "usage"
    for name in ("status", "responses", "deliveries", "usage"):
        assert http.get(f"/operator/{name}").status_code == 403
    assert http.delete("/operator/responses").status_code == 403
    erased = http.delete("/responses", params={"before": "2026-01-01T00:00:00Z"})
    assert (erased.status_code, http.get(f"/erasures/{erased.json()['id']}").json()["deleted"]) == (202, 0)
    for act in ("cancel", "deliveries/redeliver"):
        assert http.post(f"/operator{path}/{act}").status_code == 403


def test_routes_outside_the_base_paths_are_invoked(running: Running) -> None:
    """Health checks at the root, the upstream's webhook and unknown routes invoke their functions.

    The webhook answers 404, because it is not set up here.
    """
    with client(running.worker) as (http, forwarding):
        assert http.get("/health/live").is_success
        assert wait_for(lambda: http.get("/health/ready").is_success, CALL_S)  # a heartbeat creates the queues
        assert http.post("/webhooks/upstream", json={}).status_code == 404
        assert http.get("/nothing/here").status_code == 404
        for page in ("", "/caller", "/files/main.js"):
            assert http.get(f"/console{page}").status_code in (401, 404)  # it is off, and the caller comes first
        refused = http.put("/v1/responses", json={})
        assert (refused.status_code, refused.headers["allow"]) == (405, "DELETE, GET, POST")
        results = forwarding.results()
    pages = {"console", "console_caller", "console_file"}
    expected = {"health_live_root", "health_ready_root", "receive_webhook", "unmatched", *pages}
    assert {name for name, _ in results} == expected
    assert all(result["succeeded"] for _, result in results)


def test_an_error_becomes_an_error_response(http: httpx.Client) -> None:
    """A refused request gets our error and a request id.

    No exception leaves a function, because the worker would answer with an empty 500 and close the connection.
    """
    refusals = [
        http.post("/responses", json={"model": "sim-1s", "input": "One."}, headers={"Authorization": "Bearer no"}),
        http.post("/responses", content=b"{", headers={"Content-Type": "application/json"}),
        http.post("/responses", content=bytes(8 * 2**20 + 1), headers={"Content-Type": "application/json"}),
        http.get("/responses/resp_unknown"),
    ]
    assert [error_of(answer)[0] for answer in refusals] == [401, 400, 413, 404]
    assert all(answer.headers["x-request-id"].startswith("req_") for answer in refusals)


def test_a_body_without_a_length_is_read(http: httpx.Client) -> None:
    """A chunked upload is read. The platform would drop it only if HTTP streaming were off."""
    body = (part for part in (b'{"model": "sim-instant", "background": true, ', b'"input": "One. Two."}'))
    answer = http.post("/responses", content=body, headers={"Content-Type": "application/json"})
    assert answer.is_success, answer.text


def test_a_stream_is_sent_event_by_event(http: httpx.Client) -> None:
    """The first event arrives at once, and the first text arrives while the model is still writing."""
    began = time.monotonic()
    with streaming(http, "sim-4s") as stream:
        events = [next(stream)]
        assert time.monotonic() - began < FIRST_EVENT_S
        events.append(next(event for event in stream if event["type"] == "response.output_text.delta"))
        assert time.monotonic() - began < WHOLE_S / 2
        events.extend(stream)
    assert time.monotonic() - began > WHOLE_S - 1
    assert (kinds(events)[0], kinds(events)[-1]) == ("created", "completed")
    assert followed(http, events[0]["response"]["id"])[-1] == events[-1]


def test_a_long_call_is_sent_as_it_goes_on(running: Running) -> None:
    """Nothing holds back the status line and the blanks before the end, and the invocation has succeeded by then."""
    with client(running.worker, "v1", running.caller.api_key) as (http, forwarding):
        began_s, seen = time.monotonic(), list[tuple[float, bytes]]()
        with http.stream("POST", "/responses", json={"model": "sim-4s", "input": "One."}) as answer:
            headers_s = time.monotonic() - began_s
            seen += [(time.monotonic() - began_s, piece) for piece in answer.iter_raw()]
        results = forwarding.results()
    assert 1 <= headers_s < WHOLE_S - 1
    assert len([at_s for at_s, piece in seen if piece == b" " and at_s < WHOLE_S]) >= 2
    assert json.loads(b"".join(piece for _, piece in seen))["status"] == "completed"
    assert [(name, result["succeeded"]) for name, result in results] == [("create_response_v1", True)]


def test_the_end_of_a_stream_is_told(running: Running, http: httpx.Client) -> None:
    """The function of a stream has returned before the stream ends. The line about the end is written all the same."""
    with streaming(http, "sim-instant") as stream:
        ended = list(stream)[-1]["response"]["id"]
    assert wait_for(lambda: ended in {line["response"] for line in running.worker.lines("response.completed")}, CALL_S)


def test_a_stream_resumes_after_the_client_disconnects(running: Running, http: httpx.Client) -> None:
    """The worker ends a stream whose client disconnects. Another function continues the run, and no event is lost."""
    with streaming(http, "sim-3s") as stream:
        left = [next(stream) for _ in range(3)]
    assert wait_for(lambda: "run" in running.queues.begun, FINISHED_S)
    with following(http, left[-1]["continuation_token"]) as stream:
        events = left + list(stream)
    assert numbers(events) == list(range(len(events)))
    assert kinds(events)[-1] == "completed"


def test_a_client_that_disconnects_while_it_sends_causes_no_exception(running: Running) -> None:
    """If the client disconnects before its body is complete, the function ends at once and without an exception."""
    invocation = running.worker.invoke("create_response", {"req": http_input({})})
    url = httpx.URL(running.worker.url)
    head = (
        f"POST /openai/v1/responses HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: Bearer {running.caller.api_key}\r\n"
        f"x-ms-invocation-id: {invocation.id}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
    )
    with socket.create_connection((url.host, url.port or 80), timeout=CALL_S) as connection:
        connection.sendall(head.encode())
    assert invocation.result() == {"succeeded": True, "exception": None}


def test_simultaneous_requests_get_their_own_answers(http: httpx.Client) -> None:
    """The worker matches each request with its invocation, and answers fast requests while slow ones wait."""
    models = ["sim-2s", "sim-instant"] * 6
    bodies = [{"model": model, "input": f"Number {number}."} for number, model in enumerate(models)]
    with ThreadPoolExecutor(len(models)) as callers:
        answers = list(callers.map(lambda body: http.post("/responses", json=body), bodies))
    assert all(f"Number {number}." in output_text(answer.json()) for number, answer in enumerate(answers))
