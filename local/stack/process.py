"""Child processes of the local stack: how they are started, awaited, and stopped by their own process id."""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[2]
LOG_LINES = 20
ENDED_BY_ITSELF = 70
"""The exit code of a host that gave up. Whoever started it starts it again, as the platform does."""

RESTART_PAUSE_S = 0.5
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
        self._command = command
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1", **env}
        self._is_kept_up = False
        self._is_stopped = threading.Event()
        self._starting = threading.Lock()
        log.write_bytes(b"")
        self._popen = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.file.open("ab") as output:
            return subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # without effect on Windows, which has groups of processes for that
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )

    def restart_when_it_gives_up(self) -> None:
        """Start the process again whenever it has ended by itself, until it is stopped. A killed one stays dead."""
        self._is_kept_up = True
        threading.Thread(target=self._keep_up, daemon=True).start()

    def _keep_up(self) -> None:
        while self._popen.wait() == ENDED_BY_ITSELF:
            self._is_stopped.wait(RESTART_PAUSE_S)
            with self._starting:
                if self._is_stopped.is_set():
                    return
                self._popen = self._start()

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
        """Raise PartError if the process has ended and is not started again."""
        if (code := self._popen.poll()) is not None and not (code == ENDED_BY_ITSELF and self._is_kept_up):
            raise self.failure(f"ended with exit code {code}")

    def wait(self, deadline_s: float) -> int:
        """Wait until the process ends and return its exit code. Raise PartError if it has not ended by the deadline."""
        try:
            return self._popen.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise self.failure(f"not done after {deadline_s:g} s") from None

    def failure(self, reason: str) -> PartError:
        """Return an error that names this part and contains the end of its log."""
        return PartError(self.name, reason, self.log())

    def stop(self, grace_s: float = 10.0, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop the process with a signal, and kill it if it still runs after the grace period.

        Windows has no signals between processes, so that kills at once.
        """
        with self._starting:
            self._is_stopped.set()
        try:
            self._popen.send_signal(number)
        except ValueError:
            self._popen.terminate()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(grace_s)
        finally:
            self._popen.kill()
            self._popen.wait()

    def kill(self) -> None:
        """Kill the process at an arbitrary point, as a crash does."""
        self._popen.kill()

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
