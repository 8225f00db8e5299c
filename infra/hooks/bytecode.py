"""Compiles the package of a deployment.

The platform gives a process 10 s to import the app, from a package that it cannot write. Without bytecode, Python
compiles every module at every start, and that takes longer than the import itself.

The bytecode has unchecked hashes (PEP 552): Python uses it without a look at the source. Bytecode that is checked by
the time of the source is useless in a package, because packing changes the times. Unchecked bytecode would hide an edit
of its source. So it is written only into a copy, which every run makes anew, and never beside a developer's source.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from infra.hooks.package import ROOT, PackageError

LIBRARIES = ".python_packages"  # what a deployment brings along
DEPLOYED_AT = "/home/site/wwwroot"  # the path in tracebacks
_RUNTIME = re.compile(r"runtime: \{\s*name: 'python'\s*version: '([0-9.]+)'")
_COMPILE = ("-m", "compileall", "-q", "-f", "-j", "0", "--invalidation-mode", "unchecked-hash")
_TIMEOUT_S = 600
_OUTPUT = 4_000  # characters of the compiler's output that are shown


def version_of_production(bicep: Path = ROOT / "infra" / "modules" / "app.bicep") -> str:
    """Return the version of Python that production has, such as `3.12`. Raise PackageError if none is named."""
    found = _RUNTIME.search(bicep.read_text(encoding="utf-8"))
    if found is None:
        raise PackageError(f"{bicep.name} names no version of Python.")
    return found.group(1)


def interpreter(version: str, given: str = "") -> str:
    """Return the given interpreter, or one of that version: this one, one on the path, or one of pyenv.

    Raises PackageError unless it is CPython of that version, because no other version can use its bytecode.
    """
    tag = f"cpython-{version.replace('.', '')}"
    found = next((python for python in ([given] if given else _candidates(version)) if _cache_tag(python) == tag), "")
    if found:
        return found
    if given:
        raise PackageError(
            f"{given} is not CPython {version}, which the app runs on. No other bytecode is of use to it."
        )
    raise PackageError(
        f"There is no Python {version} here, which the app runs on. Install it, or name one with --python or"
        " `azd env set PACKAGE_PYTHON PATH`. Without it `azd env set PACKAGE_BYTECODE false` makes a package that"
        " starts three times as slowly."
    )


def _candidates(version: str) -> Iterator[str]:
    yield sys.executable
    yield shutil.which(f"python{version}") or ""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    yield from map(str, sorted(pyenv.glob(f"{version}.*/bin/python")))


def _cache_tag(python: str) -> str:
    """Return what names an interpreter's bytecode, such as `cpython-312`, or an empty string if it does not run."""
    program = "import sys; print(sys.implementation.cache_tag)"
    try:
        asked = subprocess.run([python, "-c", program], capture_output=True, check=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return asked.stdout.strip()


def compile_package(package: Path, python: str) -> str:
    """Compile the modules of a package with an interpreter.

    Returns what the compiler says of libraries that have invalid modules, which is not an error. Raises PackageError if
    a module of the app is invalid.
    """
    app = _compiled(package, python, "-x", re.escape(LIBRARIES), str(package))
    if app.returncode:
        raise PackageError(f"The app does not compile:\n{app.stdout[-_OUTPUT:]}")
    libraries = package / LIBRARIES
    return _compiled(package, python, str(libraries)).stdout[-_OUTPUT:] if libraries.is_dir() else ""


def _compiled(package: Path, python: str, *what: str) -> "subprocess.CompletedProcess[str]":
    command = [python, *_COMPILE, "-s", str(package), "-p", DEPLOYED_AT, *what]
    return subprocess.run(command, capture_output=True, check=False, text=True, timeout=_TIMEOUT_S)
