"""Installs environments one at a time, in a temporary place, and never partially.

An environment is built under a temporary name and renamed when it is complete. So an interrupted installer leaves
nothing that counts as installed. Any number of processes can request the same environment at once. The first one takes
a lock and builds it, and the others wait and find it.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.environments.environment import ROOT, Environment
from local.environments.ticking import ticking
from local.locks import lock

WORKPLACE = ROOT / ".setup"
MARK = ".installed.json"


def ensure(environment: Environment, workplace: Path = WORKPLACE) -> None:
    """Install the environment unless it is complete. Raise SetupError if that fails.

    The workplace holds the lock and the build directories. It must be on the file system of the environment's home.
    """
    if is_whole(environment):
        return
    with _lock(workplace):
        if not is_whole(environment):  # another process may have built it while this one waited
            _install(environment, workplace)


def is_whole(environment: Environment) -> bool:
    """Return whether the environment is installed from the current files and nothing in it is missing."""
    try:
        mark = json.loads((environment.home / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(mark == environment.fingerprint()) and environment.missing(environment.home) is None


@contextmanager
def _lock(workplace: Path) -> Iterator[None]:
    workplace.mkdir(exist_ok=True)
    with (workplace / "lock").open("w") as file:
        lock(file)
        for left_behind in workplace.glob("new-*"):  # left by a killed process, since we hold the lock
            shutil.rmtree(left_behind, ignore_errors=True)
        yield


def _install(environment: Environment, workplace: Path) -> None:
    # Taken before the build, so that the next command installs again if a file changes meanwhile.
    fingerprint = environment.fingerprint()
    with (
        ticking(f"setting up {os.path.relpath(environment.home)}"),
        tempfile.TemporaryDirectory(prefix="new-", dir=workplace) as directory,
    ):
        built = environment.build(Path(directory))
        (built / MARK).write_text(json.dumps(fingerprint), encoding="utf-8")
        _put_in_place(built, environment.home, Path(directory) / "replaced")


def _put_in_place(built: Path, home: Path, replaced: Path) -> None:
    """Rename the build to its home. Environments inside the one that it replaces are kept."""
    home.parent.mkdir(parents=True, exist_ok=True)
    if home.exists():
        for inner in home.glob(f"*/{MARK}"):
            inner.parent.rename(built / inner.parent.name)
        home.rename(replaced)
    built.rename(home)
