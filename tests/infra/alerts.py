"""Checks the alerts: their queries, the events and metrics that the code emits, and whom they tell."""

import ast
import re
from collections.abc import Iterator
from functools import cache

from local.stack.process import ROOT
from shared.core import backoff
from shared.core.states import WaitReason
from shared.telemetry import exporters, library_logs
from tests.infra.deployment import Deployment, Resource
from tests.infra.hardening import logs_of
from tests.infra.project import Project
from tests.infra.roles import MODEL

CODE = [*(ROOT / "shared").rglob("*.py"), *(ROOT / "functions").glob("*.py")]
STATES = {"pending", "delivered", "failed", "gone", "blocked"}  # the states of a delivery
LINES = (
    'AppTraces | where Message startswith "{" | extend line = parse_json(Message)'
    " | extend event = tostring(line.event), level = tostring(line.level)"
)
REFUSALS = (
    f'AppRequests | where AppRoleName == "{exporters.NAME}"'
    ' | where toint(ResultCode) >= 500 | where Url !has "/health/"'
)
LIBRARY = f'{LINES} | where event == "{library_logs.EVENT}" | where level == "error"'
TIMER = re.compile(r'AppRequests \| where Name == "(\w+)" \| summarize Runs = count\(\)')
METRIC = re.compile(
    r'AppMetrics \| where Name == "([\w.]+)" \| where Max > 120'
    r" \| project TimeGenerated, ItemCount = int\(1\)"
)
INSIGHTS = "Microsoft.Insights/components"
QUERY = "Microsoft.Insights/scheduledQueryRules"
PEOPLE = "Microsoft.Insights/actionGroups"
WEIGHED = ' | project TimeGenerated, ItemCount = ItemCount * iff(event == "gate.closed", 4, 1)'
THROTTLED = "Microsoft.Insights/metricAlerts"
COUNT = "ItemCount"  # of how many a row is one, where something is sampled
# name: severity, window, operator, threshold, column
RULES = {
    "overdue": (1, "PT5M", "GreaterThan", 2, COUNT),
    "silent": (1, "PT15M", "LessThan", 1, "Runs"),
    "upstream-down": (1, "PT5M", "GreaterThan", 2, COUNT),
    "faults": (1, "PT15M", "GreaterThan", 0, COUNT),
    "uncaught": (2, "PT15M", "GreaterThan", 0, COUNT),
    "refused": (2, "PT15M", "GreaterThan", 10, COUNT),
    "deliveries-failed": (2, "PT15M", "GreaterThan", 0, COUNT),
    "callbacks-failing": (2, "PT15M", "GreaterThan", 0, COUNT),
    "breaker-open": (3, "PT15M", "GreaterThan", 0, COUNT),
    "poison": (2, "PT15M", "GreaterThan", 0, COUNT),
    "throttled": (2, "PT15M", "GreaterThan", 20, COUNT),
}
# Each alert about lines, with the only steps that its query has: a member of the line, and the set that it is in.
STEPS = {
    "upstream-down": ("event", "waits_for"),
    "faults": ("event",),
    "deliveries-failed": ("event", "state"),
    "callbacks-failing": ("event",),
    "breaker-open": ("event",),
    "poison": ("event",),
    "throttled": ("event", "waits_for"),
}
# The events at level `error` of which no alert tells, each with its reason.
UNTOLD = {
    "agent.failed": "its response ends as failed, as with any upstream, and the caller is told",
    "poison.failed": "the sender's mistake: its response ends as failed, with the reason",
    "request.rejected": "the same, before that",
    "request.storage_failed": "`refused` counts its 503",
}
STEP = re.compile(r'where (?:event|tostring\(line\.(\w+)\)) (?:in \(((?:"[\w.]+"(?:, )?)+)\)|== "([^"]+)")')
# The language of the queries: one table or bracket, then steps. A word that is spelt wrong is none of these.
TABLES = {"AppTraces", "AppRequests", "AppMetrics"}
OPERATORS = {"where", "extend", "project", "summarize", "union"}


@cache
def logged(*levels: str) -> set[str]:
    """Return the names of all log events in the code, or of those that it logs by these methods."""
    found = set()
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_log(node.func.value):
                names = {one.value for one in node.args[:1] if isinstance(one, ast.Constant)}
                found |= names if not levels or node.func.attr in levels else set()
    return {str(name) for name in found}


