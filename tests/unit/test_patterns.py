"""No regular expression of the product takes more than linear time, whatever text it gets.

One of quadratic time stops a process for a minute on a text of 100 KB, because Python's `re` leaves no other thread in.
"""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from functions import http
from shared.upstreams import specs
from tests.support.hostile_texts import USES, slow_text

ROOT = Path(__file__).parents[2]
_COMMON = {"sub": "finditer", "split": "finditer", "findall": "finditer", "subn": "finditer"}
# Patterns that are made when they are needed, by the function that makes them, and what it is given.
MADE: dict[tuple[str, str], tuple[str, Callable[[], re.Pattern[str]]]] = {
    ("functions/http.py", "_pattern"): (
        "fullmatch",
        lambda: http._pattern("/responses/{id}/deliveries/{target}"),
    ),
    ("shared/upstreams/specs.py", "_expression"): ("fullmatch", lambda: specs._expression("a*a*a*a*a*")),
    ("shared/upstreams/specs.py", "_scope"): ("fullmatch", lambda: re.compile(r"\S{1,300}")),
}


@cache
def _modules() -> dict[str, ast.Module]:
    """Return the source of each module that uses regular expressions, by its path."""
    paths = [
        ROOT / "function_app.py",
        *(path for name in ("shared", "functions") for path in (ROOT / name).rglob("*.py")),
    ]
    sources = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in paths}
    return {path: ast.parse(text) for path, text in sources.items() if "re." in text}


def _held() -> Iterator[tuple[str, str, str]]:
    """Return the module, the name and each use of the patterns that modules hold."""
    for path, tree in _modules().items():
        module = path.removesuffix(".py").replace("/", ".")
        if not any(isinstance(node, ast.Import) and node.names[0].name == "re" for node in tree.body):
            continue
        for name, value in vars(import_module(module)).items():
            if isinstance(value, re.Pattern):
                for used in sorted(_uses(tree, name)):
                    yield module, name, used


def _uses(tree: ast.Module, name: str) -> set[str]:
    """Return how a pattern is used. One that is passed on may be used in every way."""
    trees = [tree] if name.startswith("_") else _modules().values()
    nodes = [node for one in trees for node in ast.walk(one)]
    reads = sum(_is_read(node, name) for node in nodes)
    methods = [node.attr for node in nodes if isinstance(node, ast.Attribute) and _is_read(node.value, name)]
    is_passed_on = reads > len(methods)
    return set(USES) if is_passed_on else {_COMMON.get(method, method) for method in methods} - {"pattern"}


def _is_read(node: ast.AST, name: str) -> bool:
    is_name = isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)
    return is_name or (isinstance(node, ast.Attribute) and node.attr == name)


@pytest.mark.parametrize(("module", "name", "used"), list(_held()), ids=lambda one: str(one).rpartition(".")[2])
def test_a_pattern_takes_linear_time(module: str, name: str, used: str) -> None:
    """Four times the text may take four times as long, and not sixteen times."""
    assert slow_text(vars(import_module(module))[name], used) is None


@pytest.mark.parametrize("made", MADE, ids="-".join)
def test_a_pattern_that_is_made_when_needed_takes_linear_time(made: tuple[str, str]) -> None:
    """The pattern of a model may have many stars, and a caller names the model."""
    used, pattern = MADE[made]
    assert slow_text(pattern(), used) is None


def test_each_pattern_is_known_here() -> None:
    """A pattern that is made within a function is in the list above."""
    inside = {
        (path, function.name)
        for path, tree in _modules().items()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "re"
        if node.attr in {*USES, *_COMMON, "compile"}
    }
    assert inside == set(MADE)


@pytest.mark.parametrize(
    ("used", "pattern"),
    [
        ("search", r"<title[^>]*>([^<]+)</title>"),
        ("search", r"OpenAI/\S+ \(\.NET "),
        ("fullmatch", r"[a-z]+://(?:[^/\s]*@)?[^/\s@]*[^?\s]*"),
        ("fullmatch", r"a.*a.*a.*a"),
        ("fullmatch", r"(?:a+)+"),
        ("finditer", r"\s+$"),
        ("search", rb"\d+x"),
    ],
)
def test_a_slow_pattern_is_found(used: str, pattern: Any) -> None:
    """Some of these were in the product."""
    assert slow_text(re.compile(pattern), used)


@pytest.mark.parametrize(
    ("pattern", "model", "is_match"),
    [
        ("gpt-*", "gpt-5", True),
        ("gpt-*", "xgpt-5", False),
        ("*-mini", "gpt-mini-mini", True),
        ("gpt-*-*-2026", "gpt-5-mini-2026", True),
        ("gpt-*-*-2026", "gpt-5-2026", False),
        ("*a*b*", "xxaxxbxx", True),
        ("*a*b*", "xxbxxaxx", False),
        ("a*a", "a", False),
        ("gpt-5", "gpt-5", True),
        ("gpt-5", "gpt-5a", False),
        ("a*", "a\nb", True),
    ],
)
def test_the_stars_of_a_pattern_of_models_stand_for_any_text(pattern: str, model: str, is_match: bool) -> None:
    """Each part between two stars is looked for once."""
    assert (specs._expression(pattern).fullmatch(model) is not None) is is_match
