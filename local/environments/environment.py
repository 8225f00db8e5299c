"""What an environment is: where it is installed, what it is made from, and what a complete one contains."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parents[2]


class SetupError(Exception):
    """An environment could not be installed. The text names it and the reason, and ends with the installer's output."""


class Environment(Protocol):
    """A directory that an installer fills from files of this project."""

    name: str
    home: Path

    def fingerprint(self) -> str:
        """Return a hash of everything that decides what the environment contains."""

    def build(self, directory: Path) -> Path:
        """Install into an empty directory and return the path that becomes `home`. Raise SetupError if that fails."""

    def missing(self, built: Path) -> str | None:
        """Return the first thing that a built environment lacks, or None if it is complete."""


def hash_of(files: Sequence[Path], *words: str) -> str:
    """Return one hash of the contents of the files and of the words."""
    digest = hashlib.sha256("\0".join(words).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
