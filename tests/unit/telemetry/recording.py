"""Records the product's spans and metrics in this process.

A process can set OpenTelemetry's providers only once. So the provider of spans set here records nothing until a test
turns it on, and other tests run as without telemetry.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader, Metric
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracer, Span, Tracer

from shared.telemetry.tracing import SCOPE

_DELTAS: dict[type, AggregationTemporality] = dict.fromkeys((Counter, Histogram), AggregationTemporality.DELTA)


class _SwitchedTracer(NoOpTracer):
    """Starts the spans of the tracer that is turned on now."""

    def __init__(self, tracers: "_SwitchedTracers") -> None:
        self._tracers = tracers

    def start_span(self, *given: Any, **named: Any) -> Span:
        return self._tracers.tracer.start_span(*given, **named)


class _SwitchedTracers(trace.TracerProvider):
    """Gives the same tracer to all modules."""

    def __init__(self) -> None:
        self.tracer: Tracer = NoOpTracer()

    def get_tracer(self, *_given: Any, **_named: Any) -> Tracer:
        return _SwitchedTracer(self)


@cache
def _installed() -> tuple[_SwitchedTracers, InMemoryMetricReader]:
    tracers, reader = _SwitchedTracers(), InMemoryMetricReader(_DELTAS)
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
    return tracers, reader


@dataclass(frozen=True)
class Point:
    """The value of a metric for one set of attributes: the sum, and how often a histogram has recorded."""

    attributes: Mapping[str, Any]
    sum: float
    count: int


class Recorded:
    """What the product has emitted since the start of the test."""

    def __init__(self, spans: InMemorySpanExporter, reader: InMemoryMetricReader) -> None:
        self._spans = spans
        self._reader = reader

    def spans(self) -> list[ReadableSpan]:
        """Return the spans that have ended, in the order of their ends."""
        return list(self._spans.get_finished_spans())

    def span(self) -> ReadableSpan:
        """Return the only span."""
        (span,) = self.spans()
        return span

    def metrics(self) -> dict[str, Metric]:
        """Return the metrics that were recorded since the last call, by name."""
        data = self._reader.get_metrics_data()
        scopes = [scope for one in data.resource_metrics for scope in one.scope_metrics] if data else []
        return {metric.name: metric for scope in scopes if scope.scope.name == SCOPE for metric in scope.metrics}

    def points(self) -> dict[str, list[Point]]:
        """Return the values that were recorded since the last call, by the name of their metric."""
        return {name: [_point(one) for one in metric.data.data_points] for name, metric in self.metrics().items()}


@contextmanager
def recording() -> Iterator[Recorded]:
    """Record spans and metrics inside the block."""
    tracers, reader = _installed()
    spans, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    recorded = Recorded(spans, reader)
    recorded.metrics()  # those of earlier tests
    tracers.tracer = provider.get_tracer(SCOPE)
    try:
        yield recorded
    finally:
        tracers.tracer = NoOpTracer()


def _point(found: Any) -> Point:
    is_histogram = hasattr(found, "count")
    total = found.sum if is_histogram else found.value
    return Point(dict(found.attributes), total, found.count if is_histogram else 0)
