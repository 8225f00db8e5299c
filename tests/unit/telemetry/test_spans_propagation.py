"""How a span is passed on: to the spans inside its block, to log lines, and to the receiver of a request."""

import pytest

from shared.telemetry import logs, tracing
from shared.telemetry.spans import callback_span, queued_request_span, server_span, upstream_span
from tests.support.log_capture import WrittenLines, log_lines
from tests.unit.telemetry.recording import Recorded

TRACE_ID, CLIENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{CLIENT_ID}-01"
UNSAMPLED = f"00-{TRACE_ID}-{CLIENT_ID}-00"
URL = "https://a.example/x"


def test_a_request_carries_the_span_that_measures_it(recorded: Recorded) -> None:
    """The receiver's spans become children of the span, in the same trace."""
    with tracing.under(TRACEPARENT), callback_span(URL, 1) as span:
        headers = span.headers()
    found = recorded.span()
    assert headers == {"traceparent": f"00-{TRACE_ID}-{found.context.span_id:016x}-01"}
    assert found.parent
    assert f"{found.parent.span_id:016x}" == CLIENT_ID


def test_spans_inside_the_block_are_children(recorded: Recorded) -> None:
    """What is done for a request belongs to its span, and what is done afterwards does not."""
    with server_span("GET", "x", URL, TRACEPARENT) as request:
        with request.activated():
            upstream_span("GET", "/inside", URL).end()
        upstream_span("GET", "/after", URL).end()
    inside, after, outer = recorded.spans()
    assert inside.parent
    assert inside.parent.span_id == outer.context.span_id
    assert after.parent is None


def test_a_log_line_inside_the_block_has_the_trace_of_the_span(recorded: Recorded, written: WrittenLines) -> None:
    """The id is that of the span's trace also if the span has begun it."""
    log = logs.logger("shared.example")
    with queued_request_span("requests", "m-1", "") as span, span.activated():
        log.warning("a.b")
    log.warning("a.b")
    inside, outside = log_lines(written)
    assert inside["trace_id"] == f"{recorded.span().context.trace_id:032x}"
    assert "trace_id" not in outside


def test_the_block_does_not_end_the_span(recorded: Recorded) -> None:
    """A stream is measured to its end, which may be long after its handler has returned."""
    span = server_span("GET", "x", URL, "")
    with span.activated():
        pass
    assert recorded.spans() == []
    span.end()
    assert len(recorded.spans()) == 1


def test_an_exception_inside_the_block_is_not_recorded_by_it(recorded: Recorded) -> None:
    """An exception may become an answer later. Its text must not be an event of the span."""
    span = server_span("GET", "x", URL, "")
    with pytest.raises(ValueError, match="geheim"), span.activated():
        raise ValueError("geheim")
    span.record_answer(200)
    span.end()
    found = recorded.span()
    assert (found.events, found.status.is_ok) == ((), True)


def test_a_trace_that_its_client_does_not_sample_is_passed_on_unsampled(recorded: Recorded) -> None:
    """There is no span, but the request is still measured and belongs to the trace."""
    with server_span("GET", "x", URL, UNSAMPLED) as span:
        headers = span.headers()
    assert headers["traceparent"].startswith(f"00-{TRACE_ID}-")
    assert headers["traceparent"].endswith("-00")
    assert recorded.spans() == []
    (point,) = recorded.points()["http.server.request.duration"]
    assert point.count == 1


# Without telemetry


def test_without_telemetry_the_incoming_traceparent_is_passed_on() -> None:
    """There is no span of our own, so the receiver's spans become children of the caller's."""
    with server_span("GET", "x", URL, TRACEPARENT) as request, request.activated():
        assert request.headers() == {"traceparent": TRACEPARENT}
        with upstream_span("GET", "/x", URL) as call:
            assert call.headers() == {"traceparent": TRACEPARENT}
        assert tracing.trace_fields() == {"trace_id": TRACE_ID}


@pytest.mark.parametrize("traceparent", ["", "nonsense", f"00-{'0' * 32}-{CLIENT_ID}-01", TRACEPARENT.upper()])
def test_without_a_valid_trace_no_header_is_sent(traceparent: str) -> None:
    """A traceparent that the W3C does not allow is not repeated."""
    with server_span("GET", "x", URL, traceparent) as request, request.activated():
        assert request.headers() == {}
        assert callback_span(URL, 1).headers() == {}
        assert tracing.trace_fields() == {}
