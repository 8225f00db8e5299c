"""The service with a telemetry collector, requests from a client that traces, and a way to find a trace."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.stack.process import wait_for
from tests.support.peer_processes import Json
from tests.support.service_process import Service, service
from tests.support.telemetry_collectors import Collector, Span, collector

CLIENT_ID = "00f067aa0ba902b7"
REQUEST = "POST /openai/v1/responses"
WELL = "4bf92f3577b34da6a3ce929d0e0e4736"
SOON_S = 30.0


@contextmanager
def observed(directory: Path, connection: str) -> Iterator[tuple[Service, Collector]]:
    """Run the service with its own collector, to which telemetry is exported quickly."""
    with (
        collector() as collecting,
        service(
            directory,
            connection,
            time_factor=1,
            TELEMETRY="otlp",
            OTEL_EXPORTER_OTLP_ENDPOINT=collecting.url,
            OTEL_BSP_SCHEDULE_DELAY="100",
            OTEL_BLRP_SCHEDULE_DELAY="100",
            OTEL_METRIC_EXPORT_INTERVAL="300",
            UPSTREAM_API_KEY="simulated-upstream-key",
        ) as running,
    ):
        yield running, collecting


def asked(running: Service, trace_id: str, model: str = "sim-2s", *, sampled: bool = True) -> Json:
    """Send a background request with a `traceparent`, and return the response object."""
    request = running.with_callback(
        model=model,
        input="geheime-Frage",
        instructions="geheime-Frage",
        metadata={"name": "Geheimes-Metadatum"},
        callback_url=f"{running.receiver.url}/geheimer-Pfad?key=geheimer-Parameter",
    )
    headers = {"traceparent": f"00-{trace_id}-{CLIENT_ID}-0{sampled:d}"}
    answer = running.client().post("/responses", json=request, headers=headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def of_trace(collecting: Collector, trace_id: str, *names: str) -> list[Span]:
    """Wait until a trace has spans of these names, and return all its spans."""

    def complete() -> list[Span]:
        spans = [span for span in collecting.spans() if span.trace_id == trace_id]
        return [] if Counter(names) - Counter(span.name for span in spans) else spans

    spans = wait_for(complete, SOON_S)
    assert spans, [(span.name, span.trace_id) for span in collecting.spans()]
    return spans


def named(spans: list[Span], name: str) -> Span:
    """Return the first span of this name, which must exist."""
    found = [span for span in spans if span.name == name]
    assert found, [span.name for span in spans]
    return found[0]
