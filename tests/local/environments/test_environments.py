"""Installing environments: an installed environment is complete, despite interruptions and concurrent requests."""

import json
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from local.environments.environment import SetupError
from local.environments.installing import ensure, is_whole
from local.environments.node_packages import NodePackages
from local.environments.python_packages import PythonPackages
from local.stack.process import ROOT


@dataclass
class Fake:
    """An environment of two files. Its installer can be interrupted between them."""

    home: Path
    version: str = "1"
    is_interrupted: bool = False
    name: str = "fake"
    built: list[Path] = field(default_factory=list)

    def fingerprint(self) -> str:
        """Return the version."""
        return self.version

    def build(self, directory: Path) -> Path:
        """Write one file, and the other one unless interrupted."""
        made = directory / "made"
        made.mkdir()
        (made / "first").write_text(self.version)
        if self.is_interrupted:
            raise SetupError("interrupted")
        (made / "second").write_text(self.version)
        self.built.append(made)
        return made

    def missing(self, built: Path) -> str | None:
        """Return the file that is missing, or None."""
        return next((name for name in ("first", "second") if not (built / name).exists()), None)


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    """Return an environment that is not installed."""
    return Fake(tmp_path / "home")


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """Return a directory to build in."""
    return tmp_path / "workplace"


def test_an_installed_environment_is_not_installed_again(fake: Fake, workplace: Path) -> None:
    """A second request for the same environment installs nothing."""
    ensure(fake, workplace)
    ensure(fake, workplace)
    assert len(fake.built) == 1
    assert is_whole(fake)


def test_an_interrupted_installer_leaves_nothing_behind(fake: Fake, workplace: Path) -> None:
    """After an interruption the home does not exist, and the next request installs everything."""
    fake.is_interrupted = True
    with pytest.raises(SetupError):
        ensure(fake, workplace)
    assert not fake.home.exists()
    assert [path.name for path in workplace.iterdir()] == ["lock"]

    fake.is_interrupted = False
    ensure(fake, workplace)
    assert is_whole(fake)


def test_the_remains_of_a_killed_installer_are_removed(fake: Fake, workplace: Path) -> None:
    """A killed installer cannot clean up, so the next one does."""
    (workplace / "new-killed").mkdir(parents=True)
    (workplace / "new-killed" / "first").write_text("1")
    ensure(fake, workplace)
    assert [path.name for path in workplace.iterdir()] == ["lock"]


@pytest.mark.parametrize("name", ["first", "second", ".installed.json"])
def test_an_environment_that_lacks_something_is_installed_again(fake: Fake, workplace: Path, name: str) -> None:
    """An environment with any missing file is not complete, and the next request installs it again."""
    ensure(fake, workplace)
    (fake.home / name).unlink()
    assert not is_whole(fake)
    ensure(fake, workplace)
    assert is_whole(fake)
    assert len(fake.built) == 2


def test_a_changed_input_installs_again(fake: Fake, workplace: Path) -> None:
    """The new installation replaces the old one, including files that were added to it."""
    ensure(fake, workplace)
    (fake.home / "stray").write_text("")
    fake.version = "2"
    ensure(fake, workplace)
    assert (fake.home / "first").read_text() == "2"
    assert not (fake.home / "stray").exists()


def test_an_environment_inside_another_survives_its_replacement(fake: Fake, workplace: Path) -> None:
    """An inner environment is kept when the outer one is replaced.

    The peers in .venv survive a change of its requirements.
    """
    ensure(fake, workplace)
    inner = Fake(fake.home / "inner")
    ensure(inner, workplace)
    fake.version = "2"
    ensure(fake, workplace)
    assert is_whole(fake)
    assert is_whole(inner)


def test_a_failed_update_leaves_the_old_environment_in_place(fake: Fake, workplace: Path) -> None:
    """The old environment does not count as complete, but none of its files are lost."""
    ensure(fake, workplace)
    fake.version, fake.is_interrupted = "2", True
    with pytest.raises(SetupError):
        ensure(fake, workplace)
    assert (fake.home / "second").read_text() == "1"
    assert not is_whole(fake)


def test_one_of_many_concurrent_threads_installs(fake: Fake, workplace: Path) -> None:
    """If several threads request an environment at once, one installs it, and the others wait and find it."""
    with ThreadPoolExecutor(8) as asking:
        list(asking.map(lambda _: ensure(fake, workplace), range(8)))
    assert len(fake.built) == 1
    assert is_whole(fake)


