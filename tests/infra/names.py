"""Checks names: every name used is declared, every name declared is used, and modules fit where they are used."""

import re
from collections.abc import Iterator, Mapping

from tests.infra.bicep import File, Resource, at, fields
from tests.infra.trees import Node
from tests.infra.typed import kind_of
from tests.infra.typedata import Shapes, known, properties

FUNCTIONS = {
    "resourceGroup",
    "concat", "contains", "empty", "environment", "guid", "join", "replace", "resourceId", "split", "string",
    "subscription", "subscriptionResourceId", "tenant", "toLower", "union", "uniqueString",
}  # fmt: skip
# Syntax that a tool cannot analyse, or that exposes a secret.
BANNED = re.compile(r"\.\.\.|resourceInput<|\bdeployer\(|\bbr[:/]|'ts[:/]|\blist[A-Z]\w*\(|AccountKey=|\$\{\s*\}|'''")
Files = Mapping[str, File]


def grammar_faults(file: File, text: str) -> Iterator[str]:
    """Yield syntax errors, and syntax that this project does not allow."""
    for node in file.tree.walk():
        if node.is_wrong:
            yield f"{node.line}: this is not Bicep: {node.text[:40]!r}"
    for number, line in enumerate(text.splitlines(), 1):
        code = line.partition(" //")[0].rstrip()
        if found := BANNED.search(code):
            yield f"{number}: {found.group()} blinds the checks, or shows a secret"
        if code.endswith(","):
            yield f"{number}: a line that ends in a comma is not Bicep, whatever the grammar says"
    for name in {name for name in file.names if file.names.count(name) > 1}:
        yield f"{name} is declared twice"


def name_faults(file: File) -> Iterator[str]:
    """Yield names that are used and not declared, unknown functions, and names that are declared and not used."""
    used: set[str] = set()
    for node in file.tree.children:
        if node.kind == "decorators" or not node.children:
            continue
        names = {name for child in node.children[1:] for name in _used(child)}
        local = {one.text for one in node.walk() if one.kind in ("loop_variable", "loop_enumerator")}
        local |= {loop.children[0].text for loop in node.all("for_statement") if loop.children[0].kind == "identifier"}
        used |= names
        known_names = {*file.names, *local, *FUNCTIONS, "string", "object", "array", "bool", "int"}
        yield from (f"{node.line}: {name} is declared nowhere" for name in sorted(names - known_names))
    existing = {name for name, one in file.resources.items() if one.is_existing}
    idle = {*file.parameters, *file.variables, *file.types, *existing} - used
    yield from (f"{name} is declared for nothing" for name in sorted(idle))


def _used(node: Node) -> Iterator[str]:
    children = node.children
    if node.kind == "identifier":
        yield node.text
    if node.kind == "object_property":
        children = children[1:]
    for child in children:
        yield from _used(child)


def parameter_faults(file: File) -> Iterator[str]:
    """Yield parameters without a description, without a range, or with a default outside the range."""
    for parameter in file.parameters.values():
        if not parameter.decorators.get("description"):
            yield f"{parameter.name} has no description"
        if parameter.type == "int" and not parameter.allowed() and "maxValue" not in parameter.decorators:
            yield f"{parameter.name} has no range"
        if parameter.default is None:
            continue
        text = parameter.default.literal() or parameter.default.text
        if parameter.allowed() and text not in parameter.allowed():
            yield f"{parameter.name} is {text} by default, which is not allowed"
        least, most = parameter.number("minValue"), parameter.number("maxValue")
        if parameter.type == "int" and least is not None and most is not None and not least <= int(text) <= most:
            yield f"{parameter.name} is {text} by default, which is out of its range"


def module_faults(files: Files, name: str) -> Iterator[str]:
    """Yield the faults of the modules that a file uses: their parameters, scopes and outputs."""
    file = files[name]
    for module in file.modules.values():
        target = files.get(f"infra/{module.type}")
        if target is None:
            yield f"{module.line}: there is no {module.type}"
            continue
        given = fields(at(module.body, "params"))
        needed = {one.name for one in target.parameters.values() if one.default is None}
        yield from (f"{module.line}: {module.name} lacks {one}" for one in sorted(needed - given.keys()))
        yield from (f"{module.line}: {module.name} takes no {one}" for one in sorted(given.keys() - target.parameters))
        for one in given.keys() & target.parameters.keys():
            yield from _argument_faults(file, given[one], target, one)
        if "scope" not in fields(module.body):
            yield f"{module.line}: {module.name} has no scope"
    yield from _reference_faults(files, file)


def _argument_faults(file: File, value: Node, target: File, name: str) -> Iterator[str]:
    expected = target.parameters[name].type
    members = target.types.get(expected)
    kind, wanted = kind_of(file, value), "object" if members else expected
    if kind not in (None, wanted):
        yield f"{value.line}: {name} is to be {wanted}, not {kind}"
    if members:
        odd = fields(members).keys() ^ fields(value).keys()
        yield from (f"{value.line}: {name}.{one} is not on both sides" for one in sorted(odd))
    if value.kind == "identifier" and value.text in file.parameters:
        yield from _range_faults(file, value.text, target, name)


def _range_faults(file: File, given: str, target: File, name: str) -> Iterator[str]:
    own, theirs = file.parameters[given], target.parameters[name]
    ends = ("minValue", "maxValue")
    if own.allowed() != theirs.allowed() or [own.number(end) for end in ends] != [theirs.number(end) for end in ends]:
        yield f"{given} has another range where it is used, as {name}"


def _reference_faults(files: Files, file: File) -> Iterator[str]:
    for node in file.tree.all("member_expression"):
        parts = re.split(r"[.!?]+", re.sub(r"\[[^\]]*\]", "", node.text))
        if (module := file.modules.get(parts[0])) and parts[1:2] == ["outputs"] and len(parts) == 3:
            target = files.get(f"infra/{module.type}")
            if target and parts[2] not in target.outputs:
                yield f"{node.line}: {module.type} has no output {parts[2]}"
            if (module.condition is not None) != ("!." in node.text):
                yield f"{node.line}: {node.text}: '!' goes with a module that may be absent, and with no other"
        elif (resource := file.resources.get(parts[0])) and (shapes := known().get(resource.kind)):
            yield from _path_faults(resource, shapes, parts[1:], node)


def _path_faults(resource: Resource, shapes: Shapes, path: list[str], node: Node) -> Iterator[str]:
    shape = shapes.of(at(resource.body, "name").literal())
    for name in path:
        member = properties(shape).get(name)
        if member is None and name not in ("id", "name", "type"):
            if not shape.get("additionalPropertiesType"):
                yield f"{node.line}: {node.text}: {resource.kind} has no {name}"
            return
        following = shapes.objects.get(member["type"]) if member else None
        if following is None:
            return
        shape = following
