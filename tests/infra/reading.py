"""Parses Bicep and YAML. It runs in the environment that has their grammars.

Reads texts by name from standard input and writes trees by name to standard output, both as JSON. A Bicep tree is
`[kind, text, line, is_wrong, children]`, without comments.
"""

import json
import sys
from typing import Any

import tree_sitter_bicep
import yaml
from tree_sitter import Language, Node, Parser


def tree(node: Node) -> list[Any]:
    """Return a node and its descendants as nested lists."""
    children = [tree(child) for child in node.children if _counts(child)]
    return [node.type, node.text.decode(), node.start_point.row + 1, node.is_error or node.is_missing, children]


def _counts(node: Node) -> bool:
    return (node.is_named and node.type not in ("comment", "diagnostic_comment")) or node.is_missing


def main() -> None:
    """Parse every text on standard input and print the trees."""
    parser = Parser(Language(tree_sitter_bicep.language()))
    texts: dict[str, str] = json.load(sys.stdin)
    read: dict[str, Any] = {}
    for name, text in texts.items():
        is_yaml = name.endswith((".yaml", ".yml"))
        read[name] = yaml.safe_load(text) if is_yaml else tree(parser.parse(text.encode()).root_node)
    json.dump(read, sys.stdout)


if __name__ == "__main__":
    main()
