"""Child processes of the local stack: how they are started, awaited, and stopped by their own process id."""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[2]
LOG_LINES = 20
LISTENING = re.compile(r"listening on (https?://\S+)\n")

T = TypeVar("T")


class PartError(Exception):
    """A part of the local stack failed. The text names the part, the reason and the last lines of its log."""

    def __init__(self, part: str, reason: str, log: str = "") -> None:
        super().__init__(f"{part}: {reason}" + (f"\nlast lines of its log:\n{log}" if log else ""))
        self.part = part


class Process:
    """A running child process. It has its own session, so that Ctrl-C reaches it only through its parent."""

    def __init__(self, name: str, command: Sequence[str], *, env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.file = log  # receives its output
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    def log(self) -> str:
        """Return the last lines that the process wrote."""
        return "\n".join(self._written().splitlines()[-LOG_LINES:])

    def url(self, deadline_s: float) -> str:
        """Wait for the line in which the process announces its address, and return the address."""
        url = wait_for(self._find_url, deadline_s)
        if url is None:
            raise self.failure(f"not ready after {deadline_s:g} s")
        return url

    def check(self) -> None:
        """Raise PartError if the process has ended."""
        if (code := self._popen.poll()) is not None:
            raise self.failure(f"ended with exit code {code}")

    def failure(self, reason: str) -> PartError:
        """Return an error that names this part and contains the end of its log."""
        return PartError(self.name, reason, self.log())

    def stop(self, grace_s: float = 10.0) -> None:
        """Stop the process with SIGTERM, and with SIGKILL if it still runs after the grace period."""
        self._popen.terminate()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(grace_s)
        finally:
            self._popen.kill()
            self._popen.wait()

    def _find_url(self) -> str | None:
        self.check()
        match = LISTENING.search(self._written())
        return match[1] if match else None

    def _written(self) -> str:
        return self.file.read_text(errors="replace")


def wait_for(find: Callable[[], T | None], deadline_s: float) -> T | None:
    """Return the first true result of `find`, or None if the deadline passes before that."""
    end = time.monotonic() + deadline_s
    while not (found := find()):
        if time.monotonic() > end:
            return None
        time.sleep(0.05)
    return found


def interrupt_on_signals() -> None:
    """Let SIGINT and SIGTERM end this process with a KeyboardInterrupt, so that every `with` block is left.

    This includes a SIGINT that the shell had set to be ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
