"""Traces, metrics and logs of the whole service: those that a collector receives, and the data that is never sent."""

import json
from dataclasses import dataclass

import pytest

from local.azurite import Azurite
from local.stack.process import wait_for
from tests.support.peer_processes import Json
from tests.support.service_process import Service, finished, output_text, streamed
from tests.support.telemetry_collectors import Collector
from tests.support.traced_service import CLIENT_ID, REQUEST, SOON_S, WELL, asked, named, observed, of_trace

SECRETS = ("geheime-Frage", "geheimer-Pfad", "geheimer-Parameter", "Geheimes-Metadatum", "simulated-upstream-key")
EVENTS = ["response.accepted", "response.started", "response.completed", *["delivery.attempted"] * 2]
FAILING, UNSAMPLED = "a1f92f3577b34da6a3ce929d0e0e4736", "b1f92f3577b34da6a3ce929d0e0e4736"


@dataclass
class Story:
    """Everything that the collector, the receiver and the log received after a fixed set of requests."""

    collecting: Collector
    response: Json
    callback: Json
    unsampled: Json
    failing: Json
    log: str
    private: list[str]


@pytest.fixture(scope="module")
def story(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Run the requests once.

    Three responses complete, one of them unsampled and one streamed. One fails, and one is refused. The receiver
    refuses the first attempt of some callbacks.
    """
    with observed(tmp_path_factory.mktemp("telemetry"), azurite.account()) as (running, collecting):
        unsampled = running.receiver.first(asked(running, UNSAMPLED, "sim-1s", sampled=False)["id"])
        running.receiver.faults(fail_first_per_id=1, status=500)
        response, failing = asked(running, WELL), asked(running, FAILING, "sim-fail-1s")
        assert running.client().post("/responses", json={"model": "sim-refuse", "input": "x"}).status_code == 400
        assert streamed(running.client(), "sim-1s")[-1]["type"] == "response.completed"
        assert wait_for(lambda: _delivered(running, response, failing), SOON_S)
        of_trace(collecting, WELL, "POST", "POST")
        of_trace(collecting, FAILING, "POST", "POST")
        assert wait_for(lambda: _counted(collecting, "background_responses.deliveries") == 3, SOON_S)
        answer, caller = finished(running.client(), response), running.callers["first"]
        private = [*SECRETS, output_text(answer), caller.api_key, caller.signing_secret]
        callback = running.receiver.of(response["id"])[-1]
        return Story(collecting, answer, callback, unsampled, failing, running.hosts[0].written(), private)


def _delivered(running: Service, *responses: Json) -> bool:
    answered = [[one["answered"] for one in running.receiver.of(response["id"])] for response in responses]
    return answered == [[500, 204]] * len(responses)


def _counted(collecting: Collector, name: str) -> float:
    return sum(one.value for one in collecting.metrics().get(name, ()))


def test_one_trace_shows_the_whole_life_of_a_response(story: Story) -> None:
    """One trace holds the client's span, the request, the response, each upstream call and each callback."""
    spans = of_trace(story.collecting, WELL)
    request, life = named(spans, REQUEST), named(spans, "chat sim-2s")
    assert (request.kind, request.parent_id) == ("server", CLIENT_ID)
    assert (life.kind, life.parent_id) == ("client", request.span_id)
    begun, polled = named(spans, "POST /responses"), named(spans, "GET /responses/{id}")
    first, second = (span for span in spans if span.name == "POST")
    assert {span.parent_id for span in (begun, polled, first, second)} == {life.span_id}
    assert {span.kind for span in (begun, polled, first, second)} == {"client"}
    assert life.began_s == pytest.approx(request.began_s, abs=1)
    assert life.began_s <= begun.began_s < polled.began_s < life.ended_s <= first.began_s < second.began_s
    assert story.callback["traceparent"] == f"00-{WELL}-{second.span_id}-01"


def test_no_span_has_a_parent_that_was_not_sent(story: Story) -> None:
    """Every span's parent was sent or is the client's span, also for a request that was refused.

    The other spans are roots.
    """
    spans = story.collecting.spans()
    there = {"", CLIENT_ID, *(span.span_id for span in spans)}
    assert [span for span in spans if span.parent_id not in there] == []
    (refused,) = (span for span in spans if span.attributes.get("background_responses.status") == "withdrawn")
    assert (refused.name, refused.failed, refused.kind) == ("chat sim-refuse", True, "client")
    assert {span.name for span in spans if span.parent_id == refused.span_id} == {"POST /responses"}


def test_names_are_those_of_the_conventions(story: Story) -> None:
    """Spans carry the HTTP and GenAI attributes of the conventions, with the token usage of the response."""
    spans = of_trace(story.collecting, WELL)
    assert named(spans, REQUEST).attributes == {
        "http.request.method": "POST",
        "http.route": "/openai/v1/responses",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "url.path": "/openai/v1/responses",
    }
    life = dict(named(spans, "chat sim-2s").attributes)
    upstream_id = life.pop("gen_ai.response.id")
    assert life == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "sim-2s",
        "gen_ai.response.model": "sim-2s",
        "gen_ai.usage.input_tokens": story.response["usage"]["input_tokens"],
        "gen_ai.usage.output_tokens": story.response["usage"]["output_tokens"],
        "background_responses.id": story.response["id"],
        "background_responses.status": "completed",
        "background_responses.caller": "first",
        "background_responses.background": True,
        "background_responses.stream": False,
        "background_responses.starts": 0,
    }
    polled = named(spans, "GET /responses/{id}").attributes
    assert polled["url.full"].endswith(f"/v1/responses/{upstream_id}")
    assert (polled["http.response.status_code"], polled["server.address"]) == (200, "127.0.0.1")


