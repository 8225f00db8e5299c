"""The packages in a folder `node_modules`."""

import json
import shutil
from pathlib import Path

from local.environments.environment import hash_of
from local.environments.running import run

_INPUTS = ("package.json", "package-lock.json", ".npmrc")


class NodePackages:
    """The packages that a package-lock.json names, in the `node_modules` beside it."""

    def __init__(self, folder: Path, npmrc: Path) -> None:
        self.name = folder.name
        self.home = folder / "node_modules"
        self._lock = folder / "package-lock.json"
        self._inputs = (folder / "package.json", self._lock, npmrc)

    def fingerprint(self) -> str:
        """Return a hash of package.json, package-lock.json and .npmrc."""
        return hash_of(self._inputs)

    def build(self, directory: Path) -> Path:
        """Install exactly what the lock file names, with npm."""
        for source, name in zip(self._inputs, _INPUTS, strict=True):
            shutil.copyfile(source, directory / name)
        npm = shutil.which("npm") or "npm"  # npm.cmd on Windows, which is found only by its whole name
        run(self.name, [npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"], directory)
        return directory / "node_modules"

    def missing(self, built: Path) -> str | None:
        """Return the first required package of the lock file that is absent or has another version, or None."""
        packages = json.loads(self._lock.read_text(encoding="utf-8"))["packages"]
        wanted = {path: package for path, package in packages.items() if path and not package.get("optional")}
        return next((path for path, one in wanted.items() if _version(built.parent / path) != one["version"]), None)


def _version(package: Path) -> str | None:
    try:
        version: str = json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError):
        return None
    return version
