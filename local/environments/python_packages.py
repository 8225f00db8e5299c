"""A virtual environment of Python packages."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from local.environments.environment import ROOT, SetupError, hash_of
from local.environments.running import run

INSTALLED = ".distributions"
_PINNED_UV = re.compile(r"^uv==.*?(?=^\S|\Z)", re.MULTILINE | re.DOTALL)


def programs(environment: Path) -> Path:
    """Return the folder of a virtual environment that has its programs."""
    return environment / ("Scripts" if os.name == "nt" else "bin")


def interpreter(environment: Path) -> Path:
    """Return the Python of a virtual environment."""
    return programs(environment) / ("python.exe" if os.name == "nt" else "python")


class PythonPackages:
    """The packages of a requirements file, in their own virtual environment."""

    def __init__(self, home: Path, requirements: Path, *others: Path, python: str = sys.executable) -> None:
        """Take the requirements, the other files that they include, and the Python to install them for."""
        self.name = home.name
        self.home = home
        self._requirements = requirements
        self._files = (requirements, *others)
        self._python = python

    def fingerprint(self) -> str:
        """Return a hash of the requirements, the version of Python, and that they are compiled."""
        return hash_of(self._files, "compiled", *_version(self._python))

    def build(self, directory: Path) -> Path:
        """Create the virtual environment and install and compile the requirements.

        uv does that many times faster than pip. If uv fails, pip does it, because this machine may reach its packages
        only with pip's settings.
        """
        built = directory / "environment"
        run(self.name, [self._python, "-m", "venv", str(built)])
        python = str(interpreter(built))
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        try:
            uv = [str(self._uv(pip, built)), "pip", "install", "--quiet", "--python", python]
            run(self.name, [*uv, "--compile-bytecode", "--requirement", str(self._requirements)])
        except SetupError:
            run(self.name, [*pip, "--compile", "--requirement", str(self._requirements)])
        (built / INSTALLED).write_text("\n".join(sorted(_distributions(built))), encoding="utf-8")
        _name_its_home(built, self.home)
        return built

    def _uv(self, pip: list[str], built: Path) -> Path:
        """Return uv. If the requirements pin it, it is installed first, in the pinned version and with its hashes."""
        pinned = _PINNED_UV.search(self._requirements.read_text(encoding="utf-8"))
        if pinned is None:
            return programs(ROOT / ".venv") / "uv"  # in the environment of the app, which is installed first
        only = built.parent / "uv.txt"
        only.write_text(pinned[0], encoding="utf-8")
        run(self.name, [*pip, "--requirement", str(only)])
        return programs(built) / "uv"

    def missing(self, built: Path) -> str | None:
        """Return the interpreter or the first distribution that is missing, or None."""
        if not os.access(interpreter(built), os.X_OK):
            return interpreter(Path()).as_posix()
        try:
            wanted = (built / INSTALLED).read_text(encoding="utf-8").split("\n")
        except OSError:
            return INSTALLED
        there = _distributions(built)
        return next((name for name in wanted if name not in there), None)


def newest(version: str) -> str | None:
    """Return an interpreter of that version, from the path or from pyenv, or None."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = [shutil.which(f"python{version}"), *map(str, sorted(pyenv.glob(f"{version}*/bin/python{version}")))]
    return next((python for python in found if python and _works(python)), None)


def _works(python: str) -> bool:
    # pyenv also puts a shim on the path for a version that is not active. That shim fails.
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


def _version(python: str) -> tuple[str, ...]:
    if python == sys.executable:
        return tuple(map(str, sys.version_info[:3]))
    command = [python, "-c", "import sys; print(*sys.version_info[:3])"]
    return tuple(subprocess.run(command, capture_output=True, check=True, text=True).stdout.split())


def _distributions(built: Path) -> set[str]:
    """Return the names of the installed distributions, each with its version."""
    places = ("lib/python*/site-packages", "Lib/site-packages")  # of POSIX, and of Windows
    records = (one for place in places for one in built.glob(f"{place}/*.dist-info/RECORD"))
    return {record.parent.name for record in records}


def _name_its_home(built: Path, home: Path) -> None:
    """Put the final path into the scripts, because pip writes the path of the interpreter that runs it.

    Programs of Windows stay as they are, because a path of another length would break them.
    """
    for script in (built / "pyvenv.cfg", *programs(built).iterdir()):
        if script.is_symlink() or not script.is_file() or script.suffix == ".exe":
            continue
        text = script.read_bytes()
        if (changed := text.replace(os.fsencode(built), os.fsencode(home))) != text:
            script.write_bytes(changed)
