"""Checks the workbook: that it is one, which charts it has, and that its queries ask for what the code emits."""

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from local.stack.process import ROOT
from shared.core.states import Status
from shared.telemetry import exporters
from tests.infra.alerts import CODE, LINES, STATES, logged, measured, own
from tests.infra.deployment import Deployment, Resource
from tests.infra.hardening import logs_of
from tests.infra.project import Project

WORKBOOK = "Microsoft.Insights/workbooks"
# Each chart: how it is drawn, and whether it looks back as far as a response may live, whatever the time range.
CHARTS = {
    "in-flight": ("table", True),
    "oldest": ("table", True),
    "flow": ("timechart", False),
    "age": ("timechart", False),
    "deliveries": ("table", False),
    "upstream": ("timechart", False),
    "failures": ("table", False),
    "lines": ("timechart", False),
    "waiting": ("timechart", False),
    "turns": ("timechart", False),
    "gates": ("table", False),
    "tokens": ("table", False),
    "platform": ("table", False),
}
STATUSES = {f"response.{status}" for status in Status}
ENDS = {f"response.{status}" for status in Status if status.is_terminal} | {"response.withdrawn", "response.purged"}
DEFERRED = {"start.deferred", "poll.deferred", "run.deferred"}
REFUSED = {"start.rerouted", "upstream.create_refused"}
# The events that a chart asks for, where it asks for more than one.
SETS = {
    "in-flight": {"response.accepted", "response.started", "response.in_progress"} | ENDS | DEFERRED,
    "oldest": {"response.accepted", "response.started", "response.in_progress"} | ENDS | DEFERRED,
    "upstream": DEFERRED | REFUSED,
    "waiting": DEFERRED,
    "turns": {"response.accepted", "response.started"},
    "tokens": ENDS,
}
METRICS = {
    "flow": {"background_responses.accepted", "background_responses.ended"},
    "platform": {"background_responses.ended"},
}
ATTRIBUTES = {"status"}  # of these metrics
DOTTED = re.compile(r'"([a-z_]+(?:\.[a-z_]+)+)"')
GRAIN = "{range:grain}"


