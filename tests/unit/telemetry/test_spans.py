"""Spans of requests, callbacks and messages: their names and attributes, their errors, and their durations."""

import asyncio
from collections.abc import Callable

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from shared.telemetry import tracing
from shared.telemetry.spans import (
    MAX_PATH,
    MeasuredSpan,
    callback_span,
    queued_request_span,
    reply_span,
    server_span,
    upstream_span,
)
from tests.unit.telemetry.recording import Point, Recorded

TRACE_ID, CLIENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{CLIENT_ID}-01"
URL = "https://api.example.com/v1/responses"

Start = Callable[[], MeasuredSpan]
STARTS: dict[str, Start] = {
    "http.server.request.duration": lambda: server_span("GET", "v1/x", "https://a.example/v1/x", ""),
    "http.client.request.duration": lambda: upstream_span("GET", "/responses", URL),
    "messaging.client.operation.duration": lambda: reply_span("replies"),
    "messaging.process.duration": lambda: queued_request_span("requests", "m-1", ""),
}
CALLS: list[Start] = [
    lambda: upstream_span("GET", "/responses", URL),
    lambda: callback_span("https://a.example/", 1),
    lambda: reply_span("replies"),
    lambda: queued_request_span("requests", "m-1", ""),
]
every_start = pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)


def measured(recorded: Recorded) -> dict[str, Point]:
    """Return the only point of each metric that was recorded."""
    return {name: point for name, points in recorded.points().items() if "duration" in name for point in points}


# Requests that are served


def test_a_request_has_its_route_and_its_path(recorded: Recorded) -> None:
    """The route is the name of the span and an attribute of the metric. The path is only in the span."""
    with server_span("POST", "v1/responses/{id}", "https://a.example/v1/responses/resp_1", "") as span:
        span.record_answer(200)
    common = {
        "http.request.method": "POST",
        "http.route": "/v1/responses/{id}",
        "url.scheme": "https",
        "http.response.status_code": 200,
    }
    found = recorded.span()
    assert (found.name, found.kind) == ("POST /v1/responses/{id}", SpanKind.SERVER)
    assert found.attributes == common | {"url.path": "/v1/responses/resp_1"}
    assert measured(recorded)["http.server.request.duration"].attributes == common


def test_the_query_of_a_request_is_not_recorded(recorded: Recorded) -> None:
    """A query may hold a key."""
    server_span("GET", None, "https://a.example/x?key=geheim#geheim", "").end()
    assert "geheim" not in str(recorded.span().to_json()) + str(recorded.points())


def test_a_path_is_cut_at_256_characters(recorded: Recorded) -> None:
    """A client may send any path, also one of many kilobytes."""
    for length in (MAX_PATH, MAX_PATH + 1, 10_000):
        server_span("GET", None, f"https://a.example/{'x' * (length - 1)}", "").end()
    assert [str(span.attributes["url.path"]) for span in recorded.spans() if span.attributes] == ["/" + 255 * "x"] * 3


@pytest.mark.parametrize(
    ("method", "name", "attribute"),
    [("GET", "GET", "GET"), ("OPTIONS", "OPTIONS", "OPTIONS"), ("BREW", "HTTP", "_OTHER"), ("get", "HTTP", "_OTHER")],
)
def test_a_request_without_a_route_is_named_by_its_method(
    recorded: Recorded, method: str, name: str, attribute: str
) -> None:
    """All unknown methods share one name, so clients cannot multiply the time series."""
    server_span(method, None, "https://a.example/x", "").end()
    assert recorded.span().name == name
    point = measured(recorded)["http.server.request.duration"]
    assert point.attributes == {"http.request.method": attribute, "url.scheme": "https"}


@pytest.mark.parametrize(("traceparent", "parent"), [(TRACEPARENT, CLIENT_ID), ("", None), ("nonsense", None)])
@pytest.mark.parametrize("of", ["request", "message"])
def test_a_request_continues_the_trace_of_its_sender(
    recorded: Recorded, of: str, traceparent: str, parent: str | None
) -> None:
    """The span is a child of the sender's. Without a valid traceparent it begins a trace, whatever is current here."""
    with tracing.under("00-a1f92f3577b34da6a3ce929d0e0e4736-a1f067aa0ba902b7-01"):
        if of == "request":
            server_span("GET", "x", "https://a.example/x", traceparent).end()
        else:
            queued_request_span("requests", "m-1", traceparent).end()
    found = recorded.span()
    assert (f"{found.parent.span_id:016x}" if found.parent else None) == parent
    assert (f"{found.context.trace_id:032x}" == TRACE_ID) is (parent is not None)
    assert f"{found.context.trace_id:032x}" != "a1f92f3577b34da6a3ce929d0e0e4736"


# Requests that are made


@pytest.mark.parametrize(
    ("url", "address", "port"),
    [
        ("https://api.example.com/v1/responses/up_1", "api.example.com", 443),
        ("http://api.example.com/v1/responses/up_1", "api.example.com", 80),
        ("http://127.0.0.1:8080/v1/responses/up_1", "127.0.0.1", 8080),
        ("https://[::1]:8443/v1/responses/up_1", "::1", 8443),
    ],
)
def test_a_call_to_the_upstream_has_a_template_and_a_url(recorded: Recorded, url: str, address: str, port: int) -> None:
    """The template and the server are attributes of the metric. The URL, which has an id, is only in the span."""
    with upstream_span("GET", "/responses/{id}", url) as span:
        span.record_answer(200)
    common = {
        "http.request.method": "GET",
        "url.template": "/responses/{id}",
        "server.address": address,
        "server.port": port,
        "http.response.status_code": 200,
    }
    found = recorded.span()
    assert (found.name, found.kind) == ("GET /responses/{id}", SpanKind.CLIENT)
    assert found.attributes == common | {"url.full": url}
    assert measured(recorded)["http.client.request.duration"].attributes == common


