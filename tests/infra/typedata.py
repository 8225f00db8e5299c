"""The compiler's type data, and handwritten shapes for the types that the package has no data for."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from tests.infra.trees import TYPES

SHAPES = Path(__file__).parent / "shapes.json"


class Shapes:
    """The shapes of one resource type: its body, and the objects that the body refers to."""

    def __init__(self, version: str, scopes: str, body: dict[str, Any], objects: dict[str, dict[str, Any]]) -> None:
        self.version = version
        self.scopes = scopes
        self.body = body
        self.objects = objects

    def of(self, name: str | None) -> dict[str, Any]:
        """Return the shape of the body. If its shape depends on the resource's name, return the one for this name."""
        if self.body["$type"] != "DiscriminatedObject":
            return self.body
        forms = [form for form in self.body["elements"] if properties(form)["name"]["type"] == name]
        return forms[0] if forms else {"$type": "Object", "properties": []}


def properties(shape: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the properties of an object's shape, by name."""
    return {one["name"]: one for one in shape.get("properties", [])}


@cache
def known() -> dict[str, Shapes]:
    """Return the shapes of all known types, by type name. Handwritten shapes replace those of the package."""
    fetched = json.loads(TYPES.read_text(encoding="utf-8"))
    found = {name: _fetched(entries) for name, entries in fetched.items() if entries}
    return found | by_hand()


@cache
def by_hand() -> dict[str, Shapes]:
    """Return the handwritten shapes, by type name: types that Microsoft publishes and the package lacks.

    Sources: Azure/bicep-types-az, generated/monitor and generated/privatedns, and azure-mgmt-monitor 7.0.0.
    """
    written = json.loads(SHAPES.read_text(encoding="utf-8"))
    return {name.partition("@")[0]: _written(name.partition("@")[2], shapes) for name, shapes in written.items()}


def without_data() -> set[str]:
    """Return the types that were requested from the package and for which it has no data."""
    return {name for name, entries in json.loads(TYPES.read_text(encoding="utf-8")).items() if not entries}


def _fetched(entries: list[dict[str, Any]]) -> Shapes:
    (resource,) = (one for one in entries if one["$type"] == "Resource")
    objects = {one["name"]: one for one in entries if one["$type"] in ("Object", "DiscriminatedObject")}
    version = resource["name"].partition("@")[2]
    return Shapes(version, resource["writableScopes"], resource["bodyType"], objects)


def _written(version: str, shapes: dict[str, dict[str, str]]) -> Shapes:
    objects = {name: _object(name, members) for name, members in shapes.items()}
    return Shapes(version, "ResourceGroup", objects.pop(""), objects)


def _object(name: str, members: dict[str, str]) -> dict[str, Any]:
    flags = {"!": "Required", "-": "ReadOnly"}
    listed = [
        {"name": key, "type": kind.rstrip("!-"), "flags": flags.get(kind[-1], "")}
        for key, kind in members.items()
        if key != "*"
    ]
    return {"$type": "Object", "name": name, "properties": listed, "additionalPropertiesType": members.get("*")}
