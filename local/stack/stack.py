"""The local stack as one context manager: Azurite, the callback receiver, the simulated model, the Functions host."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from azure.core.exceptions import ResourceExistsError
from azure.storage.queue import QueueClient

from local.azurite import Azurite, azurite
from local.credentials.keys import Credentials, kept_credentials
from local.stack.hook import Hook
from local.stack.ports import free_port
from local.stack.process import ROOT, PartError, Process, wait_for

START_DEADLINE_S = 60.0
CALLER = "local"
REPLIES = "replies"  # the queue that receives events


@dataclass(frozen=True)
class Served:
    """The app that the host serves: its directory, and the Python that has its libraries and the local host's."""

    directory: Path = ROOT
    python: str = sys.executable


HERE = Served()


@dataclass(frozen=True)
class Stack:
    """A running stack: its addresses, and the credentials of a caller."""

    host_url: str
    receiver_url: str
    credentials: Credentials
    storage: Azurite
    connection: str = field(repr=False)
    parts: Mapping[str, Process]
    _start_host: Callable[..., str] = field(repr=False)

    @property
    def base_url(self) -> str:
        """The base URL for the SDKs."""
        return f"{self.host_url}/openai/v1"

    def check(self) -> None:
        """Raise PartError, which names the part, if one has ended."""
        self.storage.check()
        for process in self.parts.values():
            process.check()

    def kill_host(self) -> int:
        """Kill the host at an arbitrary point, as a crash does. Return its process id."""
        host = self.parts["host"]
        host.kill()
        host.stop()
        return host.pid

    def start_host(self) -> None:
        """Start the killed host again at the same address. Return once it is ready."""
        self._start_host()
        _wait_until_ready(self)

    def add_host(self) -> str:
        """Start one more host on the same storage, as a second instance. Return its address once it is ready."""
        url = self._start_host(name="second", port=free_port())
        _wait_until_ready(self, url, "second")
        return url


@contextmanager
def stack(
    directory: Path | None = None,
    port: int = 0,
    connect: Callable[[Azurite], str] = Azurite.account,
    *,
    webhooks: bool = False,
    served: Served = HERE,
    extra: Mapping[str, str] | None = None,
    others: Sequence[Credentials] = (),
) -> Iterator[Stack]:
    """Run the whole stack until the end of the block, then stop its parts in reverse order.

    A directory keeps the data and the caller's key for the next run. Port 0 selects a free port. If UPSTREAM_BASE_URL
    is set in the environment, the service uses that upstream, otherwise the simulated model. `connect` returns the
    host's connection string. With `webhooks`, the simulated model sends the host a webhook when work has ended. `extra`
    are more settings of the host, which serves the app `served`. `others` are more callers.
    """
    port = port or free_port()
    hook = Hook(f"http://127.0.0.1:{port}") if webhooks else None
    with ExitStack() as cleanup:
        credentials = kept_credentials(directory, CALLER)
        storage = cleanup.enter_context(azurite(directory))
        parts = _Parts(cleanup, Path(cleanup.enter_context(TemporaryDirectory(prefix="stack-"))))
        receiver_url = parts.start("stack.receiver", "--secret", credentials.signing_secret)
        connection = connect(storage)
        make_queue(connection, REPLIES)
        settings = {**_settings(connection, [credentials, *others]), **_upstream(parts, hook), **(extra or {})}
        start_host = partial(parts.start_host, served, settings, port=port)
        running = Stack(start_host(), receiver_url, credentials, storage, connection, parts.processes, start_host)
        _wait_until_ready(running)
        yield running


@dataclass(frozen=True)
class _Parts:
    cleanup: ExitStack
    logs: Path
    processes: dict[str, Process] = field(default_factory=dict)

    def start(self, module: str, *arguments: str, **settings: str) -> str:
        """Start `python -m local.<module>` and return the address that it announces."""
        process = self._launch(module, *arguments, **settings)
        self.cleanup.callback(process.stop)
        return process.url(START_DEADLINE_S)

    def start_host(self, served: Served, settings: Mapping[str, str], *, port: int, name: str = "host") -> str:
        """Start a host and return its address. If it gives up, it is started again.

        Ctrl-C stops it at once. On SIGTERM it would take the time that the platform takes.
        """
        command = [served.python, "-m", "local.host", "--port", str(port), "--app", str(served.directory)]
        process = self._run(name, command, settings)
        self.cleanup.callback(process.stop, number=signal.SIGINT)
        process.restart_when_it_gives_up()
        return process.url(START_DEADLINE_S)

    def _launch(self, module: str, *arguments: str, **settings: str) -> Process:
        name = module.rpartition(".")[2]
        return self._run(name, [sys.executable, "-m", f"local.{module}", *arguments], settings)

    def _run(self, name: str, command: Sequence[str], settings: Mapping[str, str]) -> Process:
        self.processes[name] = Process(name, command, env=settings, log=self.logs / f"{name}.log")
        return self.processes[name]


def make_queue(connection: str, name: str) -> None:
    """Make a queue that may be there already."""
    with QueueClient.from_connection_string(connection, name) as queue, suppress(ResourceExistsError):
        queue.create_queue()


def _settings(connection: str, callers: Sequence[Credentials]) -> dict[str, str]:
    return {
        "AzureWebJobsStorage": connection,
        "CALLERS": json.dumps([_configured(one) for one in callers]),
        "CALLBACK_ALLOW_LOOPBACK": "true",
        "CONSOLE": "true",
        "REPLY_QUEUES": f"{REPLIES},{REPLIES}-*",
        "PYTHON_ENABLE_INIT_INDEXING": "1",
    }


def _configured(caller: Credentials) -> dict[str, object]:
    """Return an element of CALLERS. The caller of `make start` is an operator, so that the console shows all it has."""
    return {**caller.configuration(), **({"role": "operator"} if caller.name == CALLER else {})}


def _upstream(parts: _Parts, hook: Hook | None) -> dict[str, str]:
    if os.environ.get("UPSTREAM_BASE_URL"):
        return {}
    flags, settings = (hook.flags, hook.settings) if hook else ([], {})
    return {
        "UPSTREAM_BASE_URL": parts.start("model", "--port", "0", *flags),
        "UPSTREAM_API_KEY": "simulated",
        "UPSTREAM_HONOURS_IDEMPOTENCY_KEY": "true",
        **settings,
    }


def _wait_until_ready(running: Stack, url: str = "", part: str = "host") -> None:
    answer = "no answer"

    def is_ready() -> bool:
        nonlocal answer
        running.check()
        status, answer = _health(url or running.host_url)
        return status == httpx.codes.OK

    if not wait_for(is_ready, START_DEADLINE_S):
        log = running.parts[part].log()
        raise PartError(part, f"not ready after {START_DEADLINE_S:g} s, last answer: {answer}", log)


def _health(host_url: str) -> tuple[int, str]:
    try:
        answer = httpx.get(f"{host_url}/health/ready", timeout=10.0, trust_env=False)
    except httpx.TransportError as error:
        return 0, str(error)
    return answer.status_code, f"{answer.status_code} {answer.text}"
