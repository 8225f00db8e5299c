"""The queries of the alerts about lines, asked of lines that a host has written.

It reads the part of the query language that these queries are made of, and refuses everything else.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from local.stack.process import ROOT

ALERTS = ROOT / "infra" / "modules" / "alerts.bicep"
Line = dict[str, Any]
_VARIABLE = re.compile(r"^var (\w+) = '(.*)'$", re.MULTILINE)
_SIGNAL = re.compile(r"^  (\w+): (\[.*\]|'.*')$", re.MULTILINE)
_JOINED = re.compile(r"\$\{join\(signals\.(\w+), '(.*?)'\)\}")
_STEPS: list[tuple[re.Pattern[str], Callable[[re.Match[str], Line], bool]]] = [
    (re.compile(r'where (event|level) == "(.*)"'), lambda step, line: line.get(step[1]) == step[2]),
    (re.compile(r"where (event) in \((.*)\)"), lambda step, line: line.get(step[1]) in json.loads(f"[{step[2]}]")),
    (
        re.compile(r"where tostring\(line\.(\w+)\) in \((.*)\)"),
        lambda step, line: line.get(step[1]) in json.loads(f"[{step[2]}]"),
    ),
    (re.compile(r'where tostring\(line\.(\w+)\) == "(.*)"'), lambda step, line: line.get(step[1]) == step[2]),
]


def matching(query: str, written: str) -> list[Line]:
    """Return the lines among those that a host has written which the query of an alert finds.

    `query` is the name of its variable in the Bicep file.
    """
    source, *steps = _resolved(query).split(" | ")
    assert source == "AppTraces"
    assert steps[0] == 'where Message startswith "{"'
    found = [json.loads(text) for text in written.splitlines() if text.startswith("{")]
    for step in steps[1:]:
        if not step.startswith("extend "):
            found = _kept(step, found)
    return found


def _kept(step: str, lines: Iterable[Line]) -> list[Line]:
    for pattern, holds in _STEPS:
        if match := pattern.fullmatch(step):
            return [line for line in lines if holds(match, line)]
    raise ValueError(f"this is not read here: {step}")


def _resolved(query: str) -> str:
    """Return the text of a variable, with the values of all others in it."""
    file = ALERTS.read_text(encoding="utf-8")
    variables, signals = dict(_VARIABLE.findall(file)), dict(_SIGNAL.findall(file))
    text = variables[query]
    while found := re.search(r"\$\{(\w+)\}", text):
        text = text.replace(found[0], variables[found[1]])
    text = _JOINED.sub(lambda one: one[2].join(re.findall("'(.*?)'", signals[one[1]])), text)
    return re.sub(r"\$\{signals\.(\w+)\}", lambda one: signals[one[1]].strip("'"), text)