def test_of_a_callbacks_url_only_host_and_port_are_recorded(recorded: Recorded) -> None:
    """Its credentials, path and query may be secret. The metric has no host either, because there are many."""
    with callback_span("https://geheim:geheim@hooks.contoso.com/geheim?key=geheim", 1) as span:
        span.record_answer(204)
    common = {"http.request.method": "POST", "http.response.status_code": 204}
    found = recorded.span()
    assert (found.name, found.kind) == ("POST", SpanKind.CLIENT)
    assert found.attributes == common | {"server.address": "hooks.contoso.com", "server.port": 443}
    assert measured(recorded)["http.client.request.duration"].attributes == common
    assert "geheim" not in found.to_json()


def test_a_repeated_callback_has_the_number_of_repeats(recorded: Recorded) -> None:
    """The first attempt is not a repeat, so it has no such attribute."""
    for attempt in (1, 2, 10):
        callback_span("https://a.example/", attempt).end()
    counts = [(span.attributes or {}).get("http.request.resend_count") for span in recorded.spans()]
    assert counts == [None, 1, 9]


def test_a_message_to_a_reply_queue_is_sent_by_a_producer(recorded: Recorded) -> None:
    """The name of the queue, which callers choose, is only in the span."""
    reply_span("replies-eu").end()
    common = {
        "messaging.system": "azure_storage_queue",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
    }
    found = recorded.span()
    assert (found.name, found.kind) == ("send replies-eu", SpanKind.PRODUCER)
    assert found.attributes == common | {"messaging.destination.name": "replies-eu"}
    assert measured(recorded)["messaging.client.operation.duration"].attributes == common


def test_a_queued_request_is_handled_by_a_consumer(recorded: Recorded) -> None:
    """The queue is one of ours, so it is an attribute of the metric. The id of the message is only in the span."""
    queued_request_span("requests", "m-1", "").end()
    common = {
        "messaging.system": "azure_storage_queue",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "requests",
    }
    found = recorded.span()
    assert (found.name, found.kind) == ("process requests", SpanKind.CONSUMER)
    assert found.attributes == common | {"messaging.message.id": "m-1"}
    assert measured(recorded)["messaging.process.duration"].attributes == common


# The end of a span


@every_start
def test_a_span_lasts_as_long_as_its_block(recorded: Recorded, start: Start) -> None:
    """It ends with the block, and its metric records one duration in seconds, which is no longer than the span."""
    with start():
        assert recorded.spans() == []
    found = recorded.span()
    (name, point) = measured(recorded).popitem()
    assert STARTS[name] is start
    assert found.end_time
    assert found.start_time
    assert point.count == 1
    assert 0 <= point.sum <= (found.end_time - found.start_time) / 1e9 + 0.001


@pytest.mark.parametrize(("status", "error"), [(200, None), (302, None), (404, None), (499, None), (500, "500")])
def test_a_server_fails_from_500_on(recorded: Recorded, status: int, error: str | None) -> None:
    """A 4xx is the fault of the client, and the server has done its work."""
    with server_span("GET", "x", "https://a.example/x", "") as span:
        span.record_answer(status)
    assert error_of(recorded) == error


@pytest.mark.parametrize("start", CALLS, ids=["upstream", "callback", "reply", "queued"])
@pytest.mark.parametrize(("status", "error"), [(200, None), (302, None), (399, None), (400, "400"), (503, "503")])
def test_any_other_span_fails_from_400_on(recorded: Recorded, start: Start, status: int, error: str | None) -> None:
    """A 4xx means that the call has not reached its aim."""
    with start() as span:
        span.record_answer(status)
    assert error_of(recorded) == error


def test_a_call_without_an_answer_fails_with_a_word(recorded: Recorded) -> None:
    """The word says why there is no status."""
    with callback_span("https://a.example/", 1) as span:
        span.record_answer(None, "dns")
    assert error_of(recorded) == "dns"
    assert "http.response.status_code" not in (recorded.span().attributes or {})


@pytest.mark.parametrize(
    ("status", "raised", "error"),
    [
        (None, ConnectionError("geheim"), "ConnectionError"),
        (200, ValueError("geheim"), "ValueError"),
        (503, ValueError("geheim"), "503"),
        (200, GeneratorExit(), None),
        (200, asyncio.CancelledError(), None),
        (503, asyncio.CancelledError(), "503"),
    ],
)
def test_of_an_exception_only_the_type_is_recorded(
    recorded: Recorded, status: int | None, raised: BaseException, error: str | None
) -> None:
    """The exception passes through. A failed status counts more, and a call that was given up has no error."""

    def fail() -> None:
        with upstream_span("GET", "/x", URL) as span:
            span.record_answer(status)
            raise raised

    with pytest.raises(type(raised)):
        fail()
    assert error_of(recorded) == error
    assert recorded.span().events == ()
    assert "geheim" not in recorded.span().to_json()


def error_of(recorded: Recorded) -> str | None:
    """Return the error of the only span, which its status and its metric must confirm."""
    span = recorded.span()
    error = (span.attributes or {}).get("error.type")
    assert (span.status.status_code is StatusCode.ERROR) is (error is not None)
    assert not span.status.description
    (point,) = measured(recorded).values()
    assert point.attributes.get("error.type") == error
    return str(error) if error else None
