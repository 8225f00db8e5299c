"""Microsoft's language service takes every query, and the alerts count what they should."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.infra.alerts import errors
from tests.infra.kusto.queries import OF_ONE, alerts, analyzed, asked, charts, every_query

NOW = datetime.now(UTC).replace(tzinfo=None).isoformat()
NUMBERS = {"int", "long", "real"}
ALERT = alerts("default")
CHART = charts("keys")
# What is wrong with a query that was right, and the error that the service has for it.
WRONG = [
    ("| summarize Runs", "| summarise Runs", "silent", "KS176"),
    ("toint(ResultCode) >=", "toint(ResultCode >=", "refused", "KS106"),
    ("AppRequests", "AppRequest", "silent", "KS204"),
    ("AppRoleName", "AppRole", "refused", "KS142"),
    ("count()", "count(1, 2)", "silent", "KS119"),
    ('"MaxDequeueCount"', '"MaxDequeueCount', "poison", "KS"),
]


def line(event: str, **members: Any) -> dict[str, Any]:
    """Return the row of a line as the platform keeps it. `items` is of how many it is one."""
    items = members.pop("items", 1)
    message = json.dumps({"event": event, "level": "info", **members})
    return {"TimeGenerated": NOW, "Message": message, "ItemCount": items, "_BilledSize": float(len(message))}


def counted(name: str, **rows: list[dict[str, Any]]) -> int:
    """Return what an alert adds up."""
    condition = ALERT[name]
    (found,) = asked(rows, {name: condition["query"]}).values()
    assert condition["timeAggregation"] == "Total"
    return sum(row[condition["metricMeasureColumn"]] for row in found)


def test_microsofts_language_service_takes_every_query() -> None:
    """It knows the language, the tables, their columns and the types, and has nothing to say."""
    found = analyzed(every_query())
    assert {name: one["complaints"] for name, one in found.items() if one["complaints"]} == {}
    assert len(found) >= len(ALERT) + len(CHART)


@pytest.mark.parametrize(("old", "new", "name", "code"), WRONG)
def test_it_finds_what_is_wrong(old: str, new: str, name: str, code: str) -> None:
    """A word, a bracket, a table, a column, an argument or a type that is wrong has its error."""
    query = ALERT[name]["query"]
    assert old in query
    found = analyzed({name: query.replace(old, new, 1)})[name]["complaints"]
    assert [one for one in found if one.startswith(code)]


def test_an_alert_adds_up_a_number() -> None:
    """The column of each is in the result of its query, with one type."""
    found = analyzed({name: one["query"] for name, one in ALERT.items()})
    assert {found[name]["columns"].get(one["metricMeasureColumn"]) for name, one in ALERT.items()} <= NUMBERS


def test_a_chart_over_time_has_times_and_numbers() -> None:
    """Without them the portal draws nothing."""
    found = analyzed({name: one["query"] for name, one in CHART.items()})
    drawn = [set(found[name]["columns"].values()) for name, one in CHART.items() if one["visualization"] == "timechart"]
    assert drawn
    assert all("datetime" in kinds and kinds & NUMBERS for kinds in drawn)


def test_a_sampled_request_counts_as_those_that_it_stands_for() -> None:
    """With a tenth of the traces, two rows are twenty requests."""
    row = {"AppRoleName": "background-responses", "ResultCode": "503", "Url": "https://a.example/x", "ItemCount": 10}
    others = [
        {**row, "ResultCode": "429"},
        {**row, "AppRoleName": "func"},
        {**row, "Url": "https://a.example/health/ready"},
    ]
    assert counted("refused", AppRequests=[row, row, *others]) == 20


def test_a_sampled_line_counts_as_those_that_it_stands_for() -> None:
    """So does a message that the platform gave up, in words of its own."""
    given_up = {"Message": "Message has reached MaxDequeueCount of 5.", "ItemCount": 3}
    assert counted("poison", AppTraces=[line("poison.unread", items=2), given_up, line("heartbeat.missed")]) == 5


def test_every_error_is_counted_once() -> None:
    """Each event that the code logs as an error raises one alert, but for those that have a reason."""
    rows = [line(event, level="error") for event in sorted(errors())]
    assert len(rows) >= 30
    assert sum(counted(name, AppTraces=rows) for name in ("overdue", "faults", "poison")) == len(rows)


def test_a_late_alarm_counts_once_a_row() -> None:
    """Its metric has sixteen values a minute in one row, and that is one minute in which something was late."""
    name = "background_responses.alarms.overdue"
    rows = [{"Name": name, "Max": late, "ItemCount": 16, "Sum": late} for late in (0.0, 119.0, 121.0, 500.0)]
    assert counted("overdue", AppMetrics=rows, AppTraces=[line("sweep.cut_short", items=4)]) == 2 + 4


def test_another_app_of_the_workspace_does_not_count() -> None:
    """A landing zone may give several apps one workspace. Each is told of its own only, in whatever case its id is."""
    seen, other = (
        {"Name": "heartbeat", "ItemCount": 1},
        "/subscriptions/1/providers/Microsoft.Insights/components/other",
    )
    assert counted("silent", AppRequests=[{**seen, "_ResourceId": other}]) == 0
    (own,) = OF_ONE.findall(ALERT["silent"]["query"])
    assert counted("silent", AppRequests=[{**seen, "_ResourceId": own.lower()}]) == 1
    ended = line("response.completed", model="gpt-5", input_tokens=1, output_tokens=1)
    assert asked({"AppTraces": [{**ended, "_ResourceId": other}]}, {"tokens": CHART["tokens"]["query"]}) == {
        "tokens": []
    }


def test_silence_is_a_row_with_no_runs() -> None:
    """The alert needs a value to compare, also where there is nothing."""
    assert counted("silent", AppRequests=[{"Name": "sweep", "ItemCount": 1}]) == 0
    assert counted("silent", AppRequests=[{"Name": "heartbeat", "ItemCount": 1}]) == 1


def test_a_price_is_that_of_the_setting() -> None:
    """A million tokens of input cost 1.25, and of output 10. A model without a price has a count and no cost."""
    used = [
        line("response.completed", model=name, input_tokens=2_000, output_tokens=500) for name in ("gpt-5", "other")
    ]
    (rows,) = asked({"AppTraces": [*used, used[0]]}, {"tokens": CHART["tokens"]["query"]}).values()
    first, second = sorted(rows, key=lambda row: str(row["Model"]))
    assert (first["Model"], first["Responses"], first["InputTokens"], first["OutputTokens"]) == ("gpt-5", 2, 2e6, 5e5)
    assert first["Cost"] == pytest.approx(2 * 1.25 + 0.5 * 10)
    assert (second["Model"], second["Cost"]) == ("other", None)


def test_a_minute_at_a_closed_gate_counts_for_tries_that_are_not_made() -> None:
    """One line of `upstream-down`, and four of `throttled`. Each counts only those with its reasons."""
    rows = [
        line("gate.closed", waits_for="rate_limit"),
        line("gate.closed", waits_for="upstream_down", items=2),
        line("start.rerouted", waits_for="rate_limit", reason="status 429"),
        line("start.rerouted", waits_for="upstream_down", reason="ConnectError"),
        line("start.deferred", waits_for="credentials", reason="status 401"),
        line("upstream.create_refused", waits_for="credentials", reason="status 403"),
        line("gate.seen", waiting=3),
        line("upstream.credentials_refused", status=403),
    ]
    assert counted("throttled", AppTraces=rows) == 4 + 1
    assert counted("upstream-down", AppTraces=rows) == 2 + 1 + 1 + 1
