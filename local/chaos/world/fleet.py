"""The hosts of a run: each is killed, frozen, upgraded and started again at its own address."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import httpx
import psutil

from local.host.skew import SETTING
from local.stack.process import PartError, Process, wait_for

READY_S = 60.0
CALL_S = 5.0
DRAIN_S = 8.0  # how long a host that is replaced may finish what it does
STORAGE_FAILED = "StoreUnavailable"
GRANTED = '"run.granted"'
# What a host logs about an error that the code does not expect.
UNEXPECTED = (
    *("request.failed", "run.failed", "run.given_up", "alarm.failed", "alarm.given_up", "function.failed"),
    *("handler.raised", "never retrieved", "poison.rearmed", "poison.unreadable", "poison.failed", "tail.failed"),
)


@dataclass
class Life:
    """One process of a host: what it served, and samples of its memory in bytes by unix time."""

    pid: int
    version: str
    samples: list[tuple[float, int]] = field(default_factory=list)


class Host:
    """A Functions host at one port, with a wrong clock. Its methods may be called from several threads."""

    def __init__(self, directory: Path, settings: Mapping[str, str], port: int, skew_s: float) -> None:
        self.port = port
        self.lives = list[Life]()
        self._settings = {**settings, SETTING: f"{skew_s:g}"}
        self._directory = directory
        self._process: Process | None = None
        self._lock = threading.Lock()
        self._logs = list[Path]()
        self._served = Path()
        self._version = ""

    def start(self, app: Path, version: str) -> None:
        """Start the host with an app. It may still be loading when this returns."""
        with self._lock:
            self._served, self._version = app, version
            self._start()

    def kill(self, down_s: float) -> None:
        """Kill the host with SIGKILL, and start it again `down_s` seconds later."""
        with self._lock:
            process = self._running()
            os.kill(process.pid, signal.SIGKILL)
            process.stop()
            time.sleep(down_s)
            self._start()

    def freeze(self, lasts_s: float) -> None:
        """Let the host stand still for so many seconds."""
        with self._lock:
            pid = self._running().pid
            os.kill(pid, signal.SIGSTOP)
            try:
                time.sleep(lasts_s)
            finally:
                os.kill(pid, signal.SIGCONT)

    def replace(self, app: Path, version: str) -> None:
        """Stop the host as the platform does, and start it with another app."""
        with self._lock:
            self._running().stop(DRAIN_S)
            self._served, self._version = app, version
            self._start()

    def close(self) -> None:
        """End the host at once, if it runs."""
        with self._lock:
            if self._process:
                self._process.stop(5.0, number=signal.SIGINT)
                self._process = None

    def sample(self) -> None:
        """Note the memory of the process, if it runs."""
        if self._process and self.lives and self._process.pid == self.lives[-1].pid:
            try:
                used = psutil.Process(self._process.pid).memory_info().rss
            except psutil.Error:
                return
            self.lives[-1].samples.append((time.time(), int(used)))

    def unexpected(self) -> list[str]:
        """Return the log lines about events that must not happen.

        A function of a queue fails when storage does, so that the platform repeats its message. That may happen.
        """
        found = [line for line in self._lines() if any(text in line for text in UNEXPECTED)]
        return [line for line in found if not ("function.failed" in line and STORAGE_FAILED in line)]

    def lapsed(self) -> list[tuple[str, float]]:
        """Return the ids of the runs whose lease this host has found lapsed, and when, in unix seconds."""
        told = [json.loads(line) for line in self._lines() if GRANTED in line and line.startswith("{")]
        return [(one["response"], datetime.fromisoformat(one["time"]).timestamp()) for one in told if one["lapsed"]]

    def _lines(self) -> list[str]:
        return [line for log in self._logs for line in log.read_text(errors="replace").splitlines()]

    def wait_until_ready(self) -> None:
        """Return when the host answers that it can work. Raise PartError if it does not within a minute."""
        if not wait_for(self._is_ready, READY_S):
            raise self._running().failure("not ready")

    def _start(self) -> None:
        self._logs.append(self._directory / f"host-{self.port}-{len(self._logs)}.log")
        command = [sys.executable, "-m", "local.host", "--port", str(self.port), "--app", str(self._served)]
        self._process = Process("host", command, env=self._settings, log=self._logs[-1])
        self._process.restart_when_it_gives_up()
        self.lives.append(Life(self._process.pid, self._version))

    def _is_ready(self) -> bool:
        self._running().check()
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/health/ready", timeout=CALL_S, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def _running(self) -> Process:
        if self._process is None:
            raise PartError("host", "not started")
        return self._process
