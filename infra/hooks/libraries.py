"""Installs the locked libraries of a deployment, for the platform's Python and system, whatever runs this.

A remote build may use another Python than the app's (Azure/azure-dev#8538), and compiles nothing. So the package brings
its libraries along, from where the worker looks for them.
"""

import ast
import operator
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.hooks.package import ROOT, PackageError

SITE = ".python_packages/lib/site-packages"  # below the package: the worker puts it on the path
LOCKED = ROOT / "requirements.txt"
# The newest C library that a wheel may ask for: 2.28. Flex Consumption's own was not seen. The images of the Functions
# host for Python are made of Debian 11 or 12, which have 2.31 and 2.36.
GLIBC = 28
_PLATFORMS = [*(f"manylinux_2_{minor}_x86_64" for minor in range(GLIBC, 4, -1)), "manylinux2014_x86_64"]
_PIN = re.compile(
    r"(?P<pin>[A-Za-z0-9._-]+==[^\s;]+)(?:\s*;\s*(?P<marker>.*?))?(?P<hashes>(?:\s+--hash=sha256:\w+)+)\s*"
)
_VERSIONS = frozenset({"python_version", "python_full_version", "implementation_version"})
_SIGNS = (
    (ast.Lt, operator.lt),
    (ast.LtE, operator.le),
    (ast.Gt, operator.gt),
    (ast.GtE, operator.ge),
    (ast.Eq, operator.eq),
    (ast.NotEq, operator.ne),
    (ast.In, lambda left, right: left in right),
    (ast.NotIn, lambda left, right: left not in right),
)
_TIMEOUT_S = 900
_OUTPUT = 4_000  # characters of pip's output that are shown


def target(version: str) -> dict[str, str]:
    """Return what a marker may ask of the platform, with a version of Python such as `3.12`."""
    return {
        "python_version": version,
        "python_full_version": f"{version}.0",
        "implementation_version": f"{version}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
    }


def needed(text: str, version: str) -> Iterator[str]:
    """Yield the requirements of a lock file that the platform needs, with their hashes and without markers.

    pip asks markers of the machine that it runs on, and that may be any. Raises PackageError for a line without hashes.
    """
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _PIN.fullmatch(line.strip())
        if found is None:
            raise PackageError(
                f"{LOCKED.name}: `{line.strip()[:80]}` is no exact version with hashes. Run `make lock`."
            )
        if found["marker"] is None or applies(found["marker"], target(version)):
            yield f"{found['pin']}{found['hashes']}"


def applies(marker: str, values: Mapping[str, str]) -> bool:
    """Return whether a marker applies where the values hold. Raise PackageError if it asks for anything else.

    A marker is an expression of Python (PEP 508), but for `~=` and `===`, which locks do not use.
    """
    try:
        return _holds(ast.parse(marker.strip(), mode="eval").body, values)
    except (SyntaxError, KeyError, TypeError, ValueError):
        raise PackageError(f"{LOCKED.name}: the marker `{marker}` cannot be read.") from None


def _holds(node: ast.expr, values: Mapping[str, str]) -> bool:
    if isinstance(node, ast.BoolOp):
        parts = (_holds(part, values) for part in node.values)
        return all(parts) if isinstance(node.op, ast.And) else any(parts)
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        raise TypeError
    names = {part.id for part in (node.left, node.comparators[0]) if isinstance(part, ast.Name)}
    left, right = (_value(part, values) for part in (node.left, node.comparators[0]))
    if names & _VERSIONS and not isinstance(node.ops[0], (ast.In, ast.NotIn)):
        return _compared(node.ops[0], _version(left), _version(right))
    return _compared(node.ops[0], left, right)


def _value(node: ast.expr, values: Mapping[str, str]) -> str:
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise TypeError


def _version(text: str) -> "tuple[int, ...]":
    parts = [int(part) for part in text.split(".")]
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def _compared(sign: ast.cmpop, left: Any, right: Any) -> bool:
    for kind, compare in _SIGNS:
        if isinstance(sign, kind):
            return bool(compare(left, right))
    raise TypeError


def install(site: Path, pips: Iterable[str], version: str, locked: Path = LOCKED) -> None:
    """Install the locked libraries into a directory, for Linux on x86-64 and that version of CPython.

    `pips` are interpreters, of which the first that has pip is used. Nothing is compiled or built, and every file is
    checked by its hash. Raises PackageError if there is no pip, or if a library cannot be had.
    """
    python = pip_of(pips)
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "requirements.txt"
        wanted.write_text("\n".join(needed(locked.read_text(encoding="utf-8"), version)), encoding="utf-8")
        options = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--no-compile", "--quiet"]
        system = [f"--platform={one}" for one in _PLATFORMS]
        tags = ["--implementation=cp", f"--python-version={version}", f"--abi=cp{version.replace('.', '')}", *system]
        pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
        _run([*pip, *options, *tags, f"--target={site}", f"--requirement={wanted}"])
    shutil.rmtree(site / "bin", ignore_errors=True)  # programs, which nobody runs there


def pip_of(pythons: Iterable[str]) -> str:
    """Return the first interpreter that has pip. Raise PackageError if none has."""
    found = next((python for python in pythons if python and _has_pip(python)), "")
    if not found:
        raise PackageError("There is no pip here. Install it: `python3 -m ensurepip`, or your system's python3-pip.")
    return found


def _has_pip(python: str) -> bool:
    try:
        command = [python, "-m", "pip", "--version"]
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _run(command: "list[str]") -> None:
    try:
        done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise PackageError(f"pip did not install the libraries within {_TIMEOUT_S} s.") from None
    if done.returncode:
        raise PackageError(f"pip does not install the libraries:\n{done.stderr[-_OUTPUT:]}")
