"""Reads what a Bicep file declares from its syntax tree. Covers only the dialect that this project uses."""

from dataclasses import dataclass, field

from tests.infra.trees import Node

ABSENT = Node("null", "null", 0, False, ())

LOOPING = {"identifier", "loop_variable", "loop_enumerator"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter: its type as written, its default or None, and the arguments of its decorators by name."""

    name: str
    type: str
    default: Node | None
    decorators: dict[str, tuple[Node, ...]]

    def number(self, decorator: str) -> int | None:
        """Return the number in a decorator, or None without it."""
        given = self.decorators.get(decorator)
        return int(given[0].text) if given else None

    def allowed(self) -> list[str]:
        """Return the allowed values as text. The list is empty if any value is allowed."""
        (given,) = self.decorators.get("allowed") or (ABSENT,)
        return [child.literal() or child.text for child in given.children]


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource or module: its type, condition, loop variables and body."""

    name: str
    type: str
    is_existing: bool
    condition: Node | None
    loop: tuple[str, ...]
    body: Node
    line: int

    @property
    def kind(self) -> str:
        """Return the type without its version."""
        return self.type.partition("@")[0]


@dataclass(slots=True)
class File:
    """The declarations of one file, by name."""

    tree: Node
    scope: str = "resourceGroup"
    parameters: dict[str, Parameter] = field(default_factory=dict)
    variables: dict[str, Node] = field(default_factory=dict)
    resources: dict[str, Resource] = field(default_factory=dict)
    modules: dict[str, Resource] = field(default_factory=dict)
    outputs: dict[str, Node] = field(default_factory=dict)
    types: dict[str, Node] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)


def declared(tree: Node) -> File:
    """Return the declarations in a tree."""
    file = File(tree)
    decorators: dict[str, tuple[Node, ...]] = {}
    for node in tree.children:
        if node.kind == "decorators":
            decorators = dict(_decorator(one) for one in node.children)
            continue
        _declare(file, node, decorators)
        decorators = {}
    return file


def _decorator(node: Node) -> tuple[str, tuple[Node, ...]]:
    call = node.children[0]
    return call.children[0].text, call.children[1].children


def _declare(file: File, node: Node, decorators: dict[str, tuple[Node, ...]]) -> None:
    if node.kind == "target_scope_assignment":
        file.scope = next((text for one in node.walk() if (text := one.literal())), "")
        return
    if not node.children:
        return
    name, *rest = node.children
    if node.kind != "output_declaration":
        file.names.append(name.text)  # outputs have a separate namespace
    plain = {"variable": file.variables, "output": file.outputs, "type": file.types}
    things = {"resource": file.resources, "module": file.modules}
    kind = node.kind.removesuffix("_declaration")
    if kind == "parameter":
        default = rest[1] if len(rest) > 1 else None
        file.parameters[name.text] = Parameter(name.text, rest[0].text, default, decorators)
    elif kind in plain:
        plain[kind][name.text] = rest[-1]
    elif kind in things:
        things[kind][name.text] = _resource(node)


def _resource(node: Node) -> Resource:
    name, kind, body = node.children[0], node.children[1], node.children[-1]
    loop: tuple[str, ...] = ()
    condition = None
    if body.kind == "for_statement":
        *heads, _over, body = body.children
        loop = tuple(one.text for head in heads for one in head.walk() if one.kind in LOOPING)
    if body.kind == "if_statement":
        condition, body = body.children[0], body.children[-1]
    is_existing = " existing " in node.text[: node.text.find("=")]
    return Resource(name.text, kind.literal() or "", is_existing, condition, loop, body, node.line)


def fields(node: Node) -> dict[str, Node]:
    """Return the properties of an object by name. Any other node has none."""
    found = {}
    for one in node.children if node.kind == "object" else ():
        if one.kind == "object_property" and len(one.children) > 1:
            key = one.children[0]
            found[key.literal() or key.text] = one.children[-1]
    return found


def at(node: Node, *path: str) -> Node:
    """Return the node at a path of property names and list indexes, or ABSENT."""
    for name in path:
        if node.kind == "array" and name.isdecimal():
            node = node.children[int(name)] if int(name) < len(node.children) else ABSENT
        else:
            node = fields(node).get(name, ABSENT)
    return node
