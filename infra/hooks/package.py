"""The files of a deployment, selected by `.funcignore`, and a copy of them."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IGNORED = ".funcignore"
BYTECODE = "__pycache__"

Excludes = Callable[[str], bool]


class PackageError(Exception):
    """The package cannot be made. The text says why, and what to do."""


def patterns(root: Path = ROOT) -> list[str]:
    """Return the patterns of .funcignore."""
    every = (root / IGNORED).read_text(encoding="utf-8").splitlines()
    return [line for line in every if line and not line.startswith("#")]


def by_core_tools(root: Path = ROOT) -> Excludes:
    """Return a predicate that says whether a path is excluded by the rules of Core Tools.

    There a pattern matches the beginning of a path, up to the end of a word.
    """
    kept = [_beginning(line[1:]) for line in patterns(root) if line.startswith("!")]
    out = [_beginning(line) for line in patterns(root) if not line.startswith("!")]
    return lambda path: any(one.match(path) for one in out) and not any(one.match(path) for one in kept)


def _beginning(pattern: str) -> re.Pattern[str]:
    text = re.escape(pattern.removeprefix("/"))
    return re.compile(text.replace(r"\*\*", ".+").replace(r"\*", "[^/]+") + r"\b")


def deployed(excludes: Excludes, root: Path = ROOT, folder: str = "") -> Iterator[str]:
    """Yield the paths of all files that a deployment contains. Excluded folders are not read."""
    for path in sorted((root / folder).iterdir()):
        name = path.relative_to(root).as_posix()
        if path.is_dir() and not excludes(f"{name}/x"):
            yield from deployed(excludes, root, name)
        elif path.is_file() and not excludes(name):
            yield name


def unpack(directory: Path, root: Path = ROOT) -> Path:
    """Copy the files of a deployment into a directory, without bytecode. Return the directory."""
    for path in deployed(by_core_tools(root), root):
        if BYTECODE not in path.split("/"):
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / path, directory / path)
    return directory
