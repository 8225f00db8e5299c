"""`pip install .` works, as `azd restore` runs it, although the app is deployed from its folder."""

import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from local.stack.process import ROOT
from tests.support.source_trees import PRODUCT, sources
from tests.support.working_copy import copy_files

BUILD = ("-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--wheel-dir")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Return the package that pip builds from a copy of this tree."""
    copy = copy_files(tmp_path_factory.mktemp("copy"))
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, *BUILD, str(target), str(copy)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert built.returncode == 0, built.stderr[-4_000:]
    return zipfile.ZipFile(next(target.glob("background_responses-*.whl")))


def test_the_package_has_the_app_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """It has every module of the app, the page, and the mark that its types are public. It has no tests."""
    page = {path.relative_to(ROOT).as_posix() for path in (ROOT / "functions" / "pages").iterdir()}
    modules = {Path(path).relative_to(ROOT).as_posix() for path in sources(*PRODUCT)}
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == {*modules, *page, "shared/py.typed"}


def test_the_package_requires_what_the_app_requires(wheel: zipfile.ZipFile) -> None:
    """Its metadata names the libraries of requirements.in with their bounds."""
    name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    required = {str(Requirement(one)) for one in message_from_bytes(wheel.read(name)).get_all("Requires-Dist", [])}
    lines = (ROOT / "requirements.in").read_text("utf-8").splitlines()
    assert required == {str(Requirement(line)) for line in lines if line and not line.startswith("#")}
