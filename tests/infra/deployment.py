"""A deployment as the compiler evaluates it: resources with their final values. What only Azure knows stays a text."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# The functions that an evaluation without Azure leaves, where they only join texts of the public cloud.
_SUFFIX = "environment().suffixes.storage"
_LOGIN = "environment().authentication.loginEndpoint"
_JOINED = re.compile(r"format\('([^']*)'((?:, '[^']*')+)\)")
_REPLACED = re.compile(r"replace\('([^']*)', '([^']*)', '([^']*)'\)")
_IDENTIFIED = re.compile(r"resourceId\('([^']*)', '([^']*)', '([^']*)', '([^']*)'\)")
_REFERENCE = re.compile(r"reference\('([^']*)', '[^']*'\)\.([\w.]+(?:\['[^']*'\])?)")


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource: its id, its type, and its body."""

    id: str
    kind: str
    body: dict[str, Any]

    @property
    def name(self) -> str:
        """Return its own name, without those of the resources that it belongs to."""
        return str(self.body["name"]).rpartition("/")[2]

    def at(self, path: str) -> Any:
        """Return the value at a path of members and indexes such as `properties.subnets.0`, or None."""
        return value_at(self.body, path)


def value_at(body: Any, path: str) -> Any:
    """Return the value at a path of members and indexes, or None."""
    found = body
    for name in path.split("."):
        if isinstance(found, list):
            found = found[int(name)] if name.isdecimal() and int(name) < len(found) else None
        else:
            found = found.get(name) if isinstance(found, dict) else None
    return found


@dataclass(frozen=True, slots=True)
class Deployment:
    """The resources and outputs of a variant, and the values that it gives to parameters."""

    name: str
    resources: tuple[Resource, ...]
    outputs: dict[str, Any]
    given: dict[str, Any]

    def of(self, kind: str) -> list[Resource]:
        """Return the resources of a type."""
        return [one for one in self.resources if one.kind == kind]

    def one(self, kind: str) -> Resource:
        """Return the only resource of a type. Where it is not the only one, it has no values."""
        found = self.of(kind)
        return found[0] if len(found) == 1 else Resource(f"no {kind}", kind, {"name": ""})

    def settings(self) -> list[tuple[Any, Any]]:
        """Return the app settings, in order."""
        listed = self.one("Microsoft.Web/sites").at("properties.siteConfig.appSettings") or []
        return [(one.get("name"), one.get("value")) for one in listed]


def evaluated(name: str, snapshot: dict[str, Any], given: dict[str, Any]) -> Deployment:
    """Return the deployment that a snapshot describes."""
    resources = tuple(
        Resource(str(one["id"]), str(one["type"]), one) for one in settled(snapshot["predictedResources"])
    )
    return Deployment(name, resources, settled(snapshot.get("outputs") or {}), given)


def settled(value: Any) -> Any:
    """Return a value in which the ends of addresses are those of the public cloud."""
    if isinstance(value, dict):
        return {key: settled(one) for key, one in value.items()}
    if isinstance(value, list):
        return [settled(one) for one in value]
    return _text(value) if isinstance(value, str) and value.startswith("[") else value


def _text(text: str) -> str:
    found = text.replace(_SUFFIX, "'core.windows.net'").replace(_LOGIN, "'https://login.microsoftonline.com/'")
    while (joined := _JOINED.sub(_join, found)) != found:
        found = joined
    found = _REPLACED.sub(lambda one: f"'{one[1].replace(one[2], one[3])}'", found)
    found = _IDENTIFIED.sub(
        lambda one: f"'/subscriptions/{one[1]}/resourceGroups/{one[2]}/providers/{one[3]}/{one[4]}'", found
    )
    plain = re.fullmatch(r"\['([^']*)'\]", found)
    return plain[1] if plain else found


def _join(call: "re.Match[str]") -> str:
    text = str(call[1])
    for number, value in enumerate(re.findall(r"'([^']*)'", call[2])):
        text = text.replace(f"{{{number}}}", value)
    return f"'{text}'"


def referred(text: Any) -> tuple[str, str] | None:
    """Return the id and the property if a text is what only Azure knows of a resource, with nothing around it."""
    found = re.fullmatch(r"\[(.*)\]", str(text))
    whole = _REFERENCE.fullmatch(found[1]) if found else None
    return (whole[1], whole[2]) if whole else None


def formatted(text: Any) -> str:
    """Return a text in which what only Azure knows stands as `{type.property}`: `https://{sites.defaultHostName}`."""
    found: str = _REFERENCE.sub(lambda one: f"<{one[1].split('/')[-2]}.{one[2]}>", str(text))
    call = re.fullmatch(r"\[format\('([^']*)', (.*)\)\]", found)
    if call is None:
        return re.sub(r"^\[(<.*>)\]$", r"\1", found).replace("<", "{").replace(">", "}")
    result = str(call[1])
    for number, value in enumerate(re.findall(r"<[^>]*>|'[^']*'", call[2])):
        result = result.replace(f"{{{number}}}", value.strip("'"))
    return result.replace("<", "{").replace(">", "}")


def canonical(snapshot: dict[str, Any]) -> str:
    """Return a snapshot as text that is the same in every run: sorted, and without the compiler's order of outputs."""
    resources = sorted(snapshot["predictedResources"], key=lambda one: (one["type"], str(one["id"])))
    whole = {"resources": resources, "outputs": snapshot.get("outputs") or {}}
    return json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def templates(template: dict[str, Any], name: str = "main") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every template by name: `main`, those of its modules, and those of theirs."""
    yield name, template
    for inner, one in nested(template).items():
        yield from templates(one["properties"]["template"], inner)


def listed(template: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the resources and modules of a template, with their symbols."""
    resources = template.get("resources", {})
    found = resources.items() if isinstance(resources, dict) else enumerate(resources)
    return [(str(key), one) for key, one in found]


def nested(template: dict[str, Any]) -> dict[str, Any]:
    """Return the modules of a template, by name."""
    return {key: one for key, one in listed(template) if one.get("type") == "Microsoft.Resources/deployments"}
