"""The files that a stranger expects in a project: they are there, and they say what they should."""

import json
import re
import tomllib
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.stack.process import ROOT

FILES = (
    *("README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "pyproject.toml", "shared/py.typed"),
    *(".editorconfig", ".pre-commit-config.yaml", ".devcontainer/devcontainer.json"),
    *(".github/dependabot.yml", ".github/PULL_REQUEST_TEMPLATE.md"),
    *(f".github/ISSUE_TEMPLATE/{name}.yml" for name in ("config", "bug", "feature")),
)
MANIFESTS = {"npm": "package.json", "nuget": "*.csproj", "uv": "requirements*.in", "pip": "*.txt"}
"""What an ecosystem of dependabot reads in a folder."""

OWN = ("node_modules", ".venv", ".setup", ".package")
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
"""The kinds of changes in a version, in the order of Keep a Changelog."""
SAME = 0.4
"""How many of its words an entry shares with another that says the same thing again. Different ones share under 0.2."""

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def text(name: str) -> str:
    """Return the text of a file of the project."""
    return (ROOT / name).read_text("utf-8")


def folders(manifest: str) -> set[str]:
    """Return the folders of the project that have such a file, as dependabot writes them."""
    found = (path.relative_to(ROOT) for path in ROOT.rglob(manifest) if not set(OWN) & set(path.parts))
    return {"/" + ("" if path.parent == Path() else path.parent.as_posix()) for path in found}


def updates() -> list[dict[str, Any]]:
    """Return the entries of dependabot, each with its folders in `directories`."""
    every: list[dict[str, Any]] = yaml.safe_load(text(".github/dependabot.yml"))["updates"]
    return [{"directories": [one.get("directory")], **one} for one in every]


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_a_stranger_expects_is_there(name: str) -> None:
    """It exists. Only the mark of types is empty."""
    assert bool(text(name)) == (name != "shared/py.typed")


def test_the_licence_is_mit_and_the_package_says_so() -> None:
    """The text of the licence, its holder, and the metadata agree."""
    licence = text("LICENSE")
    assert licence.startswith("MIT License\n\nCopyright (c) 2026 Background Responses contributors\n")
    assert 'THE SOFTWARE IS PROVIDED "AS IS"' in licence
    assert PROJECT["project"]["license"] == "MIT"
    assert PROJECT["project"]["authors"] == [{"name": "Background Responses contributors"}]


def versions() -> list[str]:
    """Return the versions of the changelog, newest first, each with its title."""
    return re.split(r"^## ", text("CHANGELOG.md"), flags=re.MULTILINE)[1:]


def entries(version: str) -> list[str]:
    """Return the entries of a version, each in one line."""
    found = re.split(r"^(?:- |### .*$)", version, flags=re.MULTILINE)[1:]
    return [" ".join(one.split()) for one in found if one.strip()]


def likeness(one: str, other: str) -> float:
    """Return the part of their longer words that two texts share: 1 if they have the same ones, 0 if none."""
    first, second = (set(re.findall(r"[a-z_]{4,}|\d{3}", words.lower())) for words in (one, other))
    return len(first & second) / len(first | second)


def test_the_changelog_has_the_form_of_keep_a_changelog() -> None:
    """The unreleased changes come first. A version has each kind of change at most once, in the usual order."""
    assert versions()[0].startswith("[Unreleased]\n")
    assert all(re.match(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d\n", one) for one in versions()[1:])
    for version in versions():
        kinds = re.findall(r"^### (.+)$", version, re.MULTILINE)
        assert kinds == [kind for kind in KINDS if kind in kinds]


def test_a_change_stands_in_a_section() -> None:
    """No entry stands directly below a version, where its kind would not be known."""
    for version in versions():
        assert "\n- " not in version.partition("\n### ")[0]


def test_a_change_stands_once_in_its_version() -> None:
    """A merge brings no entry a second time, also not in other words, where the two may differ in what they claim."""
    for version in versions():
        twice = [(a, b) for a, b in combinations(entries(version), 2) if likeness(a, b) >= SAME]
        assert twice == []


def test_a_vulnerability_has_a_page_of_its_own() -> None:
    """SECURITY.md says how to report one, and the form for bugs leads to it."""
    assert "SECURITY.md" in text(".github/ISSUE_TEMPLATE/bug.yml")
    assert re.search(r"report", text("SECURITY.md"), re.IGNORECASE)


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_a_form_for_issues_asks_and_has_names(name: str) -> None:
    """A form has a name, a description, and fields with unique ids, and at least one of them is required."""
    form = yaml.safe_load(text(f".github/ISSUE_TEMPLATE/{name}.yml"))
    fields = [one for one in form["body"] if one["type"] != "markdown"]
    assert form["name"]
    assert form["description"]
    assert len({one["id"] for one in fields}) == len(fields)
    assert any(one.get("validations", {}).get("required") for one in fields)


def test_the_form_for_bugs_warns_of_secrets() -> None:
    """Issues are public, so it names what not to paste."""
    form = text(".github/ISSUE_TEMPLATE/bug.yml")
    assert all(one in form for one in ("API keys", "signing secrets", "continuation tokens"))


def test_a_pull_request_is_asked_for_its_reason_and_its_proof() -> None:
    """The template asks what changes, why, how that is known, and for the line of the changelog."""
    template = text(".github/PULL_REQUEST_TEMPLATE.md")
    assert all(one in template for one in ("What changes, and why", "How you know", "`make check`", "CHANGELOG.md"))


@pytest.mark.parametrize("ecosystem", MANIFESTS)
def test_dependabot_reads_every_folder_with_packages(ecosystem: str) -> None:
    """A folder with a manifest is named, and a named folder has one. The .txt files beside .in files are uv's."""
    named = {folder for one in updates() if one["package-ecosystem"] == ecosystem for folder in one["directories"]}
    compiled = folders(MANIFESTS["uv"]) if ecosystem == "pip" else set()
    assert named == folders(MANIFESTS[ecosystem]) - compiled


def test_dependabot_reads_the_packages_and_the_actions() -> None:
    """It reads no other ecosystems. Workflows have versions, too."""
    assert {one["package-ecosystem"] for one in updates()} == {*MANIFESTS, "github-actions"}


def test_a_commit_is_checked_by_the_ruff_of_the_project() -> None:
    """The hooks lint and format, with the version that requirements-dev.txt locks."""
    hooks = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    locked = re.search(r"^ruff==\S+", text("requirements-dev.txt"), re.MULTILINE)
    assert locked
    assert {one["id"] for one in hooks} == {"ruff-check", "ruff-format"}
    assert [one["additional_dependencies"] for one in hooks] == [[locked[0]]] * 2


def test_editors_and_ruff_agree() -> None:
    """They use the same length of a line, and a Makefile is indented by tabs."""
    rules = text(".editorconfig")
    assert f"max_line_length = {PROJECT['tool']['ruff']['line-length']}\n" in rules
    assert "[Makefile]\nindent_style = tab\n" in rules


def test_a_package_can_be_built_of_the_app() -> None:
    """It has a build system, the app's modules with their types, the page, and the libraries of requirements.in."""
    setuptools = PROJECT["tool"]["setuptools"]
    assert PROJECT["build-system"]["build-backend"] == "setuptools.build_meta"
    assert setuptools["dynamic"]["dependencies"] == {"file": ["requirements.in"]}
    assert setuptools["package-data"] == {"shared": ["py.typed"], "functions": ["pages/*"]}


def test_the_container_for_editors_runs_what_the_readme_says() -> None:
    """It has a Python and a Node.js that the project supports, and installs by `make setup`."""
    container = json.loads(text(".devcontainer/devcontainer.json"))
    minor = re.fullmatch(r"mcr\.microsoft\.com/devcontainers/python:3\.(\d+)", container["image"])
    node = container["features"]["ghcr.io/devcontainers/features/node:1"]["version"]
    assert minor
    assert PROJECT["project"]["requires-python"] == ">=3.11,<3.14"
    assert 11 <= int(minor[1]) < 14
    assert int(node) >= 20
    assert container["postCreateCommand"] == "make setup"
    assert "\nsetup:" in text("Makefile")


def test_the_readme_can_be_read_at_once() -> None:
    """It has at most 130 lines, and its first screen has room for a picture."""
    lines = text("README.md").splitlines()
    assert len(lines) <= 130
    assert lines[0].startswith("# ")
    assert any("picture" in line or line.startswith(("![", "<picture", "<img")) for line in lines[1:12])
