"""The files of a deployment, selected by .funcignore."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

from local.stack.process import ROOT

Excludes = Callable[[str], bool]


def lines() -> list[str]:
    """Return the patterns of .funcignore."""
    every = (ROOT / ".funcignore").read_text(encoding="utf-8").splitlines()
    return [line for line in every if line and not line.startswith("#")]


def by_git() -> Excludes:
    """Return a predicate that says whether a path is excluded by the rules of .gitignore."""
    return GitIgnoreSpec.from_lines(lines()).match_file


def by_core_tools() -> Excludes:
    """Return a predicate that says whether a path is excluded by the rules of Core Tools.

    There a pattern matches the beginning of a path, up to the end of a word.
    """
    kept = [_beginning(line[1:]) for line in lines() if line.startswith("!")]
    out = [_beginning(line) for line in lines() if not line.startswith("!")]
    return lambda path: any(one.match(path) for one in out) and not any(one.match(path) for one in kept)


def _beginning(pattern: str) -> re.Pattern[str]:
    text = re.escape(pattern.removeprefix("/"))
    return re.compile(text.replace(r"\*\*", ".+").replace(r"\*", "[^/]+") + r"\b")


def deployed(excludes: Excludes, folder: Path = ROOT) -> Iterator[str]:
    """Yield the paths of all files that a deployment contains. Excluded folders are not read."""
    for path in sorted(folder.iterdir()):
        name = path.relative_to(ROOT).as_posix()
        if path.is_dir() and not excludes(f"{name}/x"):
            yield from deployed(excludes, path)
        elif path.is_file() and not excludes(name):
            yield name


def unpack(directory: Path) -> Path:
    """Copy the files of a deployment into a directory, and return the directory."""
    for path in deployed(by_core_tools()):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, directory / path)
    return directory
