"""The local Functions host as a process that runs a small app of the test, and the queues of that app."""

import base64
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueClient

from local.stack.process import LISTENING, ROOT, wait_for

DEADLINE_S = 60.0

HEAD = """
    import asyncio, json, logging, threading, time, typing
    import azure.functions as func
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
    STORAGE = "AzureWebJobsStorage"
"""
"""The first lines of the app of a queue test."""


@dataclass(frozen=True)
class RunningHost:
    """A host that listens: its process, a client of it, and its log."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    log: Path

    @property
    def written(self) -> str:
        """Everything that the host has written to standard output and standard error."""
        return self.log.read_text()

    def await_text(self, text: str, times: int = 1) -> None:
        """Wait until the host, or a function in it, has written the text this number of times."""
        assert wait_for(lambda: self.written.count(text) >= times, DEADLINE_S), self.written


def write_app(directory: Path, source: str, queues: Mapping[str, object] | None = None, **http: object) -> Path:
    """Write an app with this function_app.py into the directory. `http` and `queues` go into its host.json."""
    polling = {"maxPollingInterval": "00:00:00.200", "batchSize": 4, "newBatchThreshold": 0}
    extensions = {"http": http, "queues": {**polling, **(queues or {})}}
    (directory / "host.json").write_text(json.dumps({"version": "2.0", "extensions": extensions}))
    (directory / "function_app.py").write_text(textwrap.dedent(source))
    return directory


def start(
    app: Path, log: Path, settings: Mapping[str, str], port: int = 0, time_factor: float = 1
) -> subprocess.Popen[bytes]:
    """Start a host over the app, on a free port unless one is given. Its output goes to the log."""
    flags = ("--port", str(port), "--app", str(app), "--time-factor", str(time_factor))
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "local.host", *flags],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **settings},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


@contextmanager
def running(app: Path, time_factor: float = 1, log: str = "host.log", **settings: str) -> Iterator[RunningHost]:
    """Run a host over the app until the end of the block. It has loaded the app when the block begins."""
    with listening(app, time_factor, log, **settings) as host:
        host.await_text("host.started")
        yield host


@contextmanager
def listening(app: Path, time_factor: float = 1, log: str = "host.log", **settings: str) -> Iterator[RunningHost]:
    """Run a host over the app until the end of the block. It may still be loading the app when the block begins."""
    file = app / log
    process = start(app, file, settings, time_factor=time_factor)
    try:
        with httpx.Client(base_url=_url(process, file), timeout=DEADLINE_S, trust_env=False) as client:
            yield RunningHost(process, client, file)
    finally:
        process.kill()
        process.wait()


def refusal(app: Path, *, port: int = 0, **settings: str) -> str:
    """Return the output of a host that refuses to run the app."""
    log = app / "host.log"
    process = start(app, log, settings, port)
    assert process.wait(DEADLINE_S) == 1, log.read_text()
    return log.read_text()


def queue(account: str, name: str) -> QueueClient:
    """Return a client of the queue that does not encode: a message's content is the text on the wire."""
    return QueueClient.from_connection_string(account, name)


def put(account: str, name: str, body: bytes, *, encode: bool = True) -> None:
    """Put a message on a queue. Create a queue that is missing, because the host does not."""
    text = base64.b64encode(body).decode() if encode else body.decode()
    with closing(queue(account, name)) as client:
        if not exists(client):
            client.create_queue()
        client.send_message(text)


def exists(client: QueueClient) -> bool:
    """Return whether the queue exists."""
    try:
        client.get_queue_properties()
    except ResourceNotFoundError:
        return False
    return True


def length(account: str, name: str) -> int | None:
    """Return how many messages a queue has, including invisible ones, or None if it does not exist."""
    with closing(queue(account, name)) as client:
        return client.get_queue_properties().approximate_message_count if exists(client) else None


def await_texts(account: str, name: str, count: int) -> list[str]:
    """Wait for this number of messages and return their texts as they are on the wire."""
    with closing(queue(account, name)) as client:
        assert wait_for(lambda: exists(client) and len(client.peek_messages(max_messages=32)) >= count, DEADLINE_S)
        return [message.content for message in client.peek_messages(max_messages=32)]


def await_empty(account: str, name: str) -> None:
    """Wait until the queue has no message, visible or not."""
    assert wait_for(lambda: length(account, name) == 0, DEADLINE_S)


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    def listening() -> str | None:
        assert process.poll() is None, log.read_text()
        found = LISTENING.search(log.read_text())
        return found[1] if found else None

    url = wait_for(listening, DEADLINE_S)
    assert url, log.read_text()
    return url
