"""Checks resource bodies against the type data: names, kinds, values, required and read-only properties."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.infra.bicep import ABSENT, File, Resource, at, fields
from tests.infra.trees import Node
from tests.infra.typedata import Shapes, known, properties

# Properties that Bicep adds to every resource.
GENERAL = {"dependsOn", "parent", "scope"}
PRIMITIVES = {"string", "int", "bool", "any", "object"}
MADE_BY_FUNCTIONS = {
    "string": {"guid", "join", "replace", "resourceId", "string", "subscriptionResourceId", "toLower", "uniqueString"},
    "bool": {"contains", "empty"},
    "array": {"concat", "split"},
    "object": {"union"},
}
OF_KIND = {"string": "string", "number": "int", "boolean": "bool", "object": "object", "array": "array"}


@dataclass(frozen=True, slots=True)
class Place:
    """The context of a value: its file and the shapes of its resource."""

    file: File
    shapes: Shapes


def faults(file: File) -> Iterator[str]:
    """Yield the faults of each resource in a file."""
    for resource in file.resources.values():
        shapes = known().get(resource.kind)
        if shapes is None:
            yield f"{resource.line}: {resource.type} is a type without type data"
        elif resource.type.partition("@")[2] != shapes.version:
            yield f"{resource.line}: {resource.type} is not the version that was checked, {shapes.version}"
        else:
            yield from _scope_faults(file, resource, shapes)
            yield from _body_faults(file, resource, shapes)


def _scope_faults(file: File, resource: Resource, shapes: Shapes) -> Iterator[str]:
    scopes = shapes.scopes.lower()
    if file.scope.lower() not in scopes and "all" not in scopes:
        yield f"{resource.line}: {resource.kind} cannot be made in a {file.scope}"
    parent = at(resource.body, "parent")
    if resource.kind.count("/") > 1 and not resource.is_existing:
        named = next(parent.all("identifier"), ABSENT).text
        expected = resource.kind.rpartition("/")[0]
        if named not in file.resources or file.resources[named].kind != expected:
            yield f"{resource.line}: the parent of {resource.name} is not a {expected}"


def _body_faults(file: File, resource: Resource, shapes: Shapes) -> Iterator[str]:
    given = {name: value for name, value in fields(resource.body).items() if name not in GENERAL}
    shape = shapes.of(at(resource.body, "name").literal())
    if resource.is_existing:
        if set(given) != {"name"}:
            yield f"{resource.line}: an existing resource has a name and nothing else"
        return
    yield from _object_faults(Place(file, shapes), shape, given, resource.name, resource.line)


def _object_faults(place: Place, shape: dict[str, Any], given: dict[str, Node], path: str, line: int) -> Iterator[str]:
    allowed = properties(shape)
    rest = shape.get("additionalPropertiesType")
    for name, value in given.items():
        member = allowed.get(name)
        if member is None:
            if rest is None:
                yield f"{value.line}: {path}.{name} is not a property of {shape['name']}"
            else:
                yield from _faults(place, rest, value, f"{path}.{name}")
        elif "ReadOnly" in member.get("flags", ""):
            yield f"{value.line}: {path}.{name} cannot be set"
        else:
            yield from _faults(place, member["type"], value, f"{path}.{name}")
    for name, member in allowed.items():
        if "Required" in member.get("flags", "") and (name not in given or given[name].kind == "null"):
            yield f"{line}: {path}.{name} is missing"


def _faults(place: Place, expected: str, value: Node, path: str) -> Iterator[str]:
    """Yield the faults of a value of the expected type. A value that only a deployment knows counts as correct."""
    value = _resolved(place.file, value)
    if value.kind == "ternary_expression":
        for branch in value.children[1:]:
            yield from _faults(place, expected, branch, path)
    elif expected.endswith("[]"):
        yield from _array_faults(place, expected.removesuffix("[]"), value, path)
    elif expected in place.shapes.objects and value.kind == "object":
        yield from _object_faults(place, place.shapes.objects[expected], fields(value), path, value.line)
    elif value.kind != "null":
        yield from _value_faults(place, expected, value, path)


def _array_faults(place: Place, element: str, value: Node, path: str) -> Iterator[str]:
    if value.kind == "for_statement":
        yield from _faults(place, element, value.children[-1], path)
    elif value.kind == "array":
        for child in value.children:
            yield from _faults(place, element, child, path)
    elif value.kind == "call_expression" and value.children[0].text == "concat":
        for argument in value.children[1].children:
            yield from _faults(place, f"{element}[]", argument, path)
    elif kind_of(place.file, value) not in (None, "array"):
        yield f"{value.line}: {path} is to be a list"


def _value_faults(place: Place, expected: str, value: Node, path: str) -> Iterator[str]:
    kind = kind_of(place.file, value)
    choices = [one.strip() for one in expected.split(" | ")]
    if expected in PRIMITIVES:
        if kind not in (None, expected) and expected != "any":
            yield f"{value.line}: {path} is to be {expected}, not {kind}"
    elif expected in place.shapes.objects:
        if kind not in (None, "object"):
            yield f"{value.line}: {path} is to be an object, not {kind}"
    elif kind not in (None, "string"):
        yield f"{value.line}: {path} is to be a string, not {kind}"
    elif (text := value.literal()) is not None and text not in choices:
        yield f"{value.line}: {path} is '{text}', not one of {expected}"


def _resolved(file: File, value: Node) -> Node:
    while value.kind == "parenthesized_expression" or (value.kind == "identifier" and value.text in file.variables):
        value = value.children[0] if value.children else file.variables[value.text]
    return value


def kind_of(file: File, value: Node) -> str | None:
    """Return the kind of an expression's value, or None if it is unknown."""
    value = _resolved(file, value)
    if value.kind == "identifier" and value.text in file.parameters:
        declared = file.parameters[value.text].type
        return "object" if declared in file.types else declared
    if value.kind == "call_expression":
        name = value.children[0].text
        return next((kind for kind, names in MADE_BY_FUNCTIONS.items() if name in names), None)
    if value.kind == "member_expression" and value.children[-1].text in ("id", "name") and len(value.children) == 2:
        return "string" if value.children[0].text in file.resources else None
    return OF_KIND.get(value.kind)
