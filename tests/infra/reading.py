"""Reads Bicep and YAML, in the environment that has their grammars: texts by name in, trees by name out, as JSON.

A tree is `[kind, text, line, is_wrong, children]`, comments left out.
"""

import json
import sys
from typing import Any

import tree_sitter_bicep
import yaml
from tree_sitter import Language, Node, Parser


def tree(node: Node) -> list[Any]:
    """Return a node with all below it."""
    children = [tree(child) for child in node.children if _counts(child)]
    return [node.type, node.text.decode(), node.start_point.row + 1, node.is_error or node.is_missing, children]


def _counts(node: Node) -> bool:
    return (node.is_named and node.type not in ("comment", "diagnostic_comment")) or node.is_missing


def main() -> None:
    """Read everything that is given."""
    parser = Parser(Language(tree_sitter_bicep.language()))
    texts: dict[str, str] = json.load(sys.stdin)
    read: dict[str, Any] = {}
    for name, text in texts.items():
        is_yaml = name.endswith((".yaml", ".yml"))
        read[name] = yaml.safe_load(text) if is_yaml else tree(parser.parse(text.encode()).root_node)
    json.dump(read, sys.stdout)


if __name__ == "__main__":
    main()
