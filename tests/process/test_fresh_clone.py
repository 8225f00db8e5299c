"""The README's commands work in an empty folder, on a machine without a Docker engine."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.working_copy import copy_files

# What a developer's shell does not have: CI, an engine's address, and the settings of this test run.
LEFT_OUT = ("CI", "AZURITE", "VIRTUAL_ENV", "PYTEST_", "COV_", "COVERAGE_")
NOWHERE = "tcp://127.0.0.1:9"
SOME = "-k test_heartbeat"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty folder into which the files of this tree were copied, and nothing that was installed."""
    return copy_files(tmp_path_factory.mktemp("clone"))


def environment(**more: str) -> Mapping[str, str]:
    """Return the environment of a developer whose Docker engine does not answer."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}
    return {**kept, "DOCKER_HOST": NOWHERE, **more}


def make(clone: Path, target: str, **more: str) -> str:
    """Run `make` in the clone, which must succeed. Return what it printed."""
    done = subprocess.run(
        ["make", target],
        cwd=clone,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=570,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4_000:]
    return done.stdout


@pytest.mark.timeout(600)
def test_the_tests_and_the_demo_run_in_an_empty_clone(clone: Path) -> None:
    """Three test workers ask for the same storage emulator at once. It is installed once, and the demo uses it, too."""
    tested = make(clone, "test-storage", PYTEST_ADDOPTS=SOME)
    assert re.search(r"= \d+ passed in ", tested), tested
    demo = make(clone, "demo")
    assert "state in Azurite from npm" in demo
    assert "signature verified" in demo
    assert "setting up" not in demo
