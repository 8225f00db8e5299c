"""Takes from an interpreter what Python for Windows does not have. It runs first where its folder is on PYTHONPATH.

It stands in for a machine with Windows, which the tests do not have. Gone are modules, signals, calls of `os`, handlers
of signals in an event loop, and signals between processes: the only one that does something there kills. Locks of files
are those of `msvcrt`. What it cannot take away: paths, the names of programs, sockets of Unix, and Windows' event loop.
"""

import asyncio
import contextlib
import fcntl
import importlib
import os
import signal
import subprocess
import sys
import types
from typing import Any, NoReturn

# The standard library and psutil import these on POSIX. They do not on Windows.
with contextlib.suppress(ImportError):
    importlib.import_module("psutil")

_KILL = signal.SIGKILL
_MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty")
_CALLS = (
    *("fork", "forkpty", "getegid", "geteuid", "getgid", "getloadavg", "getpgid", "getuid", "killpg", "mkfifo"),
    *("nice", "setsid", "setuid", "sched_getaffinity", "uname", "wait3", "wait4", "waitid", "chown", "fchmod"),
)
_KEPT = {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN"}


def _locking(descriptor: int, _mode: int, _count: int) -> None:
    """Take the lock of a file, or raise OSError."""
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _send_signal(process: "subprocess.Popen[Any]", number: int) -> None:
    """Kill a process, which is what SIGTERM does. Raise ValueError for any other signal."""
    if number != signal.SIGTERM:
        raise ValueError(f"Unsupported signal: {number}")
    _kill(process)


def _kill(process: "subprocess.Popen[Any]") -> None:
    if process.poll() is None:
        os.kill(process.pid, _KILL)


def _no_handler(*_arguments: object) -> NoReturn:
    raise NotImplementedError


for _name in _MODULES:
    sys.modules[_name] = None  # type: ignore[assignment]
for _name in _CALLS:
    if hasattr(os, _name):
        delattr(os, _name)
for _name in [one for one in dir(signal) if one.startswith("SIG") and one.isupper() and one not in _KEPT]:
    delattr(signal, _name)
sys.modules["msvcrt"] = types.ModuleType("msvcrt")
vars(sys.modules["msvcrt"]).update(LK_NBLCK=2, locking=_locking)
setattr(asyncio.SelectorEventLoop, "add_signal_handler", _no_handler)  # noqa: B010 - it is not this class's own
setattr(subprocess.Popen, "send_signal", _send_signal)  # noqa: B010 - mypy forbids the plain form
setattr(subprocess.Popen, "terminate", _kill)  # noqa: B010
setattr(subprocess.Popen, "kill", _kill)  # noqa: B010
