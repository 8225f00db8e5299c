"""Traces: one for the whole life of a response, from its request over every poll to its callbacks.

A response keeps the W3C `traceparent` of the span that stands for it, and so does each of its alarms. Whatever any
process does for the response is a child of that span. The span itself is emitted when the response has ended, because
no process lives as long. Without telemetry no span is made, and a caller's traceparent is passed on unchanged.

Names are those of OpenTelemetry's semantic conventions 1.44 (HTTP, GenAI, messaging). A URL chosen by a caller, input,
output and the text of an exception are never attributes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from secrets import randbits

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

SCOPE = "background_responses"
Attributes = Mapping[str, str | int | float | bool]

tracer = trace.get_tracer(SCOPE)
_w3c = TraceContextTextMapPropagator()
# The id that the next span of this context gets: a response's span is known by its id long before it is made.
next_span_id: ContextVar[int | None] = ContextVar("next_span_id", default=None)


@contextmanager
def under(traceparent: str) -> Iterator[None]:
    """Run the block as part of this trace and of no other; of none if the traceparent is empty or malformed."""
    token = context.attach(remote_context(traceparent))
    try:
        yield
    finally:
        context.detach(token)


def trace_fields() -> dict[str, str]:
    """Return the id of the current trace for a log line; nothing if there is none."""
    current = trace.get_current_span().get_span_context()
    return {"trace_id": f"{current.trace_id:032x}"} if current.is_valid else {}


def remote_context(traceparent: str) -> Context:
    """Return the context of a span elsewhere; an empty one if the traceparent is empty or malformed."""
    return _w3c.extract({"traceparent": traceparent}, context=Context())


def trace_headers(span: Span) -> dict[str, str]:
    """Return the headers that propagate a span."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier, context=trace.set_span_in_context(span, Context()))
    return carrier


def new_response_trace() -> tuple[str, str]:
    """Return the traceparent of a response that begins now, and the id of the span that is to be its parent.

    If the current span is not recorded there will be no span of the response: its children become the caller's.
    """
    current = trace.get_current_span()
    parent = current.get_span_context()
    if not parent.is_valid:
        return "", ""
    if not current.is_recording():
        return _traceparent(parent, parent.span_id), ""
    return _traceparent(parent, randbits(64) or 1), f"{parent.span_id:016x}"


def _traceparent(of: SpanContext, child: int) -> str:
    return f"00-{of.trace_id:032x}-{child:016x}-{of.trace_flags:02x}"


@dataclass(frozen=True, slots=True)
class ResponseSpan:
    """The span of a response that has ended: its name, traceparent and parent, its begin and end in unix ms."""

    name: str
    trace: str
    parent: str
    began_ms: int
    ended_ms: int


def emit_response_span(response: ResponseSpan, attributes: Attributes, error: str | None) -> None:
    """Emit the span of a response under the id that its children know; nothing if its traceparent is not valid."""
    own = trace.get_current_span(remote_context(response.trace)).get_span_context()
    if not own.is_valid:
        return
    request = remote_context(f"00-{own.trace_id:032x}-{response.parent}-{own.trace_flags:02x}")
    token = next_span_id.set(own.span_id)
    span = tracer.start_span(
        response.name, request, SpanKind.CLIENT, dict(attributes), start_time=response.began_ms * 1_000_000
    )
    next_span_id.reset(token)
    set_error(span, error)
    # begin and end may come from two clocks
    span.end(end_time=max(response.began_ms, response.ended_ms) * 1_000_000)


def set_error(span: Span, error: str | None) -> None:
    """Mark a span as failed with this kind of error, if there is one."""
    if error:
        span.set_attribute("error.type", error)
        span.set_status(StatusCode.ERROR)
