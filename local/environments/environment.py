"""What one environment is: where it stands, what it is made from, and what a whole one contains."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parents[2]


class SetupError(Exception):
    """An environment could not be installed. The text says which one and why, and ends with the installer's output."""


class Environment(Protocol):
    """A directory that an installer fills from files of this project."""

    name: str
    home: Path

    def fingerprint(self) -> str:
        """Return a hash over everything that decides what the environment contains."""

    def build(self, directory: Path) -> Path:
        """Install into an empty directory and return the path that is to become `home`; raise SetupError."""

    def missing(self, built: Path) -> str | None:
        """Return the first thing that a built environment lacks; None if it is whole."""


def hash_of(files: Sequence[Path], *words: str) -> str:
    """Return one hash over the contents of the files and the words."""
    digest = hashlib.sha256("\0".join(words).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
