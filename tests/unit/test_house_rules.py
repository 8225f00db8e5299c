"""House rules: sizes, names, a test file for every module, and pages that lead somewhere."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from local.stack.process import ROOT
from tests.support.source_trees import (
    MODULES,
    PACKAGES,
    PATHS,
    PRODUCT,
    Function,
    functions,
    imported,
    parsed,
    sources,
    used,
)

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
MAX_FILES = 15
MAX_LINES = 300
SURROUNDINGS = ("local", "tests", "infra/hooks", "examples")


LIKE_WINDOWS = ROOT / "tests" / "support" / "like_windows" / "sitecustomize.py"
"""It takes from a Python what Python for Windows lacks, which nothing but a replacement can do."""

REPLACING = {"setattr", "delattr", "setitem", "delitem", "patch"}


def replacements(tree: ast.Module) -> set[str]:
    """Return what in a module replaces code: mocks, functions that set members, and assignments to imported members."""
    mocks = {one for one in imported(tree) if one.startswith(("unittest.mock", "mock"))}
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    known = {alias.asname or alias.name.partition(".")[0] for node in imports for alias in node.names}
    members = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    written = {ast.unparse(one) for one in members if not isinstance(one.ctx, ast.Load) and owner(one) in known}
    return mocks | (used(tree) & REPLACING) | written


def owner(member: ast.expr) -> str:
    """Return the name before the first dot: `a` of `a.b.c`, and an empty text if there is none."""
    while isinstance(member, ast.Attribute):
        member = member.value
    return member.id if isinstance(member, ast.Name) else ""


def test_a_package_can_be_surveyed() -> None:
    """It has at most 15 modules."""
    counts = Counter(name.rpartition(".")[0] for name in MODULES.keys() - PACKAGES)
    assert {package for package, count in counts.items() if count > MAX_FILES} == set()


def test_a_file_can_be_read_in_one_sitting() -> None:
    """It has at most 300 lines, also beside the product."""
    long = {path.name for path in sources(*PRODUCT, *SURROUNDINGS) if path.read_text("utf-8").count("\n") > MAX_LINES}
    assert not long


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_public_function_name_exists_once_in_its_package(package: str) -> None:
    """Two functions of one package have different names."""
    names = Counter(
        node.name
        for name, tree in MODULES.items()
        if name.rpartition(".")[0] == package
        for node in tree.body
        if isinstance(node, Function) and not node.name.startswith("_")
    )
    assert {name for name, count in names.items() if count > 1} == set()


TOLD_APART = {
    *("Answer", "Bounds", "Kind", "Limits", "Operation", "Outlook", "Oversized", "Page", "Phase", "Place", "Status"),
    "Turn",
}
"""Names of classes in two packages, which no module uses for both."""


def test_a_public_class_name_exists_once() -> None:
    """A reader takes two classes of one name for one."""
    names = Counter(
        node.name
        for name, tree in MODULES.items()
        for node in tree.body
        if name.startswith("shared.") and isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert {name for name, count in names.items() if count > 1} == TOLD_APART


@pytest.mark.parametrize("package", sorted(PACKAGES - {"functions"}))
def test_a_package_says_what_it_is_for(package: str) -> None:
    """Its docstring is one line."""
    purpose = ast.get_docstring(MODULES[package])
    assert purpose
    assert "\n" not in purpose


@pytest.mark.parametrize("name", sorted(name for name in MODULES.keys() - PACKAGES if name.startswith("shared.")))
def test_a_module_has_a_test_file_of_its_name(name: str) -> None:
    """In the tier of unit tests or in that of storage tests, at the same place."""
    place = PATHS[name].relative_to(ROOT / "shared")
    tiers = [ROOT / "tests" / tier / place.parent / f"test_{place.name}" for tier in ("unit", "storage")]
    assert any(path.is_file() for path in tiers), f"expected one of {[str(path.relative_to(ROOT)) for path in tiers]}"


def test_no_test_replaces_code() -> None:
    """There is no mock, and no test sets a member of a module or an object from outside. The seams are enough."""
    assert {path: found for path in sources("tests") if (found := replacements(parsed(path)))}.keys() == {LIKE_WINDOWS}


@pytest.mark.parametrize(
    "text",
    [
        *("setattr(os, 'x', y)", "delattr(os, 'x')", "monkeypatch.setattr(os, 'x', y)", "mocker.patch('os.x')"),
        *(
            "import os\nos.x = y",
            "import os\nos.path.x: int = y",
            "from os import path\npath.x += 1",
            "import os\ndel os.x",
        ),
        *("import os\nos.x, y = z", "from unittest.mock import Mock", "import os as o\no.x = y"),
    ],
)
def test_every_way_to_replace_code_is_seen(text: str) -> None:
    """By a function, by a fixture, or by an assignment to a member of what is imported."""
    assert replacements(ast.parse(text))


def test_members_of_what_a_test_makes_are_its_own() -> None:
    """It may set and delete these."""
    assert replacements(ast.parse("import os\nmade = os.stat('.')\nmade.x = 1\ndel made.x\nx = os.path")) == set()


@pytest.mark.parametrize("path", sources("tests"), ids=lambda path: str(Path(path).relative_to(ROOT)))
def test_every_test_says_what_it_shows(path: Path) -> None:
    """The docstrings of the tests are the specification."""
    tests = [one for one in functions(parsed(path)) if one.name.startswith("test_")]
    assert [one.name for one in tests if not ast.get_docstring(one)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_of_a_page_leads_to_a_file(page: Path) -> None:
    """Every relative link names a file or a folder of the project."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def headings(page: Path) -> list[str]:
    """Return the headings of a page, without what its programs have as comments."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^#+ (.+)$", text, re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings(page)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_heading_stands_once_on_its_page(page: Path) -> None:
    """A link to a second one of the same words would lead to the first."""
    assert [heading for heading, count in Counter(headings(page)).items() if count > 1] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_to_a_heading_leads_to_one(page: Path) -> None:
    """Every relative link with an anchor names a heading of its page."""
    links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    assert [(path, name) for path, name in links if name not in anchors(page.parent / path if path else page)] == []


def test_the_architecture_page_draws_every_package() -> None:
    """Each package and each module directly in `shared` has a line in the drawing."""
    drawing = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("```")[1]
    names = {
        path.name for path in (ROOT / "shared").iterdir() if not path.name.startswith("__") and path.suffix != ".typed"
    }
    assert {name for name in names if not re.search(rf"^   {re.escape(name)}/? ", drawing, re.MULTILINE)} == set()


def test_every_invariant_of_the_readme_has_a_test_file_of_its_name() -> None:
    """The README has nine invariants. The bold words of each, up to a comma, are the name of its file."""
    titles = re.findall(r"^\d\. \*\*([^,.*]+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(titles) == 9
    names = {f"test_{title.lower().replace(' ', '_')}.py" for title in titles}
    assert names == {path.name for path in (ROOT / "tests" / "invariants").glob("test_*.py")}


def test_every_right_of_an_attacker_is_shown_by_tests_that_exist() -> None:
    """Each row of the table in docs/security.md names some, but for the one in which nothing is out of reach."""
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| **")]
    named = [re.findall(r"`(tests/[a-z_/]+\.py)`", row) for row in rows]
    assert len(rows) >= 10
    assert [row[:60] for row, tests in zip(rows, named, strict=True) if not tests and "nothing is out" not in row] == []
    assert [test for tests in named for test in tests if not (ROOT / test).is_file()] == []
