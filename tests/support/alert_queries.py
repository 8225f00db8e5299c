"""The queries of the alerts about lines, asked of lines that a host has written.

They are taken from a deployment as the compiler evaluates it (`tests/infra/variants`). This module reads the part of
the query language that these queries are made of, and refuses everything else.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from local.stack.process import ROOT

DEPLOYMENT = ROOT / "tests" / "infra" / "variants" / "default.snapshot.json"
RULES = "Microsoft.Insights/scheduledQueryRules"
Line = dict[str, Any]
_WEIGHT = re.compile(r'project TimeGenerated, ItemCount = ItemCount \* iff\(event == "(.*)", (\d+), 1\)')
_STEPS: list[tuple[re.Pattern[str], Callable[[re.Match[str], Line], bool]]] = [
    (re.compile(r'where (event|level) == "(.*)"'), lambda step, line: line.get(step[1]) == step[2]),
    (re.compile(r"where (event) in \((.*)\)"), lambda step, line: line.get(step[1]) in json.loads(f"[{step[2]}]")),
    (
        re.compile(r"where tostring\(line\.(\w+)\) in \((.*)\)"),
        lambda step, line: line.get(step[1]) in json.loads(f"[{step[2]}]"),
    ),
    (re.compile(r'where tostring\(line\.(\w+)\) == "(.*)"'), lambda step, line: line.get(step[1]) == step[2]),
]


def matching(alert: str, written: str) -> list[Line]:
    """Return the lines among those that a host has written which the query of an alert, such as `poison`, finds."""
    source, *steps = _condition(alert)["query"].split(" | ")
    assert source == "AppTraces"
    assert steps[0].startswith("where _ResourceId =~ ")  # the lines are all of one app
    assert steps[1] == 'where Message startswith "{"'
    found = [json.loads(text) for text in written.splitlines() if text.startswith("{")]
    for step in steps[2:]:
        if not step.startswith("extend ") and not _WEIGHT.fullmatch(step):
            found = _kept(step, found)
    return found


def fires(alert: str, written: str) -> bool:
    """Return whether these lines, written within the window of an alert, are as many as it takes."""
    condition = _condition(alert)
    assert condition["operator"] == "GreaterThan"
    weight = _WEIGHT.search(condition["query"])
    counts = [int(weight[2]) if weight and line["event"] == weight[1] else 1 for line in matching(alert, written)]
    return sum(counts) > int(condition["threshold"])


def _kept(step: str, lines: Iterable[Line]) -> list[Line]:
    for pattern, holds in _STEPS:
        if match := pattern.fullmatch(step):
            return [line for line in lines if holds(match, line)]
    raise ValueError(f"this is not read here: {step}")


def _condition(alert: str) -> dict[str, Any]:
    resources = json.loads(DEPLOYMENT.read_text(encoding="utf-8"))["resources"]
    (rule,) = (one for one in resources if one["type"] == RULES and one["name"].endswith(f"-{alert}"))
    condition: dict[str, Any] = rule["properties"]["criteria"]["allOf"][0]
    return condition
