"""The files of the console: small, whole, and without a way to make markup from text or to load from elsewhere."""

import re
from pathlib import Path

import pytest

from functions.console import HEADERS, PAGE, PAGES, POLICY, TYPES, files

SCRIPTS = sorted(PAGES.glob("*.js"))
ALL = sorted(PAGES.iterdir())
MOST_LINES = 300
MOST_BYTES = 120_000  # of the whole page
# What makes markup or code from text, and what would put a style or a script into the page itself.
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|\beval\b|new Function"
    r"|setHTML|srcdoc|<script>|\bstyle="
)
ADDRESS = re.compile(r"https?://[^\s\"'`<>]+")
IMPORT = re.compile(r'^import (?:\{(?P<names>[^}]*)\}|\* as \w+) from "\./(?P<file>[\w.]+)";', re.MULTILINE)
EXPORT = re.compile(r"^export (?:async )?(?:function\*?|const|class) (\w+)", re.MULTILINE)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_a_file_is_served_and_short(path: Path) -> None:
    """Every file has a known type. None is over 300 lines, and no line over 120 characters but the icon's."""
    assert path.suffix in TYPES
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES
    assert max(map(len, lines)) <= (120 if path.suffix != ".svg" else 400)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_no_file_makes_markup_of_text_or_names_another_place(path: Path) -> None:
    """The output of a model is hostile. Addresses stand only in comments, as the name of SVG and as an example."""
    text = path.read_text(encoding="utf-8")
    assert MARKUP.search(text) is None
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    assert {*ADDRESS.findall(code)} <= {"http://www.w3.org/2000/svg", "https://…", "https://."}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_imports_what_another_exports(path: Path) -> None:
    """A name that is missing would leave the page blank. Nothing is imported in vain."""
    text = path.read_text(encoding="utf-8")
    for found in IMPORT.finditer(text):
        exported = EXPORT.findall((PAGES / found["file"]).read_text(encoding="utf-8"))
        names = [name.strip() for name in (found["names"] or "").split(",") if name.strip()]
        assert {*names} <= {*exported}, found["file"]
        assert all(len(re.findall(rf"\b{name}\b", text)) > 1 for name in names), names


def test_every_file_is_reached_from_the_page() -> None:
    """What nothing names is not deployed."""
    named = set(re.findall(r"console/files/([\w.]+)", (PAGES / PAGE).read_text(encoding="utf-8")))
    for path in SCRIPTS:
        named |= {found["file"] for found in IMPORT.finditer(path.read_text(encoding="utf-8"))}
    assert named | {PAGE} == {path.name for path in ALL}


def test_the_files_are_read_once_and_named_by_their_content() -> None:
    """Two reads give the same objects. An ETag changes with the content, and the whole page is small."""
    assert files() is files()
    assert len({file.tag for file in files().values()}) == len(files())
    assert sum(len(file.body) for file in files().values()) < MOST_BYTES


def test_the_policy_allows_this_service_alone() -> None:
    """Nothing is inline, nothing comes from elsewhere, nobody frames the page, and no text becomes markup."""
    parts = dict(part.split(" ", 1) for part in POLICY.split("; "))
    assert parts.pop("require-trusted-types-for") == "'script'"
    assert set(parts.values()) == {"'none'", "'self'"}
    assert {name for name, value in parts.items() if value == "'self'"} == {
        *("script-src", "style-src", "connect-src", "img-src")
    }
    assert (HEADERS["X-Content-Type-Options"], HEADERS["Referrer-Policy"]) == ("nosniff", "no-referrer")
