"""Copies of the app with some lines changed: the next format of rows, and planted faults."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local.stack.process import ROOT, PartError

PARTS = ("function_app.py", "host.json", "functions", "shared")


@dataclass(frozen=True)
class Change:
    """A text of a source file, which is there once, and what replaces it."""

    path: str
    old: str
    new: str


NEXT_FORMAT = (
    Change("shared/storage/codec.py", "ROW_VERSION = 2 ", "ROW_VERSION = 3 "),
    Change(
        "shared/storage/codec.py",
        "return orjson.dumps({VERSION: ROW_VERSION, **said})",
        'return orjson.dumps({VERSION: ROW_VERSION, "colour": {"of": ["a", {"b": None}]}, **said})',
    ),
)
"""What a next release may do to rows: a higher version, and a member that this one does not know."""


def copied(directory: Path, changes: Sequence[Change], source: Path = ROOT) -> Path:
    """Copy the app of `source` into a new directory, make the changes in it, and return the directory.

    Raise PartError if a text to change is not there once.
    """
    directory.mkdir(parents=True)
    ignore = shutil.ignore_patterns("__pycache__")
    for part in PARTS:
        if (source / part).is_dir():
            shutil.copytree(source / part, directory / part, ignore=ignore)
        else:
            shutil.copy(source / part, directory / part)
    for change in changes:
        _make(directory, change)
    return directory


def _make(directory: Path, change: Change) -> None:
    path = directory / change.path
    text = path.read_text(encoding="utf-8")
    if text.count(change.old) != 1:
        raise PartError("app", f"{change.path} has this text {text.count(change.old)} times, not once: {change.old!r}")
    path.write_text(text.replace(change.old, change.new), encoding="utf-8")
