"""Locks of files that processes share. POSIX systems have them. On Windows this says what to do instead."""

import sys

if sys.platform == "win32":
    sys.exit("The local stack needs Linux or macOS. On Windows, run it in WSL 2 or the devcontainer: docs/laptop.md")

import fcntl
from typing import IO


def lock(file: IO[str]) -> None:
    """Lock a file for this process, and wait while another one has the lock. Closing the file unlocks it."""
    fcntl.flock(file, fcntl.LOCK_EX)


def lock_now(file: IO[str]) -> None:
    """Lock a file for this process. Raise BlockingIOError if another one has the lock."""
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
