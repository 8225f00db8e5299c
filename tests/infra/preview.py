"""Checks that a preview names every resource: what a deployment makes is in no name, scope, count or condition."""

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.infra.deployment import listed
from tests.infra.project import Project

# Where a resource says what it is, and whether and how often it is there.
PLACES = ("name", "scope", "condition", "subscriptionId", "resourceGroup")
# What is known only when something has been made.
LATE = re.compile(r"\b(reference|list[A-Z]\w*)\(")


def preview(project: Project) -> Iterator[str]:
    """Every resource is named by a preview: nothing that a deployment makes decides what it is, or whether it is there.

    The linter's own rule, `what-if-short-circuiting`, sees no value that goes through a list or an object.
    """
    yield from _faults("main", project.compiled.template, set())


def _faults(name: str, template: dict[str, Any], late: set[str]) -> Iterator[str]:
    """Yield the faults of a template and of its modules. `late` are its parameters that are known too late."""
    for symbol, one in listed(template):
        places = [one.get(place, "") for place in PLACES] + [one.get("copy", {}).get("count", "")]
        if _is_late(json.dumps(places), template, late):
            yield f"{name}: a preview does not know {symbol}"
        if one.get("type") == "Microsoft.Resources/deployments":
            given = one["properties"].get("parameters", {})
            known_late = {key for key, value in given.items() if _is_late(json.dumps(value), template, late)}
            yield from _faults(str(one["name"]), one["properties"]["template"], known_late)


def _is_late(text: str, template: dict[str, Any], late: set[str]) -> bool:
    if LATE.search(text) or late & set(re.findall(r"parameters\('(\w+)'\)", text)):
        return True
    variables = template.get("variables", {})
    return any(
        _is_late(json.dumps(variables.get(name, variables.get("copy", ""))), template, late)
        for name in set(re.findall(r"variables\('(\w+)'\)", text))
    )