def errors() -> set[str]:
    """Return the names of the events at level `error` of which an alert must tell."""
    return logged("error", "exception", "critical") - UNTOLD.keys()


def measured() -> set[str]:
    """Return the names of the metrics that the code creates."""
    tree = ast.parse((ROOT / "shared" / "telemetry" / "metrics.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {str(one.value) for call in calls for one in call.args[:1] if isinstance(one, ast.Constant)}


def _is_log(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "_log"


def ids_of(deployment: Deployment) -> dict[str, str]:
    """Return the query of each alert, by the alert's name without that of the deployment."""
    return {_short(one.name): one.at("properties.criteria.allOf.0.query") for one in deployment.of(QUERY)}


def own(deployment: Deployment, query: str) -> str:
    """Return a query without the steps that leave out the rows of other apps, or nothing if a table lacks that step."""
    step = f' | where _ResourceId =~ "{deployment.one(INSIGHTS).id}"'
    tables = re.findall(r"\bApp(?:Traces|Metrics|Requests|Dependencies)\b", query)
    return query.replace(step, "") if sum(query.count(one + step) for one in {*tables}) == len(tables) else ""


def _short(name: str) -> str:
    return name.split("-", 2)[2]


def alerts(project: Project) -> Iterator[str]:
    """Each alert asks about events, metrics and names that the code emits, and the handbook explains it."""
    handbook = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    yield from (f"alert {name} is not explained" for name in sorted(RULES) if f"| `{name}` |" not in handbook)
    if backoff.RETRY_MAX_MS != 60_000:
        yield "a refusal of the upstream is logged with other words"
    for deployment in project.deployments():
        queries = ids_of(deployment)
        yield from (f"alert {name}: not on both sides" for name in sorted(queries.keys() ^ RULES.keys()))
        for name, query in queries.items():
            plain = own(deployment, query)
            found = _query_faults(name, plain) if plain else ["it counts the rows of other apps"]
            yield from (f"{deployment.name}: {name}: {fault}" for fault in found)


def told(project: Project) -> Iterator[str]:
    """Of each event at level `error` an alert tells, or the handbook says that none does."""
    handbook = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    yield from (f"{name} is not explained" for name in sorted(UNTOLD) if f"`{name}`" not in handbook)
    yield from (f"{name} is no error" for name in sorted(UNTOLD.keys() - logged("error", "exception", "critical")))
    for deployment in project.deployments():
        asked = {name for query in ids_of(deployment).values() for name in re.findall(r'"([\w.]+)"', query)}
        yield from (f"{deployment.name}: no alert tells of {name}" for name in sorted(errors() - asked))
        yield from (f"{deployment.name}: an alert tells of {name}" for name in sorted(UNTOLD.keys() & asked))


def _query_faults(name: str, query: str) -> Iterator[str]:
    yield from _language_faults(query)
    if name == "silent":
        found = TIMER.fullmatch(query)
        queues = (ROOT / "functions" / "queues.py").read_text(encoding="utf-8")
        if not found or f"async def {found[1]}(" not in queues:
            yield "it asks for no function that runs"
    elif name == "refused" and query != REFUSALS:
        yield "clients that left are counted, or other requests"
    elif name == "uncaught" and query != LIBRARY:
        yield "an error of a library is logged with other words"
    elif name == "overdue":
        yield from _overdue_faults(query)
    elif name in STEPS:
        yield from _line_faults(name, query)


def _overdue_faults(query: str) -> Iterator[str]:
    measure, _, rest = query.partition(" | union (")
    found = METRIC.fullmatch(measure)
    if not found or found[1] not in measured():
        yield f"{measure} asks for no metric, or for another time than two minutes"
    yield from _events(rest.removesuffix(" | project TimeGenerated, ItemCount)"), ("event",))


def _line_faults(name: str, query: str) -> Iterator[str]:
    if name == "poison":
        query, _, given_up = query.partition(" | union ")
        if given_up != '(AppTraces | where Message has "MaxDequeueCount")':
            yield "the platform logs it with other words"
    if name == "throttled":
        query, _, weight = query.partition(" | project ")
        if f" | project {weight}" != WEIGHED:
            yield "the minutes at a closed gate have another weight"
    yield from _events(query, STEPS[name])


def _events(query: str, members: tuple[str, ...]) -> Iterator[str]:
    if not query.startswith(f"{LINES} | "):
        yield "a line of the log is parsed in another way"
        return
    known = {
        "event": logged(),
        "state": STATES,
        "waits_for": {str(one) for one in WaitReason},
    }
    steps = [STEP.fullmatch(one) for one in query.removeprefix(f"{LINES} | ").split(" | ")]
    if [one and (one[1] or "event") for one in steps] != list(members):
        yield f"its steps are not about {members}"
    for step in (one for one in steps if one):
        values = set(re.findall(r'"([^"]+)"', step[2])) if step[2] else {step[3]}
        unknown = values - known.get(step[1] or "event", set())
        yield from (f"{one} is logged nowhere" for one in sorted(unknown))


def _language_faults(query: str) -> Iterator[str]:
    plain = re.sub(r'"[^"]*"', '""', query)
    if plain.count("(") != plain.count(")") or query.count('"') % 2:
        yield "a bracket or a quote is not closed"
    for part in re.split(r"union \(", plain):
        source, *steps = [one.strip() for one in part.split("|")]
        if source not in TABLES:
            yield f"{source} is not a table"
        yield from (f"{one} is no step" for one in steps if one and one.split()[0] not in OPERATORS)


def rules(project: Project) -> Iterator[str]:
    """Each alert rule has its severity, window and threshold, looks at the logs, is on, and tells the people."""
    for deployment in project.deployments():
        people = [one.id for one in deployment.of(PEOPLE)]
        for one in deployment.of(QUERY):
            yield from (f"{deployment.name}: {one.name}: {fault}" for fault in _rule_faults(deployment, one, people))
        yield from _metric_faults(deployment, people)
        for one in deployment.of(PEOPLE):
            receiver = one.at("properties.emailReceivers.0") or {}
            told = (one.at("properties.enabled"), receiver.get("emailAddress"), receiver.get("useCommonAlertSchema"))
            if told != (True, deployment.given["alertEmail"], True):
                yield f"{deployment.name}: nobody is told"


def _rule_faults(deployment: Deployment, one: Resource, people: list[str]) -> Iterator[str]:
    condition = one.at("properties.criteria.allOf.0")
    found = (
        one.at("properties.severity"),
        one.at("properties.windowSize"),
        condition.get("operator"),
        condition.get("threshold"),
        condition.get("metricMeasureColumn"),
    )
    wanted = RULES.get(_short(one.name))
    if found != wanted:
        yield f"it is {found}, not {wanted}"
    if condition.get("timeAggregation") != "Total":
        yield "it counts something else"
    if condition.get("failingPeriods") != {"numberOfEvaluationPeriods": 1, "minFailingPeriodsToAlert": 1}:
        yield "it does not fire at once"
    if one.at("kind") != "LogAlert" or one.at("properties.evaluationFrequency") != "PT5M":
        yield "it is asked at other times than the handbook says"
    switches = [one.at(f"properties.{name}") for name in ("enabled", "autoMitigate", "skipQueryValidation")]
    if switches != [True, True, True] or one.at("properties.scopes") != [logs_of(deployment)]:
        yield "it is off, or looks elsewhere"
    if one.at("properties.actions.actionGroups") != people:
        yield "it notifies no one"
    if not one.at("properties.description") or _short(one.name) not in one.at("properties.displayName"):
        yield "it does not say what it means"


def _metric_faults(deployment: Deployment, people: list[str]) -> Iterator[str]:
    for one in deployment.of(THROTTLED):
        criterion = one.at("properties.criteria.allOf.0")
        found = (
            one.at("properties.scopes"),
            one.at("properties.enabled"),
            one.at("properties.autoMitigate"),
            one.at("properties.severity"),
            one.at("properties.evaluationFrequency"),
            one.at("properties.windowSize"),
            [action["actionGroupId"] for action in one.at("properties.actions")],
        )
        if found != ([deployment.one(MODEL).id], True, True, 2, "PT5M", "PT15M", people):
            yield f"{deployment.name}: the alert of the model is {found}"
        counted = (criterion["metricNamespace"], criterion["metricName"], criterion["dimensions"])
        only = [{"name": "StatusCode", "operator": "Include", "values": ["429"]}]
        if counted != (MODEL, "AzureOpenAIRequests", only):
            yield f"{deployment.name}: the alert of the model counts {counted}"
        fires = (criterion["timeAggregation"], criterion["operator"], criterion["threshold"])
        if fires != ("Total", "GreaterThan", 20):
            yield f"{deployment.name}: the alert of the model fires at {fires}"
