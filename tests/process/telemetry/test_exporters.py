"""OpenTelemetry's SDK as the service starts it, each time in its own process: settings, and odd values."""

import json
import os
import subprocess
import sys
from typing import Any

from local.stack.process import ROOT

SPANS = """
import asyncio, json, httpx
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from shared.telemetry import exporters, tracing
from shared.telemetry.tracing import ResponseSpan
from shared.upstreams.endpoint import Endpoint
from shared.upstreams.responses_api import BackgroundResponses

exporters.start("otlp")
seen = InMemorySpanExporter()
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(seen))
{program}
print(json.dumps([json.loads(span.to_json()) for span in seen.get_finished_spans()]))
"""
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def run(program: str, **environment: str) -> tuple[str, str]:
    """Run a program in a child process, which must succeed. Return its standard output and standard error."""
    away = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | away | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def spans(program: str, **environment: str) -> list[dict[str, Any]]:
    """Return the spans that a program emits, as the SDK writes them in JSON."""
    return list(json.loads(run(SPANS.format(program=program), **environment)[0].splitlines()[-1]))


def test_a_deployment_may_override_the_service_name() -> None:
    """OpenTelemetry's own variables override the service name `background-responses`."""
    program = 'tracing.tracer.start_span("x").end()'
    for environment, name in (
        ({}, "background-responses"),
        ({"OTEL_SERVICE_NAME": "ours"}, "ours"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=theirs"}, "theirs"),
    ):
        (span,) = spans(program, **environment)
        assert span["resource"]["attributes"]["service.name"] == name


def test_a_setting_that_opentelemetry_refuses_turns_off_only_telemetry() -> None:
    """The app still loads without telemetry, and logs why as `telemetry.failed`."""
    for name in ("OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_METRIC_EXPORT_INTERVAL", "OTEL_BLRP_MAX_QUEUE_SIZE"):
        environment = {name: "0"}
        program = "import function_app; from opentelemetry import trace; print(trace.get_tracer_provider())"
        printed, _ = run(program, TELEMETRY="otlp", **environment)
        assert "ProxyTracerProvider" in printed
        line = next(line for line in printed.splitlines() if line.startswith("{"))
        assert json.loads(line)["event"] == "telemetry.failed"


def test_a_response_span_that_ends_before_it_begins_has_no_length() -> None:
    """An end before the start is set to the start: the two times may come from processes whose clocks differ."""
    (span,) = spans(
        f'tracing.emit_response_span(ResponseSpan("x", {TRACE!r}, "00f067aa0ba902b8", 2_000, 1_000), {{}}, None)'
    )
    assert span["start_time"] == span["end_time"]
    assert (span["context"]["span_id"], span["parent_id"]) == ("0x00f067aa0ba902b7", "0x00f067aa0ba902b8")


def test_a_response_span_without_a_valid_trace_is_not_emitted() -> None:
    """A malformed traceparent emits no span and raises nothing.

    The span is emitted just after the end of a response is written, where an exception would do harm.
    """
    for trace in ("", "x", "a-b-c-d-e", TRACE.replace("00f067aa0ba902b7", "nonsense")):
        assert (
            spans(f'tracing.emit_response_span(ResponseSpan("x", {trace!r}, "00f067aa0ba902b8", 1, 2), {{}}, None)')
            == []
        )


def test_an_upstream_call_that_times_out_is_recorded_as_a_timeout() -> None:
    """The span's `error.type` is `TimeoutError`, not a cancelled call."""
    program = """
async def slow(request):
    await asyncio.sleep(30)

async def nobody():
    return {}

async def main():
    transport = httpx.MockTransport(slow)
    try:
        endpoint = Endpoint(transport, "https://model.example.com/v1", nobody)
        await BackgroundResponses(endpoint)._call("GET", "/up_1", 0.05)
    except Exception:
        pass

asyncio.run(main())
"""
    (span,) = spans(program)
    assert (span["name"], span["attributes"]["error.type"]) == ("GET /responses/{id}", "TimeoutError")


def test_a_malformed_exporter_key_is_not_logged() -> None:
    """A malformed exporter header appears in no output, although OpenTelemetry's own warning would repeat it."""
    printed, complained = run(SPANS.format(program=""), OTEL_EXPORTER_OTLP_HEADERS="authorization: Bearer geheim")
    assert "geheim" not in printed + complained


def test_a_poll_that_begins_early_has_no_lag(connection_string: str) -> None:
    """The lag of a poll is never negative. A wake-up names a whole second, which may be later than the clock."""
    printed, _ = run(
        """
import asyncio, os
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from shared.core.ids import shard_of
from shared.storage.messages import Wakeup
from tests.support.stage import Stage

reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))

async def main():
    async with Stage(os.environ["STORAGE"]) as stage:
        record = await stage.create()
        (alarm,) = await stage.alarms(record.id)
        stage.clock.ms = alarm.due_ms - 500
        await stage.engine.sweep(Wakeup(shard_of(record.id), alarm.due_ms // 1000 + 1))

asyncio.run(main())
found = [one for scope in reader.get_metrics_data().resource_metrics[0].scope_metrics for one in scope.metrics]
(lag,) = [one.data.data_points[0] for one in found if one.name == "background_responses.poll.lag"]
print(lag.count, lag.sum)
""",
        STORAGE=connection_string,
    )
    assert printed.splitlines()[-1] == "1 0.0"


def test_token_usage_has_the_buckets_of_the_conventions() -> None:
    """The buckets go from 1 to 67 million. The SDK's own end at 10,000, which a prompt may exceed."""
    printed, _ = run(
        """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from shared.telemetry import metrics as ours

reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
ours.token_usage.record(200_000)
(metric,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
print(metric.data.data_points[0].explicit_bounds)
"""
    )
    assert printed.strip().startswith("(1.0, 4.0, 16.0, 64.0") or printed.strip().startswith("(1, 4, 16, 64")