def content(one: Resource) -> dict[str, Any]:
    """Return what a workbook shows, or nothing if it cannot be read."""
    try:
        found = json.loads(one.at("properties.serializedData") or "{}")
    except (ValueError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def charts(deployment: Deployment) -> dict[str, dict[str, Any]]:
    """Return the charts of a deployment's workbook, by their names."""
    items = content(deployment.one(WORKBOOK)).get("items", [])
    return {str(one["name"]): one["content"] for one in items if one["type"] == 3}


@cache
def said() -> set[str]:
    """Return all names in the code that a line may have as members: the keys of its dictionaries."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in CODE]
    keys = [key for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys]
    return {str(key.value) for key in keys if isinstance(key, ast.Constant)}


def workbook(project: Project) -> Iterator[str]:
    """There is one workbook. It belongs to the workspace, and has the charts that the handbook explains."""
    page = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8").partition("\n## The workbook\n")[2]
    page = page.partition("\n## ")[0]
    yield from (f"chart {name} is not explained" for name in CHARTS if f"| `{name}` |" not in page)
    for deployment in project.deployments():
        one = deployment.one(WORKBOOK)
        found, workspace = content(one), logs_of(deployment)
        if (one.at("properties.sourceId"), found.get("fallbackResourceIds")) != (workspace, [workspace]):
            yield f"{deployment.name}: the workbook belongs to nothing, or looks elsewhere"
        if deployment.given["environmentName"] not in (one.at("properties.displayName") or ""):
            yield f"{deployment.name}: its name does not say of which deployment it is"
        if [item["type"] for item in found.get("items", [])[:2]] != [1, 9]:
            yield f"{deployment.name}: it does not begin with a text and the time range"
        yield from (f"chart {name}: not on both sides" for name in sorted(charts(deployment).keys() ^ CHARTS.keys()))
        yield from (f"{deployment.name}: {fault}" for fault in _range_faults(found))


def _range_faults(found: dict[str, Any]) -> Iterator[str]:
    listed = [item["content"].get("parameters", []) for item in found.get("items", []) if item["type"] == 9]
    if [[(one["name"], one["type"], one["isRequired"]) for one in every] for every in listed] != [[("range", 4, True)]]:
        yield "it has other parameters than the time range"


def shown(project: Project) -> Iterator[str]:
    """Each chart asks the workspace, for the chosen time or for as long as a response may live, and has a title."""
    deadline_s = project.compiled.template["parameters"]["responseDeadlineS"]["defaultValue"]
    for deployment in project.deployments():
        whole_ms = 1000 * (deployment.given.get("responseDeadlineS", deadline_s) + 3600)
        for name, chart in charts(deployment).items():
            drawn, is_now = CHARTS.get(name, ("", False))
            time = (chart.get("timeContext"), chart.get("timeContextFromParameter"))
            if time != (({"durationMs": whole_ms}, None) if is_now else (None, "range")):
                yield f"{deployment.name}: {name} looks back {time}"
            if chart.get("visualization") != drawn or not chart.get("title"):
                yield f"{deployment.name}: {name} is drawn as {chart.get('visualization')}, or has no title"
            asked = (chart.get("queryType"), chart.get("resourceType"), chart.get("crossComponentResources"))
            if asked != (0, "microsoft.operationalinsights/workspaces", [logs_of(deployment)]):
                yield f"{deployment.name}: {name} asks {asked}"
            if (GRAIN in chart["query"]) != (drawn == "timechart"):
                yield f"{deployment.name}: the points of {name} do not follow the time range"


def queries(project: Project) -> Iterator[str]:
    """Each query asks for events, members, metrics and attributes of the code. It counts what rows stand for."""
    gates = {name for name in logged() if name.partition(".")[0] in ("gate", "gates")} - {"gate.seen"}
    for deployment in project.deployments():
        for name, chart in charts(deployment).items():
            plain = own(deployment, chart["query"])
            found = (
                _query_faults(name, plain, {**SETS, "gates": gates}) if plain else ["it shows the rows of other apps"]
            )
            for fault in found:
                yield f"{deployment.name}: {name}: {fault}"


def _query_faults(name: str, query: str, sets: dict[str, set[str]]) -> Iterator[str]:
    is_about_lines = name not in METRICS
    query = query.removeprefix(query.partition("AppTraces")[0]) if query.startswith("let ") else query
    if is_about_lines and not query.startswith(f"{LINES} | "):
        yield "a line of the log is parsed in another way"
    names = set(DOTTED.findall(query))
    wanted = METRICS.get(name) or sets.get(name)
    if names - logged() - measured() - STATUSES or (wanted and names != wanted):
        yield f"it asks for {sorted(names ^ (wanted or set()))}, which is emitted nowhere or is not about it"
    members = set(re.findall(r"\bline\.(\w+)", query)) - {"event", "level"}
    yield from (f"no line has {one}" for one in sorted(members - said()))
    yield from (f"no metric has {one}" for one in sorted(set(re.findall(r"Properties\.(\w+)", query)) - ATTRIBUTES))
    states = {
        one
        for group in re.findall(r"State (?:==|in) (\([^)]*\)|\"\w+\")", query)
        for one in re.findall(r'"(\w+)"', group)
    }
    if states - STATES or (states and states != STATES):
        yield f"it tells deliveries apart by {sorted(states)}"
    if re.search(r"= count\(\)", query) and name not in ("in-flight", "oldest"):
        yield "it counts rows, and not what they stand for"
    roles = set(re.findall(r'AppRoleName != "([^"]*)"', query))
    if roles - {exporters.NAME} or (name == "platform" and not roles):
        yield "it takes the app's own requests for executions of functions"
