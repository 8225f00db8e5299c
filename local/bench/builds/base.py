"""Another commit of this repository, checked out beside it to be compared with it."""

import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from local.bench.builds.build import Build
from local.environments.environment import SetupError
from local.environments.installing import ensure
from local.environments.python_packages import PythonPackages
from local.stack.process import ROOT, PartError
from local.stack.stack import HERE, Served

REQUIREMENTS = "requirements-dev.txt"
GIT_DEADLINE_S = 60


@contextmanager
def base(commit: str) -> Iterator[Build]:
    """Check a commit out into a temporary folder, and yield its app with an environment of its own requirements.

    The environment stays in .venv for the next run. Where both commits require the same, this one's serves both. Raise
    PartError if there is no such commit, or if its requirements cannot be installed.
    """
    name = _git("rev-parse", "--verify", "--short=7", f"{commit}^{{commit}}").decode().strip()
    folder = Path(tempfile.mkdtemp(prefix="base-"))
    try:
        with tarfile.open(fileobj=BytesIO(_git("archive", "--format=tar", name))) as archive:
            archive.extractall(folder, filter="data")
        yield Build(name, Served(folder, _python(name, folder)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def head() -> str:
    """Return the short id of this checkout's commit, with a + if files differ from it."""
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return _git("rev-parse", "--short=7", "HEAD").decode().strip() + ("+" if changed else "")


def _python(name: str, folder: Path) -> str:
    required = folder / REQUIREMENTS
    if required.read_bytes() == (ROOT / REQUIREMENTS).read_bytes():
        return HERE.python
    environment = PythonPackages(ROOT / ".venv" / f"base-{name}", required)
    try:
        ensure(environment)
    except SetupError as error:
        raise PartError(f"base {name}", str(error)) from error
    return str(environment.home / "bin" / "python")


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False, timeout=GIT_DEADLINE_S)
    if done.returncode:
        raise PartError("git", done.stderr.decode().strip())
    return done.stdout
