"""docs/errors.md lists the codes of the service, all of them and no others."""

import ast
import re
from collections.abc import Iterator

from local.stack.process import ROOT
from tests.support.source_trees import MODULES

PAGE = (ROOT / "docs" / "errors.md").read_text("utf-8")
RULES = re.compile(r"callback_url_\w*")
"""docs/deliveries.md lists these."""

FAILURES = {"failure", "by_failure"}
"""The functions that make a response fail. Their first argument is the code."""


def listed() -> set[str]:
    """Return the codes in the first column of the tables."""
    return set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))


def text(node: ast.AST | None) -> str | None:
    """Return the text of a constant, or None."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def codes_in(node: ast.AST) -> Iterator[str | None]:
    """Yield the codes that a node of a syntax tree gives to an error."""
    match node:
        case ast.keyword(arg="code", value=value):
            yield text(value)
        case ast.Assign(targets=[ast.Name(id="code")], value=value):
            yield text(value)
        case ast.Dict(keys=names, values=values):
            yield from (text(value) for name, value in zip(names, values, strict=True) if text(name) == "code")
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[code, *_]) if name in FAILURES:
            yield text(code)


def used() -> set[str]:
    """Return the codes that the service gives to errors by name."""
    found = (code for tree in MODULES.values() for node in ast.walk(tree) for code in codes_in(node))
    return {code for code in found if code}


def test_every_code_of_the_service_is_on_the_page() -> None:
    """A reader who searches the page for a code finds it."""
    assert used() - listed() == set()


def test_every_code_of_the_page_is_one_of_the_service() -> None:
    """A code that no line of the service names is not listed."""
    constants = {text(node) for tree in MODULES.values() for node in ast.walk(tree)}
    assert listed() - constants == set()


def test_the_codes_of_callback_urls_are_on_their_page() -> None:
    """The page of deliveries has one for each rule of the URL policy."""
    calls = (node for node in ast.walk(MODULES["shared.senders.url_policy"]) if isinstance(node, ast.Call))
    refusals = (node for node in calls if isinstance(node.func, ast.Name) and node.func.id == "CallbackUrlRefused")
    rules = {text(node.args[0]) for node in refusals}
    table = (ROOT / "docs" / "deliveries.md").read_text("utf-8")
    assert rules
    assert {f"callback_url_{rule}" for rule in rules} <= set(RULES.findall(table))
