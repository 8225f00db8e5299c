"""Checks the parameters: what azd passes, which values they allow, and what the templates inside allow."""

import re
from collections.abc import Iterator
from typing import Any

from shared import settings
from shared.core.errors import SettingsError
from tests.infra.deployment import nested, templates
from tests.infra.project import Project

# Each numeric setting, with its Bicep parameter and the field of `Settings` that holds it.
NUMBERS = {
    "RESPONSE_DEADLINE_S": ("responseDeadlineS", "deadline_s"),
    "RETENTION_S": ("retentionS", "retention_s"),
    "STREAM_MAX_S": ("streamMaxS", "stream_max_s"),
    "FOREGROUND_HOLD_S": ("foregroundHoldS", "foreground_hold_s"),
    "STREAM_HEARTBEAT_S": ("streamHeartbeatS", "stream_heartbeat_s"),
}
CHOICES = {"UPSTREAM_MODE": "upstreamMode"}
LEAST = {
    "CALLERS": '[{"name": "a"}]',
    "UPSTREAM_BASE_URL": "https://a.example/v1",
    "AzureWebJobsStorage__accountName": "a",
}
# Variables that azd sets itself, or that have its prefix.
BY_AZD = {
    "environmentName": "AZURE_ENV_NAME",
    "location": "AZURE_LOCATION",
    "principalId": "AZURE_PRINCIPAL_ID",
    "principalType": "AZURE_PRINCIPAL_TYPE",
}
ENDS = ("minValue", "maxValue", "allowedValues")


def variable(parameter: str) -> str:
    """Return the variable that `azd env set` sets for a parameter: its name with underscores, in capitals."""
    return BY_AZD.get(parameter) or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", parameter).upper()


def parameters(project: Project) -> Iterator[str]:
    """Azd passes every parameter of the deployment by its variable, with the same defaults as in Bicep."""
    given = project.passed()
    declared = project.compiled.template["parameters"]
    yield from (f"{name}: not on both sides" for name in sorted(given.keys() ^ declared.keys()))
    for name in given.keys() & declared.keys():
        passed, default = given[name]
        if passed != variable(name):
            yield f"{name} is what {passed} sets, not {variable(name)}"
        expected = _text(declared[name].get("defaultValue"))
        if default != expected:
            yield f"{name} is {default} by azd, {expected} by Bicep"


def _text(value: Any) -> str | None:
    return str(value).lower() if isinstance(value, bool) else None if value is None else str(value)


def limits(project: Project) -> Iterator[str]:
    """Every number has a range, and a module has the range of the parameter that it is given."""
    for name, template in templates(project.compiled.template):
        for parameter, declared in template.get("parameters", {}).items():
            if declared.get("type") == "int" and not ("allowedValues" in declared or {*ENDS[:2]} <= declared.keys()):
                yield f"{name}: {parameter} has no range"
    own = project.compiled.template["parameters"]
    for module in nested(project.compiled.template).values():
        theirs = module["properties"]["template"].get("parameters", {})
        for parameter, value in module["properties"].get("parameters", {}).items():
            text = value.get("value") if isinstance(value, dict) else value
            found = re.fullmatch(r"\[parameters\('(?!location)(\w+)'\)\]", str(text))  # all regions are one list
            if found and [own[found[1]].get(end) for end in ENDS] != [theirs[parameter].get(end) for end in ENDS]:
                yield f"{found[1]} has another range where it is used, as {parameter}"


def ranges(project: Project) -> Iterator[str]:
    """Parameters allow exactly the values that the code accepts, and have the same defaults."""
    declared = project.compiled.template["parameters"]
    for name, (parameter, field) in NUMBERS.items():
        least, most = declared[parameter].get("minValue"), declared[parameter].get("maxValue")
        if least is None or most is None or not (_takes(name, str(least)) and _takes(name, str(most))):
            yield f"{parameter}: the code does not take all from {least} to {most}"
        elif _takes(name, str(most + 1)) or _takes(name, str(least - 1)):
            yield f"{parameter}: the code takes more than {least} to {most}"
        if getattr(settings.load_settings(LEAST), field) != declared[parameter].get("defaultValue"):
            yield f"{parameter}: its default is not the code's"
    for name, parameter in CHOICES.items():
        for choice in declared[parameter].get("allowedValues") or ["any"]:
            if not _takes(name, choice):
                yield f"{parameter}: the code takes no {choice}"


def _takes(name: str, value: str) -> bool:
    try:
        settings.load_settings({**LEAST, name: value})
    except SettingsError:
        return False
    return True
