"""Checks hosting and monitoring: host.json, outputs, parameters and alerts."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from typing import Any

from shared import settings
from shared.core import backoff
from shared.core.errors import SettingsError
from shared.core.states import WaitReason
from shared.telemetry import exporters, library_logs
from tests.infra.bicep import at, fields
from tests.infra.project import Project
from tests.infra.trees import ROOT, Node

CODE = [*(ROOT / "shared").rglob("*.py"), *(ROOT / "functions").glob("*.py")]
# Each numeric setting, with its Bicep parameter and the field of `Settings` that holds it.
NUMBERS = {
    "RESPONSE_DEADLINE_S": ("responseDeadlineS", "deadline_s"),
    "RETENTION_S": ("retentionS", "retention_s"),
    "STREAM_MAX_S": ("streamMaxS", "stream_max_s"),
    "FOREGROUND_HOLD_S": ("foregroundHoldS", "foreground_hold_s"),
    "STREAM_HEARTBEAT_S": ("streamHeartbeatS", "stream_heartbeat_s"),
}
LEAST = {
    "CALLERS": '[{"name": "a"}]',
    "UPSTREAM_BASE_URL": "https://a.example/v1",
    "AzureWebJobsStorage__accountName": "a",
}
BASE_URL = "'${account.properties.endpoints['OpenAI Language Model Instance API']}openai/v1'"
STATES = {"pending", "delivered", "failed", "gone", "blocked"}  # the states of a delivery
LINES = (
    '\'AppTraces | where Message startswith "{" | extend line = parse_json(Message)'
    " | extend event = tostring(line.event), level = tostring(line.level)'"
)
CHOICES = {"UPSTREAM_MODE": "upstreamMode"}


def host(project: Project) -> Iterator[str]:
    """host.json holds the limits that the design assumes. docs/operations.md gives the reasons."""
    found = project.json("host.json")
    queues = {
        "batchSize": 16,
        "newBatchThreshold": 16,
        "maxDequeueCount": 5,
        "visibilityTimeout": "00:00:05",
        "maxPollingInterval": "00:00:01",
        "messageEncoding": "base64",
    }
    for name, value in queues.items():
        if (held := found["extensions"]["queues"].get(name)) != value:
            yield f"queues.{name} is {held}, not {value}"
    if found["extensionBundle"]["version"] != "[4.*, 5.0.0)":
        yield "the bundle is not of version 4"
    hours, minutes, seconds = map(int, found["functionTimeout"].split(":"))
    if hours * 3600 + minutes * 60 + seconds <= 21_000:
        yield "functionTimeout does not exceed the longest run"
    yield from _lost_lines(found["logging"])
    if found["extensions"]["http"] != {"routePrefix": ""}:
        yield "the base paths of official clients have no prefix"
    runtime = at(_flex(project), "runtime", "version").literal() or ""
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    if runtime != "3.12" or requires != ">=3.11,<3.14":
        yield f"Python {runtime} is not what is required: {requires}"


def _lost_lines(logging: dict[str, Any]) -> Iterator[str]:
    """All lines of standard output have level Information. A sample of requests or lines would mislead the alerts."""
    if logging["logLevel"].get("Host.Function.Console") != "Information":
        yield "a stricter default would take all lines"
    sampling = logging.get("applicationInsights", {}).get("samplingSettings", {})
    if set(sampling.get("excludedTypes", "").split(";")) != {"Request", "Trace", "Exception"}:
        yield "requests, lines or exceptions are sampled"


def _flex(project: Project) -> Node:
    return at(project.file("app").resources["site"].body, "properties", "functionAppConfig")


def outputs(project: Project) -> Iterator[str]:
    """No output or parameter holds a secret, and the outputs that hooks and operators need exist."""
    needed = {
        "AZURE_KEY_VAULT_ENDPOINT": "vault.outputs.uri",
        "AZURE_RESOURCE_GROUP": "group.name",
        "APP_RESOURCE_ID": "app.outputs.id",
        "APP_URL": "app.outputs.url",
    }
    main = project.file("main")
    for name, text in needed.items():
        if (found := main.outputs[name].text if name in main.outputs else "nothing") != text:
            yield f"{name} is {found}, not {text}"
    for name, node in main.outputs.items():
        if re.search(r"(?i)key(?!_vault)|secret|password|connection", f"{name} {node.text}"):
            yield f"{name} looks like a secret"
    for parameter in main.parameters.values():
        if re.search(r"(?i)key|secret|password", parameter.name) and parameter.type != "bool":
            yield f"{parameter.name} could take a secret"


def choices(project: Project) -> Iterator[str]:
    """Azd prompts for the region, and a deployed model is the upstream.

    A model is deployed exactly when no other upstream is given.
    """
    main = project.file("main")
    if project.file("model").outputs["baseUrl"].text != BASE_URL:
        yield "the upstream is not the model's endpoint"
    if "type: 'location'" not in main.parameters["location"].decorators["metadata"][0].text:
        yield "azd does not ask for the region"
    if main.variables["makesModel"].text != "empty(upstreamBaseUrl) && empty(upstreams)":
        yield "a model is deployed though there is an upstream, or none though there is none"


def ranges(project: Project) -> Iterator[str]:
    """Parameters allow exactly the values that the code accepts, and have the same defaults."""
    declared = project.file("main").parameters
    for name, (parameter, field) in NUMBERS.items():
        least, most = declared[parameter].number("minValue"), declared[parameter].number("maxValue")
        if least is None or most is None or not (_takes(name, str(least)) and _takes(name, str(most))):
            yield f"{parameter}: the code does not take all from {least} to {most}"
        elif _takes(name, str(most + 1)) or _takes(name, str(least - 1)):
            yield f"{parameter}: the code takes more than {least} to {most}"
        default = declared[parameter].default
        if default is None or getattr(settings.load_settings(LEAST), field) != float(default.text):
            yield f"{parameter}: its default is not the code's"
    for name, parameter in CHOICES.items():
        for choice in declared[parameter].allowed() or ["any"]:
            if not _takes(name, choice):
                yield f"{parameter}: the code takes no {choice}"


def _takes(name: str, value: str) -> bool:
    try:
        settings.load_settings({**LEAST, name: value})
    except SettingsError:
        return False
    return True


@cache
def logged() -> set[str]:
    """Return the names of all log events in the code."""
    found = set()
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_log(node.func.value):
                found |= {one.value for one in node.args[:1] if isinstance(one, ast.Constant)}
    return {str(name) for name in found}


def measured() -> set[str]:
    """Return the names of the metrics that the code creates."""
    tree = ast.parse((ROOT / "shared" / "telemetry" / "metrics.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {str(one.value) for call in calls for one in call.args[:1] if isinstance(one, ast.Constant)}


def _is_log(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "_log"


def alerts(project: Project) -> Iterator[str]:
    """Each alert uses log events, metrics and names that the code emits, and the handbook explains it."""
    file = project.file("alerts")
    signals = fields(file.variables["signals"])
    texts = {name: [text for one in node.walk() if (text := one.literal())] for name, node in signals.items()}
    events = {
        text
        for name in ("missed", "attempted", "breaker", "poison", "faults", "deferred", "failing")
        for text in texts[name]
    }
    yield from (f"{event} is logged nowhere" for event in sorted(events - logged()))
    yield from (f"{one} is not a metric" for one in texts["overdueMetric"] if one not in measured())
    yield from (f"a delivery is never {one}" for one in texts["ended"] if one not in STATES)
    if texts["role"] != [exporters.NAME]:
        yield "the app reports its requests under another name"
    if 'AppRoleName == "${signals.role}"' not in file.variables["refusedQuery"].text:
        yield "clients that left are counted as 5xx"
    if texts["library"] != [library_logs.EVENT] or texts["error"] != ["error"]:
        yield "an error of a library is logged with other words"
    queues = (ROOT / "functions" / "queues.py").read_text(encoding="utf-8")
    yield from (f"{one} is not a function" for one in texts["timer"] if f"async def {one}(" not in queues)
    if texts["throttled"] != ["status 429"] or backoff.RETRY_MAX_MS != 60_000:
        yield "a refusal of the upstream is logged with other words"
    yield from (f"no response waits for {one}" for one in texts["down"] if one not in list(WaitReason))
    rules = {at(one, "id").literal() or "": one for one in file.variables["rules"].children}
    wanted = {
        "overdue",
        "silent",
        "faults",
        "uncaught",
        "refused",
        "upstream-down",
        "deliveries-failed",
        "callbacks-failing",
        "breaker-open",
        "poison",
        "throttled",
    }
    yield from (f"alert {name}: not on both sides" for name in sorted(rules.keys() ^ wanted))
    handbook = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    yield from (f"alert {name} is not explained" for name in sorted(rules) if f"| `{name}` |" not in handbook)
    if "where Max > 120 |" not in file.variables["overdueQuery"].text:
        yield "overdue means something else than two minutes"
    if texts["givenUp"] != ["MaxDequeueCount"]:
        yield "the platform logs it with other words"
    if file.variables["lines"].text != LINES:
        yield "a line of the log is parsed in another way"
    yield from _rule_faults(project)


def _rule_faults(project: Project) -> Iterator[str]:
    file = project.file("alerts")
    members = {"id", "severity", "description", "query", "window", "operator", "threshold", "column"}
    for rule in file.variables["rules"].children:
        if fields(rule).keys() != members:
            yield f"{at(rule, 'id').text} lacks something"
        query = file.variables.get(at(rule, "query").text)
        if query is None or not re.match(r"'(App(Traces|Requests|Metrics)|\$\{lines\}) \| ", query.text):
            yield f"{at(rule, 'id').text} has no query"
        if (at(rule, "operator").literal(), at(rule, "threshold").text) == ("LessThan", "0"):
            yield f"{at(rule, 'id').text} can never fire"
    body = file.resources["alerts"].body
    if at(body, "properties", "actions", "actionGroups").text != "empty(email) ? [] : [people.id]":
        yield "alerts notify no one"
    if at(body, "properties", "enabled").text != "true" or at(body, "properties", "scopes").text != "[workspaceId]":
        yield "alerts are off, or look elsewhere"
    model = file.resources["modelThrottled"].body.text
    yield from (f"the model's alert has no {one}" for one in ("'429'", "'AzureOpenAIRequests'") if one not in model)
