"""Syntax trees of Bicep. A process in the environment that has the grammar parses many texts at once."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv" / "infra"
TYPES = ENVIRONMENT / "types.json"
PROGRAM = Path(__file__).parent / "reading.py"


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the syntax tree, with its text and line number."""

    kind: str
    text: str
    line: int
    is_wrong: bool
    children: tuple["Node", ...]

    def walk(self) -> Iterator["Node"]:
        """Yield this node and all its descendants."""
        yield self
        for child in self.children:
            yield from child.walk()

    def all(self, kind: str) -> Iterator["Node"]:
        """Return an iterator over every node of a kind, this one included."""
        return (node for node in self.walk() if node.kind == kind)

    def literal(self) -> str | None:
        """Return the text of a plain string. Return None for other nodes and for strings with interpolations."""
        if self.kind != "string" or any(child.kind == "interpolation" for child in self.children):
            return None
        return self.text[1:-1].replace("\\'", "'")


def read(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the parsed texts, by name: a Node for Bicep, plain values for YAML."""
    python = str(ENVIRONMENT / "bin" / "python")
    done = subprocess.run(
        [python, str(PROGRAM)], input=json.dumps(dict(texts)), capture_output=True, text=True, check=True, timeout=60
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return {name: _node(value) if name.endswith(".bicep") else value for name, value in found.items()}


def _node(value: list[Any]) -> Node:
    kind, text, line, is_wrong, children = value
    return Node(kind, text, line, is_wrong, tuple(_node(child) for child in children))
