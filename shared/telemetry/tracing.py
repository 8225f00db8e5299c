"""Traces: one for a response's whole life, from the request over every poll to its callbacks.

A response keeps the W3C `traceparent` of the span that stands for its life, and so does each of its alarms: whatever
is done for it, in whichever process, is a child of that span. The span itself is made when the response has ended, for
no process lives as long. Without telemetry nothing is made here, and a caller's traceparent is passed on as it came.

Names are those of OpenTelemetry's semantic conventions 1.44 (HTTP, GenAI, messaging). No URL that a caller chose, no
input, no output and no exception's text is ever an attribute.
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
# The id that the next span of this context is given: what stands for a life is known by it long before it is made.
span_id: ContextVar[int | None] = ContextVar("span_id", default=None)


@contextmanager
def under(traceparent: str) -> Iterator[None]:
    """Do what is in the block as part of that trace, and of no other; of none where it is empty or malformed."""
    token = context.attach(remote(traceparent))
    try:
        yield
    finally:
        context.detach(token)


def named() -> dict[str, str]:
    """Return the id of the trace that is being worked on, for a log line; nothing if there is none."""
    current = trace.get_current_span().get_span_context()
    return {"trace_id": f"{current.trace_id:032x}"} if current.is_valid else {}


def remote(traceparent: str) -> Context:
    """Return the context of a span elsewhere, that of none where it is empty or malformed."""
    return _w3c.extract({"traceparent": traceparent}, context=Context())


def headers(span: Span) -> dict[str, str]:
    """Return the headers that carry a span to somebody else."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier, context=trace.set_span_in_context(span, Context()))
    return carrier


def conceived() -> tuple[str, str]:
    """Return the traceparent of a life that begins now, and the id of the span it is to be a child of.

    Where the current span is not recorded there will be no span of the life: its children are those of the caller.
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
class Life:
    """A life that has ended: its span's name, traceparent and parent, and its first and last moment."""

    name: str
    trace: str
    parent: str
    began_ms: int
    ended_ms: int


def lived(life: Life, attributes: Attributes, error: str | None) -> None:
    """Make the span that stands for a life, under the id that its children have known it by; none if that is none."""
    own = trace.get_current_span(remote(life.trace)).get_span_context()
    if not own.is_valid:
        return
    request = remote(f"00-{own.trace_id:032x}-{life.parent}-{own.trace_flags:02x}")
    token = span_id.set(own.span_id)
    span = tracer.start_span(
        life.name, request, SpanKind.CLIENT, dict(attributes), start_time=life.began_ms * 1_000_000
    )
    span_id.reset(token)
    judge(span, error)
    span.end(end_time=max(life.began_ms, life.ended_ms) * 1_000_000)  # two clocks may have told them


def judge(span: Span, error: str | None) -> None:
    """Mark a span as failed by that kind of error, if there is one."""
    if error:
        span.set_attribute("error.type", error)
        span.set_status(StatusCode.ERROR)
