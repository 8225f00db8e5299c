"""The parts of the exporters, on providers of this test. What `start` sends is in tests/process/telemetry.

A process can start telemetry only once, so no target that exists is started here.
"""

import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import context, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from opentelemetry.trace import INVALID_SPAN_ID

from shared.telemetry import exporters, logs, tracing

OURS = tracing.SCOPE
LOG = logs.logger("shared.example")
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def provider(**options: Any) -> TracerProvider:
    """Return a provider that lives as long as the test."""
    return TracerProvider(shutdown_on_exit=False, **options)


@pytest.mark.parametrize("target", ["", "consoles", "OTLP", "application-insights", "None"])
def test_a_target_that_does_not_exist_is_an_error(target: str) -> None:
    """The targets are `console`, `otlp` and `azure`. For any other one nothing is set up, also at the next try."""
    before = trace.get_tracer_provider(), metrics.get_meter_provider()
    for _ in range(2):
        with pytest.raises(ValueError, match=f"^{target}$"):
            exporters.start(target)
    assert (trace.get_tracer_provider(), metrics.get_meter_provider()) == before


# Sampling


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_a_sampled_span_says_of_how_many_it_is_one(share: float) -> None:
    """Application Insights multiplies by it (`ItemCount`). The sampler keeps the same traces as OpenTelemetry's own."""
    exporter, plain = InMemorySpanExporter(), TraceIdRatioBased(share)
    sampled = provider(sampler=exporters.CountedSampler(plain))
    sampled.add_span_processor(SimpleSpanProcessor(exporter))
    traces = []
    for _ in range(200):
        with sampled.get_tracer(OURS).start_as_current_span("x", attributes={"own": 1}) as span:
            traces.append(span.get_span_context().trace_id)
    kept = {one.context.trace_id for one in exporter.get_finished_spans()}
    assert kept == {one for one in traces if plain.should_sample(None, one, "x").decision is Decision.RECORD_AND_SAMPLE}
    assert all(
        dict(one.attributes or {}) == {"own": 1, "_MS.sampleRate": 100 * share} for one in exporter.get_finished_spans()
    )
    assert sampled.sampler.get_description() == plain.get_description()


# Ids of spans


@given(st.integers(1, 2**64 - 1))
def test_a_span_gets_the_id_that_is_known_before(span_id: int) -> None:
    """Children of a response's span name its id long before the span is made."""
    tracer = provider(id_generator=exporters._Ids()).get_tracer(OURS)
    token = tracing.next_span_id.set(span_id)
    try:
        assert tracer.start_span("x").get_span_context().span_id == span_id
    finally:
        tracing.next_span_id.reset(token)
    assert tracer.start_span("x").get_span_context().span_id != span_id


def test_other_spans_get_random_ids() -> None:
    """Every span has its own id, and every trace, too."""
    tracer = provider(id_generator=exporters._Ids()).get_tracer(OURS)
    found = [tracer.start_span("x").get_span_context() for _ in range(100)]
    assert all(one.is_valid and one.span_id != INVALID_SPAN_ID for one in found)
    assert len({one.span_id for one in found}) == len({one.trace_id for one in found}) == 100


# Which spans are sent


def sent(*scopes: str) -> list[str]:
    """Start one span in each of these scopes. Return the names of those that were sent."""
    received, tracers = InMemorySpanExporter(), provider()
    tracers.add_span_processor(exporters._Spans(received))
    for scope in scopes:
        tracers.get_tracer(scope).start_span(scope).end()
    assert tracers.force_flush()
    names = [span.name for span in received.get_finished_spans()]
    tracers.shutdown()
    return names


def test_spans_of_the_web_framework_are_not_sent() -> None:
    """FastAPI measures every request a second time, without our routes. All other spans are sent, in order."""
    assert sent(OURS, "fastapi", "agent_framework", "fastapi", "fastapi_users", OURS) == [
        OURS,
        "agent_framework",
        "fastapi_users",
        OURS,
    ]


def test_spans_that_wait_are_sent_at_shutdown() -> None:
    """An instance that ends in order loses no span of its last seconds."""
    received, tracers = InMemorySpanExporter(), provider()
    tracers.add_span_processor(exporters._Spans(received))
    tracers.get_tracer(OURS).start_span("x").end()
    tracers.shutdown()
    assert [span.name for span in received.get_finished_spans()] == ["x"]


