"""The libraries of a deployment are chosen for the platform, whatever machine makes the package."""

import sys
from pathlib import Path

import pytest

from infra.hooks.libraries import applies, install, needed, pip_of, target
from infra.hooks.package import PackageError
from local.stack.process import ROOT
from tests.unit.test_packaging import versions

HASH = "--hash=sha256:" + "0" * 64
MARKERS = [
    ("python_full_version < '3.13'", True),
    ("python_full_version >= '3.13'", False),
    ("python_version > '3.9'", True),  # as versions, and not as texts
    ("python_version == '3.12'", True),
    ("'3.12' <= python_version", True),
    ("sys_platform == 'win32'", False),
    ("sys_platform != 'win32' and platform_machine == 'x86_64'", True),
    ("(sys_platform == 'win32' or os_name == 'posix') and implementation_name != 'pypy'", True),
    ("platform_machine in 'aarch64 x86_64'", True),
    ("platform_system not in 'Linux Darwin'", False),
]


@pytest.mark.parametrize(("marker", "is_held"), MARKERS)
def test_a_marker_is_asked_of_the_platform(marker: str, is_held: bool) -> None:
    """It is asked of CPython on Linux, and not of the machine that makes the package."""
    assert applies(marker, target("3.12")) is is_held


@pytest.mark.parametrize(
    "marker",
    ["extra == 'all'", "python_version ~= '3.9'", "python_version", "os_name == 1", "'1' < python_version < '4'"],
)
def test_a_marker_that_is_not_understood_is_refused(marker: str) -> None:
    """A library must not be left out because of a guess. The text has the marker."""
    with pytest.raises(PackageError, match=marker[:8]):
        applies(marker, target("3.12"))


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_lock_gives_each_version_its_libraries(version: str) -> None:
    """The libraries are those that the library `packaging` reads from the same lock, each with its hashes."""
    found = list(needed((ROOT / "requirements.txt").read_text(), version))
    pins = dict(line.partition(" ")[0].split("==") for line in found)
    assert {name.lower(): pin for name, pin in pins.items()} == versions("requirements", version)
    assert all(" --hash=sha256:" in line and ";" not in line for line in found)


@pytest.mark.parametrize("line", ["httpx", "httpx>=0.28", "httpx==0.28.1", f"httpx>=0.28 {HASH}", "-r other.txt"])
def test_a_library_without_a_version_and_hashes_is_refused(line: str) -> None:
    """What is deployed is what was tested, byte by byte. The text has the line, and the command that locks."""
    with pytest.raises(PackageError, match=r"(?s)httpx.*make lock|other.txt.*make lock"):
        list(needed(f"six==1.17.0 {HASH}\n{line}\n", "3.12"))


def test_a_file_with_another_hash_is_not_installed(tmp_path: Path) -> None:
    """Pip refuses it, or what it cannot get, and the text has pip's words."""
    lock = tmp_path / "requirements.txt"
    lock.write_text(f"annotated-types==0.7.0 {HASH}\n")
    with pytest.raises(PackageError, match="pip does not install the libraries"):
        install(tmp_path / "site", [sys.executable], "3.12", lock)
    assert not list(tmp_path.glob("site/annotated_types"))


def test_a_machine_without_pip_learns_how_to_get_it(tmp_path: Path) -> None:
    """The first interpreter that has pip is used. Without one, the text names the command."""
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\necho No module named pip >&2; exit 1\n")
    bare.chmod(0o755)
    assert pip_of(["", "/nowhere/python", str(bare), sys.executable]) == sys.executable
    with pytest.raises(PackageError, match="ensurepip"):
        pip_of([str(bare)])
