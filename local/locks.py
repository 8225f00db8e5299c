"""Locks of files that processes share, by `fcntl`, or by `msvcrt` on Windows, which does not have that."""

import importlib
import time
from typing import IO, Any

try:
    import fcntl
except ImportError:
    _windows: Any = importlib.import_module("msvcrt")
else:
    _windows = None

PAUSE_S = 0.2
"""Between two tries where the system has no call that waits for as long as it takes."""


def lock(file: IO[str]) -> None:
    """Lock a file for this process, and wait while another one has the lock. Closing the file unlocks it."""
    if _windows is None:
        fcntl.flock(file, fcntl.LOCK_EX)
        return
    while not _is_taken(file):
        time.sleep(PAUSE_S)


def lock_now(file: IO[str]) -> None:
    """Lock a file for this process. Raise BlockingIOError if another one has the lock."""
    if _windows is None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    elif not _is_taken(file):
        raise BlockingIOError(f"{file.name} is locked")


def _is_taken(file: IO[str]) -> bool:
    """Take the lock of the file's first byte, which need not exist. Return whether that could be done."""
    file.seek(0)
    try:
        _windows.locking(file.fileno(), _windows.LK_NBLCK, 1)
    except OSError:
        return False
    return True