def test_one_of_many_concurrent_processes_installs(tmp_path: Path) -> None:
    """The lock also works across processes, because each worker of a test run is a process."""
    program = """
import sys, time
from pathlib import Path
from local.environments.installing import ensure
class Slow:
    name, home = "slow", Path(sys.argv[1]) / "home"
    def fingerprint(self): return "1"
    def missing(self, built): return None
    def build(self, directory):
        with open(sys.argv[1] + "/builds", "a") as log: print("built", file=log)
        (directory / "made").mkdir(); time.sleep(0.3)
        return directory / "made"
ensure(Slow(), Path(sys.argv[1]) / "workplace")
"""
    asking = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT) for _ in range(3)]
    assert [process.wait(60) for process in asking] == [0, 0, 0]
    assert (tmp_path / "builds").read_text() == "built\n"


def package(folder: Path, name: str, version: str) -> None:
    """Write an installed Node.js package."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "package.json").write_text(json.dumps({"name": name, "version": version}))


def test_node_packages_are_complete_when_every_locked_package_is_there(tmp_path: Path) -> None:
    """Each package must have its locked version.

    npm's own mark of an installation does not count, because a killed npm may leave it.
    """
    packages: dict[str, dict[str, object]] = {
        "": {},
        "node_modules/a": {"version": "1.0.0"},
        "node_modules/b": {"version": "2.0.0"},
        "node_modules/c": {"version": "3.0.0", "optional": True},
    }
    (tmp_path / "package.json").write_text("{}")
    (tmp_path / "package-lock.json").write_text(json.dumps({"packages": packages}))
    environment, there = NodePackages(tmp_path, tmp_path / "package.json"), tmp_path / "node_modules"
    there.mkdir()
    (there / ".package-lock.json").write_text("{}")

    assert environment.missing(there) == "node_modules/a"
    package(there, "a", "1.0.0")
    package(there, "b", "1.9.0")
    assert environment.missing(there) == "node_modules/b"
    package(there, "b", "2.0.0")
    assert environment.missing(there) is None


def test_python_packages_work_in_their_home_and_notice_a_missing_file(tmp_path: Path, workplace: Path) -> None:
    """Scripts contain the final path of the interpreter, although they were installed under another path."""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("")
    environment = PythonPackages(tmp_path / "home", requirements)
    ensure(environment, workplace)

    pip = environment.home / "bin" / "pip"
    said = subprocess.run([str(pip), "--version"], capture_output=True, text=True, check=True).stdout
    assert str(environment.home) in said
    (environment.home / "bin" / "python").unlink()
    assert environment.missing(environment.home) == "bin/python"


def wheel(folder: Path) -> Path:
    """Write a package that can be installed, with one module."""
    path, info = folder / "six_lines-1.0-py3-none-any.whl", "six_lines-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("six_lines.py", "VALUE = 6\n")
        packed.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: six-lines\nVersion: 1.0\n")
        packed.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr(f"{info}/RECORD", f"six_lines.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


def test_installed_packages_are_compiled(tmp_path: Path) -> None:
    """The first start is as fast as any other, also where pip's settings or Python's say that nothing is compiled."""
    (tmp_path / "requirements.txt").write_text(f"{wheel(tmp_path)}\n")
    program = """
import sys
from pathlib import Path
from local.environments.installing import ensure
from local.environments.python_packages import PythonPackages
folder = Path(sys.argv[1])
ensure(PythonPackages(folder / "home", folder / "requirements.txt"), folder / "workplace")
"""
    environment = {**os.environ, "PIP_NO_COMPILE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, env=environment, check=True, timeout=120)
    assert len(list((tmp_path / "home").glob("lib/python*/site-packages/__pycache__/six_lines.*.pyc"))) == 1


def test_a_failed_installer_is_reported_with_its_reason(tmp_path: Path, workplace: Path) -> None:
    """The error names the environment and ends with the installer's output. The home does not exist."""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("-r nowhere.txt\n")
    environment = PythonPackages(tmp_path / "home", requirements)
    with pytest.raises(SetupError, match=r"(?s)^home: .*pip.* failed:\n.*nowhere\.txt"):
        ensure(environment, workplace)
    assert not environment.home.exists()


def test_an_unknown_name_is_reported() -> None:
    """The command exits with 1 and lists the names that exist."""
    command = [sys.executable, "-m", "local.environments", "nowhere"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ})
    assert ran.returncode == 1
    assert "'nowhere'" in ran.stderr
    assert "azurite" in ran.stderr
