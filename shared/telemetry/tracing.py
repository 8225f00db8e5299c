"""Traces: one for the whole life of a response, from its request through every poll to its callbacks.

A response and each of its alarms keep the W3C `traceparent` of the response's span. Everything that a process does for
the response is recorded as a child of that span. The span is emitted when the response has ended, because no process
lives that long. Without telemetry no span is created, and a caller's traceparent is passed on unchanged.
https://www.w3.org/TR/trace-context/

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
# The id of the next span in this context. The id of a response's span is in use long before the span exists.
next_span_id: ContextVar[int | None] = ContextVar("next_span_id", default=None)


@contextmanager
def under(traceparent: str) -> Iterator[None]:
    """Run the block as part of this trace only, or of no trace if the traceparent is empty or malformed."""
    token = context.attach(remote_context(traceparent))
    try:
        yield
    finally:
        context.detach(token)


def trace_fields() -> dict[str, str]:
    """Return the id of the current trace as a field of a log line, or no field outside a trace."""
    current = trace.get_current_span().get_span_context()
    return {"trace_id": f"{current.trace_id:032x}"} if current.is_valid else {}


def remote_context(traceparent: str) -> Context:
    """Return the context of a span in another process, or an empty one if the traceparent is not valid."""
    return _w3c.extract({"traceparent": traceparent}, context=Context())


def trace_headers(span: Span) -> dict[str, str]:
    """Return the headers that propagate a span: `traceparent`, and `tracestate` if it has one."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier, context=trace.set_span_in_context(span, Context()))
    return carrier


def new_response_trace() -> tuple[str, str]:
    """Return the traceparent of a response that begins now, and the id of its span's parent, in hex.

    If the current span is not recorded, the response gets no span. The traceparent is then that of the current span,
    and the parent's id is empty. Outside a trace both are empty.
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
    """The span of a response that has ended. `parent` is the id of a span in hex. Times are unix milliseconds."""

    name: str
    trace: str
    parent: str
    began_ms: int
    ended_ms: int


def emit_response_span(response: ResponseSpan, attributes: Attributes, error: str | None) -> None:
    """Emit the span of a response under the id in its traceparent, which its children refer to.

    `error` is the kind of failure, or None. If the traceparent is not valid, nothing is emitted.
    """
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
    # the two times may come from two clocks
    span.end(end_time=max(response.began_ms, response.ended_ms) * 1_000_000)


def set_error(span: Span, error: str | None) -> None:
    """Mark a span as failed with this kind of error, if one is given."""
    if error:
        span.set_attribute("error.type", error)
        span.set_status(StatusCode.ERROR)
