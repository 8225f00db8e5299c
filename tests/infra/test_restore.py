"""`pip install .`, which `azd restore` runs because there is a pyproject.toml, installs what the app needs."""

import email
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from local.stack.process import ROOT
from tests.unit.test_packaging import text_of

BUILT_FROM = ("pyproject.toml", "requirements.in")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what pip makes of the project, which is also what it installs. It needs PyPI, for setuptools.

    The folders are there as in the project, because setuptools refuses several that could be packages.
    """
    project = tmp_path_factory.mktemp("project")
    for name in BUILT_FROM:
        shutil.copyfile(ROOT / name, project / name)
    for name in ("shared", "functions", "local", "tests"):
        (project / name).mkdir()
        (project / name / "__init__.py").touch()
    built = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(built), str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    if "setuptools" in done.stderr and done.returncode and os.environ.get("CI") != "true":
        pytest.skip("PyPI is not reached")
    assert done.returncode == 0, done.stderr[-2000:]
    return next(built.glob("*.whl"))


def test_it_installs_the_libraries_of_the_app(wheel: Path) -> None:
    """They are those of requirements.in, with its bounds. The lock has the exact versions."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith("/METADATA"))
        asked = email.message_from_bytes(archive.read(name)).get_all("Requires-Dist") or []
    wanted = [Requirement(line) for line in text_of("requirements.in").splitlines()]
    assert {str(Requirement(one)) for one in asked} == {str(one) for one in wanted}


def test_it_installs_nothing_of_the_app(wheel: Path) -> None:
    """The app is deployed and not installed. A copy in an environment would be used in place of an edited file."""
    with zipfile.ZipFile(wheel) as archive:
        assert [one for one in archive.namelist() if ".dist-info/" not in one] == []
