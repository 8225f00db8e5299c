"""An OTLP collector and Application Insights in one loopback server that keeps everything it receives."""

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

KEY = "00000000-0000-0000-0000-000000000001"
KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}


@dataclass(frozen=True)
class Span:
    """A span as it was exported: ids in hexadecimal, times in unix seconds, and the `process` that made it."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    began_s: float
    ended_s: float
    failed: bool
    events: int
    process: str


@dataclass(frozen=True)
class Point:
    """The value of a metric for one set of attributes: a sum, or the sum and count of a histogram."""

    attributes: dict[str, Any]
    value: float
    count: int = 0


@dataclass(frozen=True)
class LogRecord:
    """A log line as it was exported: the ids in hexadecimal, the time in unix seconds."""

    event: str
    severity: str
    number: int
    trace_id: str
    span_id: str
    attributes: dict[str, Any]
    at_s: float


@dataclass
class Collector:
    """Everything that was posted, as path and body, newest last."""

    url: str = ""
    posted: list[tuple[str, bytes]] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def bodies(self, path: str) -> list[bytes]:
        """Return the bodies that were posted to a path."""
        with self.lock:
            return [body for where, body in self.posted if where == path]

    def spans(self) -> list[Span]:
        """Return the spans that were sent over OTLP, in order of their start."""
        found = [
            _span(one, _attributes(of.resource.attributes)["service.instance.id"])
            for body in self.bodies("/v1/traces")
            for of in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in of.scope_spans
            for one in scope.spans
        ]
        return sorted(found, key=lambda span: span.began_s)

    def logs(self) -> list[LogRecord]:
        """Return the log records that were sent over OTLP, in order of their time."""
        found = [
            _log_record(one)
            for body in self.bodies("/v1/logs")
            for of in ExportLogsServiceRequest.FromString(body).resource_logs
            for scope in of.scope_logs
            for one in scope.log_records
        ]
        return sorted(found, key=lambda record: record.at_s)

    def scopes(self) -> set[str]:
        """Return the names of the scopes of all spans, metrics and log records that were sent over OTLP."""
        traces = [ExportTraceServiceRequest.FromString(body) for body in self.bodies("/v1/traces")]
        measured = [ExportMetricsServiceRequest.FromString(body) for body in self.bodies("/v1/metrics")]
        scopes = [scope for one in traces for of in one.resource_spans for scope in of.scope_spans]
        scopes += [scope for one in measured for of in one.resource_metrics for scope in of.scope_metrics]
        told = [ExportLogsServiceRequest.FromString(body) for body in self.bodies("/v1/logs")]
        scopes += [scope for one in told for of in one.resource_logs for scope in of.scope_logs]
        return {scope.scope.name for scope in scopes}

    def metrics(self) -> dict[str, list[Point]]:
        """Return the points of each metric, as each process last sent them."""
        latest: dict[tuple[str, str], list[Point]] = {}
        for body in self.bodies("/v1/metrics"):
            for of in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                process = _attributes(of.resource.attributes)["service.instance.id"]
                for metric in (metric for scope in of.scope_metrics for metric in scope.metrics):
                    latest[metric.name, process] = _points(metric)
        found: dict[str, list[Point]] = {}
        for (name, _), points in latest.items():
            found.setdefault(name, []).extend(points)
        return found

    def items(self) -> list[dict[str, Any]]:
        """Return the items that Application Insights has received."""
        return [item for body in self.bodies("/v2.1/track") for item in json.loads(body)]


def _span(one: Any, process: str) -> Span:
    return Span(
        one.name,
        KINDS[one.kind],
        one.trace_id.hex(),
        one.span_id.hex(),
        one.parent_span_id.hex(),
        _attributes(one.attributes),
        one.start_time_unix_nano / 1e9,
        one.end_time_unix_nano / 1e9,
        failed=one.status.code == 2,
        events=len(one.events),
        process=process,
    )


def _log_record(one: Any) -> LogRecord:
    return LogRecord(
        one.event_name,
        one.severity_text,
        one.severity_number,
        one.trace_id.hex(),
        one.span_id.hex(),
        _attributes(one.attributes),
        one.time_unix_nano / 1e9,
    )


def _points(metric: Any) -> list[Point]:
    if metric.HasField("histogram"):
        return [Point(_attributes(one.attributes), one.sum, one.count) for one in metric.histogram.data_points]
    return [Point(_attributes(one.attributes), one.as_int or one.as_double) for one in metric.sum.data_points]


def _attributes(given: Any) -> dict[str, Any]:
    return {one.key: _value(one) for one in given}


def _value(one: KeyValue) -> Any:
    kind = one.value.WhichOneof("value")
    return getattr(one.value, kind) if kind else None


def to_insights(collecting: Collector) -> dict[str, Any]:
    """Return the settings of a service that sends its telemetry by Microsoft's exporter, here to a collector."""
    return {
        "TELEMETRY": "azure",
        "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={KEY};IngestionEndpoint={collecting.url}/",
        "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
        "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }


@contextmanager
def collector() -> Iterator[Collector]:
    """Run a server that accepts everything that is posted to it."""
    kept = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            with kept.lock:
                kept.posted.append((self.path, body))
            is_azure = self.path.startswith("/v2")
            count = len(json.loads(body)) if is_azure else 0
            answer = json.dumps({"itemsReceived": count, "itemsAccepted": count, "errors": []}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json" if is_azure else "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer) if is_azure else 0))
            self.end_headers()
            self.wfile.write(answer if is_azure else b"")

        def log_message(self, *_args: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        kept.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield kept
        finally:
            server.shutdown()
            thread.join()
