"""Where telemetry goes: from successive processes, without an exporter, to a collector that is down, and to Azure."""

import time
from pathlib import Path
from typing import Any

from local.stack.process import wait_for
from tests.support.service_process import service
from tests.support.telemetry_collectors import Collector, collector, to_insights
from tests.support.traced_service import CLIENT_ID, REQUEST, SOON_S, WELL, asked, named, observed, of_trace

DEAD = "http://127.0.0.1:9"


def test_a_trace_outlives_the_process_it_began_in(connection_string: str, tmp_path: Path) -> None:
    """After the process that served the request is killed, another emits the remaining spans in the same trace."""
    with observed(tmp_path, connection_string) as (running, collecting):
        asked(running, WELL, "sim-3s")
        of_trace(collecting, WELL, REQUEST)
        running.hosts[0].kill()
        running.hosts[0].start()
        spans = of_trace(collecting, WELL, "POST")
    request, life = named(spans, REQUEST), named(spans, "chat sim-3s")
    assert life.parent_id == request.span_id
    assert named(spans, "POST").parent_id == life.span_id
    assert named(spans, "POST").process == life.process != request.process


def test_without_telemetry_a_callers_trace_is_passed_on(connection_string: str, tmp_path: Path) -> None:
    """Nothing is exported. The callback still carries the caller's `traceparent`."""
    with (
        collector() as collecting,
        service(tmp_path, connection_string, OTEL_EXPORTER_OTLP_ENDPOINT=collecting.url) as running,
    ):
        callback = running.receiver.first(asked(running, WELL)["id"])
        untraced = running.client().post("/responses", json=running.with_callback()).json()
        assert running.receiver.first(untraced["id"])["traceparent"] is None
    assert callback["traceparent"] == f"00-{WELL}-{CLIENT_ID}-01"
    assert collecting.posted == []


def test_a_collector_that_does_not_answer_delays_no_response(connection_string: str, tmp_path: Path) -> None:
    """Spans that cannot be sent are dropped, and the response ends as quickly as usual."""
    with service(tmp_path, connection_string, TELEMETRY="otlp", OTEL_EXPORTER_OTLP_ENDPOINT=DEAD) as running:
        began_s = time.monotonic()
        running.receiver.first(asked(running, WELL, "sim-1s")["id"], 10)
        assert time.monotonic() - began_s < 10


def test_application_insights_receives_the_same_telemetry(connection_string: str, tmp_path: Path) -> None:
    """Application Insights receives the request, the dependency and the metrics.

    Microsoft's exporter and the sampler are set as in the deployment. Azure's front end marks every trace as not
    sampled, and such a trace is sent too.
    """
    with (
        collector() as insights,
        service(
            tmp_path,
            connection_string,
            **to_insights(insights),
            OTEL_METRIC_EXPORT_INTERVAL="1000",
            OTEL_TRACES_SAMPLER="always_on",
        ) as running,
    ):
        running.receiver.first(asked(running, WELL, sampled=False)["id"])
        assert wait_for(lambda: _has_all(insights), SOON_S), [item["name"] for item in insights.items()]
    received = [item for item in insights.items() if item["tags"].get("ai.operation.id") == WELL]
    assert {item["data"]["baseType"] for item in received} == {"RequestData", "RemoteDependencyData"}
    assert {REQUEST, "chat sim-2s"} <= {item["data"]["baseData"]["name"] for item in received}
    assert {item["tags"]["ai.cloud.role"] for item in received} == {"background-responses"}


def test_sampled_requests_can_be_counted(connection_string: str, tmp_path: Path) -> None:
    """With a share of the traces, each request that Application Insights receives says of how many it is one."""
    with (
        collector() as insights,
        service(
            tmp_path,
            connection_string,
            **to_insights(insights),
            OTEL_TRACES_SAMPLER="traceidratio",
            OTEL_TRACES_SAMPLER_ARG="0.5",
        ) as running,
    ):
        client = running.client()
        for _ in range(40):  # the chance that none is kept is one in a trillion
            client.get("/models")
        assert wait_for(lambda: _requests(insights), SOON_S)
    assert {item["sampleRate"] for item in _requests(insights)} == {50.0}
    models = [item for item in _requests(insights) if "models" in item["data"]["baseData"]["name"]]
    assert len(models) < 40


def _requests(insights: Collector) -> list[dict[str, Any]]:
    return [item for item in insights.items() if item["data"]["baseType"] == "RequestData"]


def _has_all(insights: Collector) -> bool:
    items = [item["data"]["baseData"] for item in insights.items()]
    measured = {metric["name"] for item in items for metric in item.get("metrics", ())}
    return "background_responses.delivery.time" in measured and "chat sim-2s" in {item.get("name") for item in items}
