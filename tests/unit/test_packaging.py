"""What is deployed: the files that .funcignore allows, and the exact libraries in requirements.txt."""

import re
from collections.abc import Callable, Iterator

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pathspec import GitIgnoreSpec

from functions import console
from infra.hooks.package import Excludes, by_core_tools, deployed
from local.stack.process import ROOT
from tests.support.deployment_package import by_git

READERS = [pytest.param(by_git, id="git"), pytest.param(by_core_tools, id="core tools")]
PYTHONS = ["3.11", "3.12", "3.13"]
LOCKS = ["requirements", "requirements-agents", "requirements-dev"]
OUTSIDE = [
    *(
        ".env",
        ".git/config",
        ".github/workflows/ci.yml",
        ".venv/.installed.json",
        ".setup/lock",
        ".venv/bin/python",
        ".funcignore",
    ),
    *("tests/test_ids.py", "tests/.hidden", "tests/data/x.json", "local/host/app.py", "local.settings.json"),
    *(".package/function_app.py", "tests/__pycache__/test_ids.cpython-312.pyc", "local/host/__pycache__/x.pyc"),
    *(
        "infra/main.bicep",
        "examples/agents.py",
        "docs/agents.md",
        "README.md",
        "azure.yaml",
        "node_modules/azurite/x.js",
    ),
    *("package.zip", "lint.sarif"),
    *("callers.json", "next.json", "azd_env/pyvenv.cfg", "background_responses.egg-info/PKG-INFO", "build/x.py"),
    *("requirements.in", "requirements-dev.in", "requirements-dev.txt", "pyproject.toml", "package-lock.json"),
]
INSIDE = [
    *("function_app.py", "host.json", "requirements.txt", "requirements-agents.txt", "agents.py", "shared/core/ids.py"),
    *("shared/__pycache__/ids.cpython-312.pyc", "__pycache__/function_app.cpython-312.pyc"),
    *("functions/http.py", "clerks/tests/x.py", "clerks/local/x.py", "clerks/docs.py"),
    *(".python_packages/lib/site-packages/httpx/__init__.py", ".python_packages/lib/site-packages/__pycache__/six.pyc"),
    *(".python_packages/lib/site-packages/x/tests/__pycache__/y.pyc", ".python_packages/lib/site-packages/x/tests/.y"),
]


@pytest.mark.parametrize("reader", READERS)
def test_a_deployment_has_the_app_and_nothing_else(reader: Callable[[], Excludes]) -> None:
    """It has the triggers, what they import and serve, and the files of the host and of the build."""
    taken = [path for path in deployed(reader()) if "__pycache__" not in path]
    tops = {path.partition("/")[0] for path in taken}
    files = {"function_app.py", "host.json", "requirements.txt", "requirements-agents.txt"}
    assert tops == files | {"functions", "shared"}
    pages = {path for path in taken if path.startswith("functions/pages/")}
    assert {path.rpartition("/")[2] for path in pages} == console.files().keys()
    assert all(path.endswith(".py") for path in taken if "/" in path and path not in pages)


@pytest.mark.parametrize("reader", READERS)
def test_other_files_in_the_directory_are_excluded(reader: Callable[[], Excludes]) -> None:
    """Secrets, environments and hidden files are excluded."""
    excludes = reader()
    assert [path for path in OUTSIDE if not excludes(path)] == []


def test_what_the_pages_and_workflows_write_is_not_committed() -> None:
    """They write packages, secrets and reports into the project for a moment."""
    ignores = GitIgnoreSpec.from_lines((ROOT / ".gitignore").read_text(encoding="utf-8").splitlines())
    written = [".azure/prod/first-caller.json", ".package/function_app.py", ".setup/lock", "callers.json", "lint.sarif"]
    assert [path for path in (*written, "next.json", "package.zip") if not ignores.match_file(path)] == []


@pytest.mark.parametrize("reader", READERS)
def test_files_that_a_deployment_adds_are_included(reader: Callable[[], Excludes]) -> None:
    """Modules of agents may have any name. Bytecode and packages that were installed beforehand are included, too."""
    excludes = reader()
    assert [path for path in INSIDE if excludes(path)] == []


def text_of(name: str) -> str:
    """Return a requirements file with its continued lines joined, without comments."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    return "\n".join(line for line in text.splitlines() if line and not line.lstrip().startswith("#"))


def pins(name: str) -> Iterator[Requirement]:
    """Yield the requirements of a lock file. Fail unless each is exact and has hashes."""
    for line in text_of(f"{name}.txt").splitlines():
        pin, *hashes = line.split(" --hash=")
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64} *", one) for one in hashes)
        assert hashes, line
        requirement = Requirement(pin)
        assert [one.operator for one in requirement.specifier] == ["=="]
        yield requirement


def versions(name: str, python: str) -> dict[str, str]:
    """Return the versions that a lock file installs for a Python version on Linux. Fail if a package is named twice."""
    system = {"python_version": python, "python_full_version": f"{python}.1", "sys_platform": "linux"}
    here = [one for one in pins(name) if one.marker is None or one.marker.evaluate({**system})]
    found = {str(canonicalize_name(one.name)): next(iter(one.specifier)).version for one in here}
    assert len(found) == len(here)
    return found


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_is_locked_within_its_bounds(name: str, python: str) -> None:
    """`make lock` was run after the last change of a bound."""
    locked = versions(name, python)
    asked = [Requirement(line) for line in text_of(f"{name}.in").splitlines() if not line.startswith("-r")]
    assert [str(one) for one in asked if not one.specifier.contains(locked[canonicalize_name(one.name)])] == []


@pytest.mark.parametrize("python", PYTHONS)
def test_the_tested_versions_are_the_deployed_ones(python: str) -> None:
    """The tests and the agents use the same versions as the deployment."""
    app, agents, dev = (versions(name, python) for name in LOCKS)
    assert app.items() <= dev.items()
    assert agents.items() <= dev.items()


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_names_no_package_index(name: str) -> None:
    """The machine that installs the packages decides where they come from."""
    text = (ROOT / f"{name}.txt").read_text(encoding="utf-8")
    assert not re.search(r"://|--\S*index|--find-links|--trusted-host", text)
