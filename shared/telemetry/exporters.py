"""Where telemetry is sent. The SDK of OpenTelemetry is loaded only if a deployment configures a target.

Log lines go to a collector as OpenTelemetry's log records. Otherwise standard output is enough: a console shows it, and
the platform sends it to Application Insights.

The environment variables of OpenTelemetry and Azure Monitor set the details, such as `OTEL_SERVICE_NAME`,
`OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_ENDPOINT` and `OTEL_METRIC_EXPORT_INTERVAL`.
"""

import logging
import time
from collections.abc import Sequence
from functools import cache
from typing import Any

import orjson
from opentelemetry import context, metrics, trace
from opentelemetry._logs import Logger, LogRecord, SeverityNumber
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ConsoleMetricExporter,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import DropAggregation, View
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult, TraceIdRatioBased

from shared.telemetry import logs, tracing

NAME = "background-responses"
# FastAPI, inside the platform's HTTP extension, also emits spans and metrics of requests, but without our routes.
_DUPLICATES = "fastapi"
_SEVERITIES = {"info": SeverityNumber.INFO, "warning": SeverityNumber.WARN, "error": SeverityNumber.ERROR}
# Set in the thread that exports, whose own libraries may warn.
_EXPORTING = context._SUPPRESS_INSTRUMENTATION_KEY  # noqa: SLF001 - it has no public name
# Application Insights counts a span as 100 / this many. Its own samplers set it, and OpenTelemetry's do not.
# https://learn.microsoft.com/azure/azure-monitor/app/opentelemetry-sampling
_PERCENTAGE = "_MS.sampleRate"
# Azure Monitor takes sums since the last export. Its exporter declares that, but it is loaded later.
_DELTAS: dict[type, AggregationTemporality] = dict.fromkeys((Counter, Histogram), AggregationTemporality.DELTA)


@cache
def start(target: str) -> None:
    """Send the traces and metrics of this process to `console`, `otlp` or `azure` from now on, log lines to `otlp`.

    Only the first call has an effect, because the platform may load the app again. Raises ValueError for another
    target, or if OpenTelemetry rejects one of its variables. Nothing is sent in that case.
    """
    spans, measured = _exporters(target)
    # OTEL_SERVICE_NAME overrides our name, hence the merge.
    resource = Resource.create({SERVICE_NAME: NAME}).merge(OTELResourceDetector().detect())
    tracers = TracerProvider(resource=resource, id_generator=_Ids())
    tracers.add_span_processor(_Spans(spans))
    if target == "azure" and isinstance(tracers.sampler, TraceIdRatioBased):
        tracers.sampler = CountedSampler(tracers.sampler)
    views = [View(meter_name=_DUPLICATES, aggregation=DropAggregation())]
    meters = MeterProvider([PeriodicExportingMetricReader(measured)], resource, views=views)
    if target == "otlp":
        logs.add_receiver(_lines_to_collector(resource))
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(meters)


def _exporters(target: str) -> tuple[SpanExporter, MetricExporter]:
    match target:
        case "console":
            return ConsoleSpanExporter(), ConsoleMetricExporter()
        case "otlp":
            return _to_collector()
        case "azure":
            return _LazySpans(), _LazyMetrics()
    raise ValueError(target)


def _to_collector() -> tuple[SpanExporter, MetricExporter]:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    # A warning about a malformed header would repeat the header, which usually is a key. The collector's 401 is logged
    # anyway.
    logging.getLogger("opentelemetry.util.re").setLevel(logging.ERROR)
    return OTLPSpanExporter(), OTLPMetricExporter()


def _lines_to_collector(resource: Resource) -> logs.Receiver:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter  # noqa: PLC0415
    from opentelemetry.sdk._logs import LoggerProvider  # noqa: PLC0415
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor  # noqa: PLC0415

    provider = LoggerProvider(resource)
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    return log_records_to(provider.get_logger(tracing.SCOPE))


def log_records_to(logger: Logger) -> logs.Receiver:
    """Return a receiver of lines that emits each as a log record of the current trace, in the terms of OpenTelemetry.

    What OpenTelemetry itself warns of is left out. It is often about the collector, and a record of it would cause
    the next one.
    """

    def receive(text: str) -> None:
        line = orjson.loads(text)
        event, level = line.pop("event"), line.pop("level")
        if line["logger"].startswith("opentelemetry") or context.get_value(_EXPORTING):
            return
        attributes = {name: value for name, value in line.items() if name not in ("time", "trace_id")}
        logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                context=context.get_current(),
                severity_number=_SEVERITIES[level],
                severity_text=level.upper(),
                body=event,
                attributes=attributes,
                event_name=event,
            )
        )

    return receive


class CountedSampler(Sampler):
    """Samples a share of all traces, and says the share in each span, so that what is left can be counted."""

    def __init__(self, inner: TraceIdRatioBased) -> None:
        self._inner = inner

    def should_sample(self, *args: Any, **named: Any) -> SamplingResult:
        """Decide as the inner sampler, which is given everything."""
        found = self._inner.should_sample(*args, **named)
        return SamplingResult(
            found.decision, {**found.attributes, _PERCENTAGE: 100 * self._inner.rate}, found.trace_state
        )

    def get_description(self) -> str:
        """Describe the inner sampler."""
        return self._inner.get_description()


class _Ids(RandomIdGenerator):
    """Generates random ids, except for a span whose id is known before the span exists."""

    def generate_span_id(self) -> int:
        return tracing.next_span_id.get() or super().generate_span_id()


class _Spans(BatchSpanProcessor):
    """Exports spans in batches, without the duplicates."""

    def on_end(self, span: ReadableSpan) -> None:
        if span.instrumentation_scope is None or span.instrumentation_scope.name != _DUPLICATES:
            super().on_end(span)


class _LazySpans(SpanExporter):
    """Exports spans to Application Insights.

    Its library takes as long to load as the app, so it is loaded with the first batch.
    """

    _exporter: SpanExporter | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._exporter is None:
            from azure.monitor.opentelemetry.exporter import AzureMonitorTraceExporter  # noqa: PLC0415

            self._exporter = AzureMonitorTraceExporter(disable_offline_storage=True)
        return self._exporter.export(spans)

    def shutdown(self) -> None:
        if self._exporter:
            self._exporter.shutdown()


class _LazyMetrics(MetricExporter):
    """Exports metrics to Application Insights. Its library is loaded with the first export."""

    _exporter: MetricExporter | None = None

    def __init__(self) -> None:
        super().__init__(preferred_temporality=_DELTAS)

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **options: Any) -> MetricExportResult:
        if self._exporter is None:
            from azure.monitor.opentelemetry.exporter import AzureMonitorMetricExporter  # noqa: PLC0415

            self._exporter = AzureMonitorMetricExporter(disable_offline_storage=True)
        return self._exporter.export(metrics_data, timeout_millis, **options)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._exporter is None or self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **options: Any) -> None:
        if self._exporter:
            self._exporter.shutdown(timeout_millis, **options)
