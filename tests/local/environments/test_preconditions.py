"""A machine that lacks something is told so in one line, before anything is installed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.environments.preconditions import INSTEAD, NEEDED, lacking_for_storage
from local.stack.loopback import listen
from local.stack.process import ROOT
from tests.support.working_copy import copy_files

NOWHERE = {"DOCKER_HOST": "unix:///no/engine"}
TOOLS = ("awk", "sh", "make", "env", "git")
SOME_NODE = "#!/bin/sh\necho {}\n"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of this tree in which nothing is installed."""
    return copy_files(tmp_path_factory.mktemp("clone"))


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Return a folder that has what every machine has, for the search path. It has neither Python nor Node.js."""
    for name in TOOLS:
        found = shutil.which(name)
        assert found
        (tmp_path / name).symlink_to(found)
    return tmp_path


def script(path: Path, text: str) -> None:
    """Write a program."""
    path.write_text(text)
    path.chmod(0o755)


NOT_PASSED_ON = {"CI", "AZURITE", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
"""The variables of the test run that change what `make` does or prints."""


def refused(clone: Path, programs: Path, *target: str) -> str:
    """Return the line with which `make` refuses a target. It must have installed nothing."""
    kept = {name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON}
    done = subprocess.run(
        ["make", *target],
        cwd=clone,
        env={**kept, **NOWHERE, "PATH": str(programs)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert not (clone / ".venv").exists()
    assert not (clone / "node_modules").exists()
    line, *rest = done.stderr.splitlines()
    assert all(one.startswith("make: ***") for one in rest)
    assert done.stdout == ""
    return line


@pytest.mark.parametrize("target", ["demo", "start", "test", "check"])
def test_a_missing_python_is_named(clone: Path, programs: Path, target: str) -> None:
    """The line names the versions that do, and how to name another one."""
    assert refused(clone, programs, target) == (
        "Python 3.11 to 3.13 is needed, and there is no python3 here: install it, or try make PYTHON=python3.12"
    )


@pytest.mark.parametrize("target", ["demo", "start", "test"])
def test_a_missing_node_is_named(clone: Path, programs: Path, target: str) -> None:
    """Without a Docker engine, the storage emulator needs it."""
    line = refused(clone, programs, target, f"PYTHON={sys.executable}")
    assert line == f"{NEEDED}, and there is no node here: {INSTEAD}"


@pytest.mark.parametrize(("version", "shown"), [("v18.20.1", "v18.20.1"), ("", "broken")])
def test_an_old_node_is_named(clone: Path, programs: Path, version: str, shown: str) -> None:
    """The line has its version."""
    script(programs / "node", SOME_NODE.format(version))
    script(programs / "npm", SOME_NODE.format("10"))
    line = refused(clone, programs, "demo", f"PYTHON={sys.executable}")
    assert line == f"{NEEDED}, and node here is {shown}: {INSTEAD}"


@pytest.mark.parametrize("version", ["(3, 10, 14)", "(3, 14, 0)"])
def test_a_python_that_does_not_do_is_named(version: str) -> None:
    """One that is too old, and one that is too new, are refused before anything is imported."""
    program = f"import sys\nsys.version_info = {version}\nimport local.environments"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    spelled = version.strip("()").replace(", ", ".")
    assert done.returncode == 1
    assert done.stderr == f"Python 3.11 to 3.13 is needed, this is {spelled}: try make PYTHON=python3.12\n"


@pytest.fixture
def engine() -> Iterator[str]:
    """Return the address of something that listens, as a Docker engine does."""
    with listen(0) as listener:
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.usefixtures("no_node")
def test_a_machine_with_an_engine_needs_no_node(engine: str) -> None:
    """The emulator runs in a container there, unless npm is asked for."""
    assert lacking_for_storage({"DOCKER_HOST": engine}) is None
    assert lacking_for_storage({"DOCKER_HOST": engine, "AZURITE": "npm"}) is not None


@pytest.mark.usefixtures("no_node")
@pytest.mark.parametrize("named", [{"CI": "true"}, {"AZURITE": "container"}])
def test_a_required_container_is_left_to_the_start(named: dict[str, str]) -> None:
    """There npm does not replace the engine, so Node.js is not asked for."""
    assert lacking_for_storage({**NOWHERE, **named}) is None
    assert lacking_for_storage(NOWHERE) is not None


@pytest.fixture
def no_node(tmp_path: Path) -> Iterator[None]:
    """Take Node.js off the search path."""
    path = os.environ["PATH"]
    os.environ["PATH"] = str(tmp_path)
    yield
    os.environ["PATH"] = path
