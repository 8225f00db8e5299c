"""The package that azd deploys starts on the platform as it is: nothing is built there, and nothing is missing."""

import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.hooks.bytecode import version_of_production
from infra.hooks.libraries import GLIBC, SITE
from infra.hooks.package import PackageError
from infra.hooks.prepackage import make, python_of_package
from local.environments.python_packages import newest
from local.stack.process import ROOT
from tests.support.deployment_package import by_git, started
from tests.support.stage import Say
from tests.unit.test_packaging import versions

VERSION = version_of_production()
TAG = f"cpython-{VERSION.replace('.', '')}"
# As azd does, for a function app: cli/azd/pkg/project/project_utils.go in Azure/azure-dev.
NEVER_PACKED = {".funcignore", "local.settings.json"}


def hook(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the hook as azd does, with the standard library and nothing else."""
    command = [sys.executable, "-S", "-m", "infra.hooks.prepackage", *arguments]
    given = {**os.environ, **environment}
    return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, check=False, text=True, timeout=280)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a package that the hook has made, with bytecode if the Python of production is here.

    On a laptop that does not reach PyPI the tests are skipped. In CI they fail.
    """
    folder = tmp_path_factory.mktemp("deployed") / "package"
    done = hook("--into", str(folder), PACKAGE_BYTECODE=str(newest(VERSION) is not None).lower())
    if "pip does not install" in done.stderr and os.environ.get("CI") != "true":
        pytest.skip("PyPI is not reached")
    assert (done.returncode, done.stderr) == (0, "")
    return folder


@pytest.fixture(scope="session")
def packed(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file that azd would send."""
    file = tmp_path_factory.mktemp("packed") / "app.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in taken(package, by_git()):
            archive.write(package / path, path)
    return file


def taken(package: Path, excludes: Callable[[str], bool]) -> Iterator[str]:
    """Yield the files of a package that azd packs."""
    for path in sorted(package.rglob("*")):
        name = path.relative_to(package).as_posix()
        if path.is_file() and path.name not in NEVER_PACKED and not excludes(name):
            yield name


@pytest.mark.skipif(platform.system() != "Linux" or platform.machine() != "x86_64", reason="the platform's system")
def test_the_app_starts_from_the_packed_file(packed: Path, tmp_path: Path, say: Say) -> None:
    """Under the Python of production, every module comes from the package and its bytecode. Nothing is written."""
    python = newest(VERSION)
    if python is None:
        pytest.skip(f"there is no Python {VERSION} here: the libraries were checked, and no start")
    folder = tmp_path / "wwwroot"
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(folder)
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    found = started([python, "-I", "-S"], folder, SITE, environment={})
    assert found["compiled"] == []
    assert "create_response" in found["names"]
    assert len([one for one in found["files"] if one.startswith(f"{folder}/")]) > 300
    unpacked = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    say(f"the package is {packed.stat().st_size / 2**20:.1f} MiB, {unpacked / 2**20:.1f} MiB unpacked")
    say(f"its import takes {found['s']:.2f} s, of which {found['cpu_s']:.2f} s of CPU, on Python {VERSION}")


def test_every_library_of_the_lock_is_in_the_package(package: Path) -> None:
    """The versions are exactly those of the lock for the Python of production."""
    found = [path.name.removesuffix(".dist-info") for path in (package / SITE).glob("*.dist-info")]
    pins = {re.sub(r"[-_.]+", "-", name).lower(): version for name, _, version in (one.partition("-") for one in found)}
    assert pins == versions("requirements", VERSION)


def test_every_compiled_library_is_for_the_platform(package: Path) -> None:
    """Each is an ELF file for x86-64, of the Python of production or of its stable interface."""
    libraries = list((package / SITE).rglob("*.so"))
    assert len(libraries) > 20
    assert {path.read_bytes()[:5] for path in libraries} == {b"\x7fELF\x02"}
    assert {path.read_bytes()[18:20] for path in libraries} == {b"\x3e\x00"}
    tags = {path.name.split(".", 1)[1] for path in libraries}
    assert {tag for tag in tags if "cpython" in tag} == {f"{TAG}-x86_64-linux-gnu.so"}


def test_no_library_asks_for_a_newer_c_library(package: Path) -> None:
    """No wheel is marked for a newer glibc than the oldest image of the Functions host has."""
    texts = [path.read_text() for path in (package / SITE).glob("*.dist-info/WHEEL")]
    tags = [tag for text in texts for tag in re.findall(r"^Tag: \S+-manylinux_2_(\d+)_x86_64", text, re.MULTILINE)]
    assert tags
    # A wheel may have several tags, of which the oldest counts.
    oldest = [min(map(int, found)) for text in texts if (found := re.findall(r"manylinux_2_(\d+)_x86_64", text))]
    assert max(oldest) <= GLIBC


def test_every_module_of_the_app_has_bytecode(package: Path) -> None:
    """Without it, every start compiles. The libraries have it, too, but for the few files that are no modules."""
    if newest(VERSION) is None:
        pytest.skip(f"there is no Python {VERSION} here, which makes the bytecode")
    sources = [path for path in package.rglob("*.py") if ".python_packages" not in path.parts]
    assert len(sources) > 100
    assert [one for one in sources if not (one.parent / "__pycache__" / f"{one.stem}.{TAG}.pyc").is_file()] == []


def test_the_packed_file_has_no_stranger(packed: Path) -> None:
    """Of the project, it has what is deployed. Programs of libraries are left out, because nobody runs them."""
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    files = {"function_app.py", "host.json", "requirements.txt", "requirements-agents.txt"}
    assert tops == files | {"functions", "shared", ".python_packages", *({"__pycache__"} if newest(VERSION) else set())}
    assert not [name for name in names if name.startswith(f"{SITE}/bin/")]


def test_a_package_may_go_without_bytecode(tmp_path: Path) -> None:
    """Where the Python of production cannot be had, a value of azd's environment allows a slower start."""
    assert python_of_package({"PACKAGE_BYTECODE": "false", "PACKAGE_PYTHON": "/nowhere/python"}) == ""
    with pytest.raises(PackageError, match="/nowhere/python"):
        python_of_package({"PACKAGE_PYTHON": "/nowhere/python"})
    project = own_project(tmp_path)
    make(tmp_path / "package", "", project)
    assert not list((tmp_path / "package").rglob("*.pyc"))


def test_libraries_that_the_project_brings_along_are_taken(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Then nothing is installed, and the hook says whose libraries they are."""
    project = own_project(tmp_path)
    make(tmp_path / "package", sys.executable, project)
    assert (tmp_path / "package" / SITE / "own.py").is_file()
    assert f"The libraries are those of {project / '.python_packages'}, as they are." in capfd.readouterr().out


def own_project(folder: Path) -> Path:
    """Return a project of one module that brings a library along."""
    project = folder / "project"
    (project / SITE).mkdir(parents=True)
    (project / SITE / "own.py").write_text("")
    (project / "function_app.py").write_text("import own\n")
    shutil.copyfile(ROOT / ".funcignore", project / ".funcignore")
    return project