def test_a_failed_span_carries_its_error_type(story: Story) -> None:
    """A failed response and a refused callback carry an `error.type`. No span carries an exception's text."""
    spans = of_trace(story.collecting, FAILING)
    life, (first, second) = named(spans, "chat sim-fail-1s"), [span for span in spans if span.name == "POST"]
    assert (life.failed, life.attributes["background_responses.status"]) == (True, "failed")
    assert life.attributes["error.type"] == "server_error"
    assert (first.failed, first.attributes["error.type"]) == (True, "500")
    assert (second.failed, second.attributes["http.request.resend_count"]) == (False, 1)
    received = {"http.request.method", "http.response.status_code", "server.address", "server.port", "error.type"}
    assert first.attributes.keys() == received
    assert not any(span.events for span in story.collecting.spans())


def test_a_trace_that_the_client_does_not_sample_is_not_recorded(story: Story) -> None:
    """A trace that the client does not sample is passed on unsampled and not exported."""
    assert UNSAMPLED not in {span.trace_id for span in story.collecting.spans()}
    version, trace_id, _, flags = story.unsampled["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", UNSAMPLED, "00")


def test_a_streamed_response_is_traced_to_the_end_of_its_stream(story: Story) -> None:
    """The span of a streamed request lasts until the stream ends.

    A reader that has left no longer counts in `background_responses.stream.readers`.
    """
    (life,) = (span for span in story.collecting.spans() if span.name == "chat sim-1s")
    trace = [span for span in story.collecting.spans() if span.trace_id == life.trace_id]
    request = named(trace, REQUEST)
    assert request.ended_s - request.began_s >= 0.9
    assert life.attributes["background_responses.stream"] is True
    (readers,) = story.collecting.metrics()["background_responses.stream.readers"]
    assert readers.value == 0


def test_every_metric_is_measured(story: Story) -> None:
    """The metrics count three completed responses, a failed one and a withdrawn one."""
    found = story.collecting.metrics()
    by_status = {one.attributes["status"]: one.value for one in found["background_responses.ended"]}
    assert by_status == {"completed": 3, "failed": 1, "withdrawn": 1}
    assert _counted(story.collecting, "background_responses.accepted") == 5
    ages = {one.attributes["status"]: one for one in found["background_responses.age"]}
    assert (ages["completed"].count, ages["failed"].count) == (3, 1)
    assert 4 <= ages["completed"].value < 40
    assert sum(one.count for one in found["background_responses.poll.lag"]) >= 2
    assert sum(one.count for one in found["background_responses.alarms.overdue"]) >= 16
    attempts = {one.attributes["class"]: one.value for one in found["background_responses.delivery.attempts"]}
    assert attempts == {"2xx": 3, "5xx": 2}
    (delivered,) = found["background_responses.delivery.time"]
    assert (delivered.attributes, delivered.count) == ({"target": "callback"}, 3)
    (over,) = found["background_responses.deliveries"]
    assert (over.attributes, over.value) == ({"target": "callback", "state": "delivered"}, 3)
    assert {one.attributes["gen_ai.token.type"] for one in found["gen_ai.client.token.usage"]} == {"input", "output"}
    assert sum(one.count for one in found["gen_ai.client.operation.duration"]) == 4
    assert {"http.server.request.duration", "http.client.request.duration"} < found.keys()


def test_nothing_private_is_sent_or_logged(story: Story) -> None:
    """Neither telemetry nor the log holds private data.

    That is input, output, metadata, a key, a secret, or the path and query of a callback URL.
    """
    sent = b"".join(body for _, body in story.collecting.posted)
    assert all(story.private)
    for secret in story.private:
        assert secret.encode() not in sent, secret
        assert secret not in story.log, secret


def test_requests_are_recorded_once(story: Story) -> None:
    """All telemetry comes from the scope `background_responses`.

    FastAPI, inside the platform's HTTP extension, would emit each request a second time, without its route.
    """
    assert story.collecting.scopes() == {"background_responses"}


def test_each_change_is_one_log_line_with_its_trace_id(story: Story) -> None:
    """The log has one line for each change of a response: accepted, started, completed, and each delivery attempt."""
    lines = [line for line in story.log.splitlines() if story.response["id"] in line and line.startswith("{")]
    received = [json.loads(line) for line in lines]
    assert [line["event"] for line in received] == EVENTS
    assert {line["trace_id"] for line in received} == {WELL}
    assert received[2]["age_ms"] >= 2000
    assert [(line["state"], line["status"]) for line in received[3:]] == [("pending", 500), ("delivered", 204)]


def test_the_collector_receives_each_line_as_a_log_record(story: Story) -> None:
    """It has the severity, the trace and the fields of the line, also if the trace is not sampled."""
    own = [one for one in story.collecting.logs() if one.attributes.get("response") == story.response["id"]]
    assert [one.event for one in own] == EVENTS
    assert {(one.severity, one.number, one.trace_id) for one in own} == {("INFO", 9, WELL)}
    life = named(of_trace(story.collecting, WELL), "chat sim-2s")
    assert own[0].span_id == life.span_id
    assert own[2].attributes["age_ms"] >= 2000
    assert own[2].attributes["targets"] == ["callback"]
    assert UNSAMPLED in {one.trace_id for one in story.collecting.logs()}
