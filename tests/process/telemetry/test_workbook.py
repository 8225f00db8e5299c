"""The charts of the workbook show what a service did, from its own lines, metrics and requests.

Lines are rows of AppTraces, and what Microsoft's exporter sends becomes rows as its documentation says. Only the runs
of functions, of which the platform tells, are made up.
"""

import json
import re
from datetime import datetime
from typing import Any

import pytest

from local.azurite import Azurite
from local.stack.ports import free_port
from local.stack.process import wait_for
from tests.infra.kusto.queries import Row, asked, charts
from tests.support.peer_processes import Json
from tests.support.service_process import Service, create, finished, service
from tests.support.telemetry_collectors import Collector, collector, to_insights

SOON_S = 60.0
RUNS = [{"Name": "sweep", "AppRoleName": "func-x", "ItemCount": 2, "DurationMs": 2_500.0, "_BilledSize": 400.0}]
Shown = dict[str, list[Row]]


@pytest.fixture(scope="module")
def story(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> tuple[Shown, Json]:
    """Return what each chart shows of four responses, and the one that is not ended.

    Two complete: the callback of one arrives, that of the other meets nobody. One fails, and one is refused for now.
    """
    with (
        collector() as insights,
        service(
            tmp_path_factory.mktemp("workbook"),
            azurite.account(),
            **to_insights(insights),
            OTEL_METRIC_EXPORT_INTERVAL="500",
            OTEL_TRACES_SAMPLER="always_on",
        ) as running,
    ):
        refused = played(running)
        assert wait_for(lambda: exported(rows_of(running, insights)) == (4, 3), SOON_S)
        rows = rows_of(running, insights)
    return asked(rows, {name: chart["query"] for name, chart in charts("keys").items()}), refused


def played(running: Service) -> Json:
    """Play the responses, and return the one that waits when its refusal has been told."""
    client = running.client()
    running.receiver.first(client.post("/responses", json=running.with_callback(model="sim-1s")).json()["id"])
    finished(client, create(client, "sim-fail-0.5s"))
    finished(client, create(client, "sim-instant", callback_url=f"http://127.0.0.1:{free_port()}/hook"))
    running.model.faults(refuse_creates={"status": 429})
    refused = create(client, "sim-2s")
    told = ("start.deferred", "gate.seen", '"state":"pending"', '"state":"delivered"')
    assert wait_for(lambda: all(one in running.hosts[0].written().replace(" ", "") for one in told), SOON_S)
    return refused


def rows_of(running: Service, insights: Collector) -> dict[str, list[Row]]:
    """Return the rows that a workspace has of the service."""
    items = [(item, item["data"]["baseData"]) for item in insights.items()]
    requests = [_request(item, found) for item, found in items if item["data"]["baseType"] == "RequestData"]
    written = running.hosts[0].written().splitlines()
    return {
        "AppTraces": [_line(text) for text in written if text.startswith('{"event":')],
        "AppMetrics": [_metric(item, found) for item, found in items if item["data"]["baseType"] == "MetricData"],
        "AppRequests": [*requests, *RUNS],
    }


def exported(rows: dict[str, list[Row]]) -> tuple[float, float]:
    """Return how many responses the metrics say were accepted, and have ended."""
    sums = [
        sum(row["Sum"] for row in rows["AppMetrics"] if row["Name"] == f"background_responses.{name}")
        for name in ("accepted", "ended")
    ]
    return sums[0], sums[1]


def _time(text: str) -> str:
    return datetime.fromisoformat(text).replace(tzinfo=None).isoformat()


def _line(text: str) -> Row:
    time = _time(json.loads(text)["time"])
    return {"TimeGenerated": time, "Message": text, "ItemCount": 1, "_BilledSize": float(len(text))}


def _metric(item: dict[str, Any], found: dict[str, Any]) -> Row:
    """Return the row of https://learn.microsoft.com/azure/azure-monitor/reference/tables/appmetrics."""
    (measured,) = found["metrics"]
    return {
        "TimeGenerated": _time(item["time"]),
        "Name": measured["name"],
        "Sum": measured["value"],
        "Min": measured.get("min"),
        "Max": measured.get("max"),
        "ItemCount": measured.get("count", 1),
        "Properties": json.dumps(found.get("properties") or {}),
        "_BilledSize": 300.0,
    }


def _request(item: dict[str, Any], found: dict[str, Any]) -> Row:
    """Return the row of https://learn.microsoft.com/azure/azure-monitor/reference/tables/apprequests."""
    days, hours, minutes, seconds = map(float, re.split(r"(?<=\d)[.:](?=\d\d:)|:", found["duration"]))
    return {
        "TimeGenerated": _time(item["time"]),
        "Name": found["name"],
        "Url": found.get("url"),
        "ResultCode": found["responseCode"],
        "DurationMs": 1000 * (86_400 * days + 3_600 * hours + 60 * minutes + seconds),
        "AppRoleName": item["tags"]["ai.cloud.role"],
        "ItemCount": 1,
        "_BilledSize": 500.0,
    }


def test_what_is_in_flight_is_counted_and_named(story: tuple[Shown, Json]) -> None:
    """Only the refused response is. The chart says whose it is, what was told last, and what it waits for."""
    shown, refused = story
    assert [(row["InFlight"], row["OldestMinutes"] < 5) for row in shown["in-flight"]] == [(1, True)]
    (oldest,) = shown["oldest"]
    assert (oldest["Response"], oldest["Caller"], oldest["Model"]) == (refused["id"], "first", "sim-2s")
    assert (oldest["LastTold"], oldest["WaitsFor"]) == ("start.deferred", "rate_limit")


def test_what_was_accepted_and_has_ended_is_counted(story: tuple[Shown, Json]) -> None:
    """By status, from the metrics. The age of those that completed comes from their lines."""
    shown, _ = story
    counts: dict[str, float] = {}
    for row in shown["flow"]:
        counts[row["What"]] = counts.get(row["What"], 0) + row["Responses"]
    assert counts == {"accepted": 4, "completed": 2, "failed": 1}
    assert all(0 < row["Median"] <= row["P95"] <= row["P99"] < 60 for row in shown["age"])
    assert shown["age"]


def test_deliveries_are_counted_by_host(story: tuple[Shown, Json]) -> None:
    """Both receivers are on one host here: one delivery has ended, and the other is tried again."""
    shown, _ = story
    (host,) = shown["deliveries"]
    assert (host["Host"], host["Delivered"], host["Lost"]) == ("127.0.0.1", 1, 0)
    assert host["Pending"] >= 1
    assert host["Attempts"] == host["Delivered"] + host["Pending"]
    assert host["P95"] > 0


def test_what_the_upstream_did_is_told_by_its_reason(story: tuple[Shown, Json]) -> None:
    """Its refusal, what the refused response waits for, the code of the failed one, and the time until it began."""
    shown, _ = story
    assert {row["Reason"] for row in shown["upstream"]} == {"status 429"}
    assert {row["WaitsFor"]: row["Responses"] for row in shown["waiting"]} == {"rate_limit": 1}
    assert [(bool(row["Error"]), row["Model"], row["Responses"]) for row in shown["failures"]] == [
        (True, "sim-fail-0.5s", 1)
    ]
    assert all(0 <= row["Median"] <= row["P95"] <= row["Longest"] < 60 for row in shown["turns"])
    assert shown["turns"]


def test_gates_show_their_lines(story: tuple[Shown, Json]) -> None:
    """The refusal has closed the gate, and the refused response waits there. Nothing is wrong with the gate."""
    shown, _ = story
    assert {row["Gate"] for row in shown["lines"]} == {"default"}
    assert max(row["Waiting"] for row in shown["lines"]) == 1
    assert {line["Event"] for line in shown["gates"]} <= {"gate.closed"}


def test_costs_are_those_of_a_thousand_responses(story: tuple[Shown, Json]) -> None:
    """Tokens by model, and executions as the platform tells of them. The app's own requests are none of these."""
    shown, _ = story
    assert {"sim-1s", "sim-instant"} <= {row["Model"] for row in shown["tokens"]}
    assert all(
        row["InputTokens"] > 0 and row["OutputTokens"] > 0 for row in shown["tokens"] if row["Model"] == "sim-1s"
    )
    (platform,) = shown["platform"]
    assert platform["Responses"] == 3
    assert platform["Executions"] == pytest.approx(1000 * 2 / 3)
    assert platform["Seconds"] == pytest.approx(1000 * 2 * 2.5 / 3)
    assert platform["MegabytesOfLogs"] > 0