# Log lines


@pytest.fixture
def records() -> Iterator[InMemoryLogRecordExporter]:
    """Send every line of the test to a collector in memory."""
    kept = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    loggers = LoggerProvider(shutdown_on_exit=False)
    loggers.add_log_record_processor(SimpleLogRecordProcessor(kept))
    with logs.received_by(exporters.log_records_to(loggers.get_logger(OURS))):
        yield kept


def test_a_line_is_a_log_record(records: InMemoryLogRecordExporter) -> None:
    """Its event is the record's name and body. Its fields are attributes, and its trace is that of the record."""
    with tracing.under(TRACEPARENT):
        LOG.info("a.b", extra={"response": "resp_1", "count": 3, "targets": ["callback"], "none": None})
    (found,) = records.get_finished_logs()
    record = found.log_record
    assert (record.event_name, record.body, record.severity_text) == ("a.b", "a.b", "INFO")
    assert record.attributes == {
        "logger": "shared.example",
        "response": "resp_1",
        "count": 3,
        "targets": ("callback",),
        "none": None,
    }
    assert (f"{record.trace_id:032x}", f"{record.span_id:016x}") == tuple(TRACEPARENT.split("-")[1:3])
    assert record.timestamp
    assert abs(record.timestamp / 1e9 - time.time()) < 10


def test_each_level_has_its_severity(records: InMemoryLogRecordExporter) -> None:
    """The numbers are those of OpenTelemetry's data model: 9, 13 and 17."""
    LOG.info("a.b")
    LOG.warning("a.b")
    LOG.error("a.b")
    numbers = [one.log_record.severity_number for one in records.get_finished_logs()]
    assert [one.value for one in numbers if one] == [9, 13, 17]


def test_what_the_export_itself_causes_is_not_exported(records: InMemoryLogRecordExporter) -> None:
    """A collector that is down makes OpenTelemetry and its HTTP client warn. A record of that would cause another."""
    logs.write_line("warning", "opentelemetry.sdk._shared_internal", "library", {}, None)
    token = context.attach(context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True))
    logs.write_line("warning", "urllib3.connectionpool", "library", {}, None)
    context.detach(token)
    logs.write_line("warning", "urllib3.connectionpool", "library", {}, None)
    assert len(records.get_finished_logs()) == 1


# Application Insights


class Received(exporters._LazyMetrics):
    """The exporter to Application Insights, which keeps the values instead of sending them."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[dict[str, float]] = []

    def export(self, metrics_data: MetricsData, *_given: Any, **_named: Any) -> MetricExportResult:
        """Keep the sum of each metric, by its name."""
        found = [one for scope in metrics_data.resource_metrics[0].scope_metrics for one in scope.metrics]
        points: list[tuple[str, Any]] = [(one.name, one.data.data_points[0]) for one in found]
        self.values.append({name: getattr(point, "sum", None) or point.value for name, point in points})
        return MetricExportResult.SUCCESS


def test_application_insights_gets_sums_since_the_last_export() -> None:
    """Counters and histograms are sent as differences. What goes up and down is sent as it is.

    Microsoft's exporter declares the same, but it is loaded only with the first export.
    """
    received = Received()
    meters = MeterProvider([PeriodicExportingMetricReader(received, math.inf)], shutdown_on_exit=False)
    meter = meters.get_meter(OURS)
    counter, histogram = meter.create_counter("counter"), meter.create_histogram("histogram")
    level = meter.create_up_down_counter("level")
    for amount in (2, 3):
        counter.add(amount)
        histogram.record(amount)
        level.add(amount)
        meters.force_flush()
    assert received.values == [
        {"counter": 2, "histogram": 2, "level": 2},
        {"counter": 3, "histogram": 3, "level": 5},
    ]
    meters.shutdown()


def test_an_exporter_that_has_sent_nothing_can_be_closed() -> None:
    """A process may end before its first export. Microsoft's library, which has no settings here, is not needed."""
    exporters._LazySpans().shutdown()
    measured = exporters._LazyMetrics()
    assert measured.force_flush()
    measured.shutdown()
