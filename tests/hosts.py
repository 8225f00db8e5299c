"""Running the local Functions host as the process it is, over small apps written for one test."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from local.process import LISTENING, ROOT, wait_for

DEADLINE_S = 60.0


@dataclass(frozen=True)
class RunningHost:
    """A host that listens: its address, a client for it, and what it wrote."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    log: Path

    @property
    def written(self) -> str:
        """Everything the host has written to standard output and standard error."""
        return self.log.read_text()

    def await_text(self, text: str, times: int = 1) -> None:
        """Wait until the host, or a function in it, has written the text that many times."""
        assert wait_for(lambda: self.written.count(text) >= times, DEADLINE_S), self.written


def write_app(directory: Path, source: str, queues: Mapping[str, object] | None = None, **http: object) -> Path:
    """Write an app of the given function_app.py into the directory, with `http` and `queues` in its host.json."""
    polling = {"maxPollingInterval": "00:00:00.200", "batchSize": 4, "newBatchThreshold": 0}
    extensions = {"http": http, "queues": {**polling, **(queues or {})}}
    (directory / "host.json").write_text(json.dumps({"version": "2.0", "extensions": extensions}))
    (directory / "function_app.py").write_text(textwrap.dedent(source))
    return directory


def start(app: Path, log: Path, settings: Mapping[str, str], port: int = 0) -> subprocess.Popen[bytes]:
    """Start a host over the app, on a free port unless one is given; its output goes to the log."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "local.host", "--port", str(port), "--app", str(app)],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **settings},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


@contextmanager
def running(app: Path, **settings: str) -> Iterator[RunningHost]:
    """Run a host over the app until the end of the block."""
    log = app / "host.log"
    process = start(app, log, settings)
    try:
        with httpx.Client(base_url=_url(process, log), timeout=DEADLINE_S, trust_env=False) as client:
            yield RunningHost(process, client, log)
    finally:
        process.kill()
        process.wait()


def refusal(app: Path, *, port: int = 0, **settings: str) -> str:
    """Return what a host says that refuses to run the app."""
    log = app / "host.log"
    process = start(app, log, settings, port)
    assert process.wait(DEADLINE_S) == 1, log.read_text()
    return log.read_text()


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    def listening() -> str | None:
        assert process.poll() is None, log.read_text()
        found = LISTENING.search(log.read_text())
        return found[1] if found else None

    url = wait_for(listening, DEADLINE_S)
    assert url, log.read_text()
    return url
