"""The package of a deployment carries bytecode, which the app uses as it is, from a folder that nobody can write."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.hooks.bytecode import DEPLOYED_AT, compile_package, interpreter, version_of_production
from infra.hooks.package import IGNORED, PackageError
from infra.hooks.prepackage import lay_out
from local.stack.process import ROOT
from tests.support.deployment_package import started

# Bytes 4 to 8 of bytecode: it has the hash of its source, and Python does not compare them (PEP 552).
UNCHECKED_HASH = b"\x01\x00\x00\x00"
LIBRARY = ".python_packages/lib/site-packages/library.py"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a small project, with a library, a test and the bytecode of its developer."""
    root = tmp_path / "project"
    files = {
        "function_app.py": "from shared import answer\n",
        "shared/__init__.py": "",
        "shared/answer.py": "VALUE = 1\n",
        "shared/__pycache__/answer.cpython-399.pyc": "old",
        "tests/test_answer.py": "",
        LIBRARY: "",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    shutil.copyfile(ROOT / IGNORED, root / IGNORED)
    return root


def build(package: Path, python: str, root: Path = ROOT) -> str:
    """Make a package without libraries other than those of the project. Return what the compiler says of them."""
    lay_out(package, root)
    return compile_package(package, python)


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the size and the time of every file below a folder, by its path."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def start(package: Path) -> dict[str, Any]:
    """Import a package in an interpreter that may write bytecode, with the libraries of this environment."""
    return started([sys.executable], package, environment={**os.environ, "PYTHONDONTWRITEBYTECODE": ""})


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the hook as azd does, with the standard library and nothing else."""
    command = [sys.executable, "-S", "-m", "infra.hooks.prepackage", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False, text=True, timeout=120)


def test_the_app_starts_from_a_read_only_package_and_compiles_nothing(tmp_path: Path) -> None:
    """Every module of the app and every library comes from bytecode, and the start writes no file.

    The libraries are those of this environment, which `make` compiles when it installs them.
    """
    package = tmp_path / "package"
    build(package, sys.executable)
    for path in [*package.rglob("*"), package]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = files(package)
    found = start(package)
    assert found["names"]
    assert found["compiled"] == []
    cached = found["cached"]
    ours = [path for name, path in cached.items() if name.partition(".")[0] in ("function_app", "functions", "shared")]
    assert len(ours) > 50
    assert [path for path in ours if not (Path(path).is_relative_to(package) and Path(path).is_file())] == []
    assert files(package) == before


def test_bytecode_is_used_whatever_the_time_of_its_source(project: Path, tmp_path: Path) -> None:
    """Packing and unpacking changes the times of files. Bytecode with an unchecked hash is used all the same."""
    package = tmp_path / "package"
    build(package, sys.executable, project)
    for path in package.rglob("*.py"):
        os.utime(path, (1, 1))
    assert start(package)["compiled"] == []


def test_every_module_has_bytecode_with_an_unchecked_hash(project: Path, tmp_path: Path) -> None:
    """This includes the libraries that a deployment brings along. Bytecode of other versions is not in the package."""
    package = tmp_path / "package"
    assert build(package, sys.executable, project) == ""
    bytecode = list(package.rglob("*.pyc"))
    assert {path.name.partition(".")[0] for path in bytecode} == {"function_app", "__init__", "answer", "library"}
    assert len(bytecode) == 4
    assert {path.read_bytes()[4:8] for path in bytecode} == {UNCHECKED_HASH}


def test_a_traceback_names_the_place_on_the_platform(project: Path, tmp_path: Path) -> None:
    """The bytecode does not contain the folder in which the package was made."""
    package = tmp_path / "package"
    build(package, sys.executable, project)
    content = b"".join(path.read_bytes() for path in package.rglob("*.pyc"))
    assert f"{DEPLOYED_AT}/shared/answer.py".encode() in content
    assert os.fsencode(tmp_path) not in content


def test_a_package_has_what_keeps_its_bytecode(project: Path, tmp_path: Path) -> None:
    """It contains .funcignore, because azd leaves all bytecode out of a folder that has none. It contains no tests."""
    package = tmp_path / "package"
    build(package, sys.executable, project)
    assert (package / IGNORED).read_text() == (ROOT / IGNORED).read_text()
    assert not (package / "tests").exists()


def test_the_project_of_a_developer_gets_no_bytecode(project: Path, tmp_path: Path) -> None:
    """Bytecode that Python does not check would hide the next edit. It is written only into the copy."""
    before = files(project)
    build(tmp_path / "package", sys.executable, project)
    assert files(project) == before


def test_a_new_package_has_the_code_of_today(project: Path, tmp_path: Path) -> None:
    """Every package is compiled from the sources as they are, even if a source keeps its size and its time."""
    build(tmp_path / "first", sys.executable, project)
    source = project / "shared" / "answer.py"
    time = source.stat().st_mtime_ns
    source.write_text("VALUE = 2\n")
    os.utime(source, ns=(time, time))
    build(tmp_path / "second", sys.executable, project)
    program = "from shared import answer; print(answer.VALUE)"
    seen = [
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path / name, capture_output=True, check=True).stdout
        for name in ("first", "second")
    ]
    assert seen == [b"1\n", b"2\n"]


def test_a_directory_with_files_is_not_touched(project: Path, tmp_path: Path) -> None:
    """The remains of another package would be deployed with this one, and someone's files would be mixed with it."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "notes.txt").write_text("mine")
    with pytest.raises(PackageError, match="not empty"):
        build(package, sys.executable, project)
    assert list(files(package)) == ["notes.txt"]


def test_an_app_with_a_wrong_module_is_not_packed(project: Path, tmp_path: Path) -> None:
    """The deployment ends before it replaces an app that works. The text names the module."""
    (project / "shared" / "answer.py").write_text("VALUE = = 1\n")
    with pytest.raises(PackageError, match=r"shared/answer\.py"):
        build(tmp_path / "package", sys.executable, project)


def test_a_wrong_module_of_a_library_is_told(project: Path, tmp_path: Path) -> None:
    """Libraries carry templates and code for other versions of Python. Nobody imports those."""
    (project / LIBRARY).with_name("template.py").write_text("{{ name }} = = 1\n")
    assert "template.py" in build(tmp_path / "package", sys.executable, project)


def test_the_version_is_the_one_that_the_app_runs_on() -> None:
    """The Bicep file names it once."""
    version = version_of_production()
    assert f"version: '{version}'" in (ROOT / "infra" / "modules" / "app.bicep").read_text()


def test_another_version_of_python_is_refused(tmp_path: Path) -> None:
    """Bytecode of another version is useless, so no package is made, and the text names both."""
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho cpython-399\n")
    other.chmod(0o755)
    done = run("--python", str(other), "--into", str(tmp_path / "package"))
    assert done.returncode == 1
    assert str(other) in done.stderr
    assert f"CPython {version_of_production()}" in done.stderr
    assert not (tmp_path / "package").exists()


@pytest.mark.parametrize("given", ["/nowhere/python", ""])
def test_an_interpreter_that_is_not_there_is_refused(given: str) -> None:
    """The text says how to name another one, or repeats the name that was given."""
    with pytest.raises(PackageError, match=given or "--python"):
        interpreter("3.99", given)


def test_this_interpreter_is_taken_if_it_has_the_version() -> None:
    """Nothing has to be named where the right Python runs the hook."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert interpreter(version) == sys.executable
