"""The stack that a run is made on: fresh, always with the simulated model, its parts within reach of the meters."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from anyio.from_thread import start_blocking_portal

from local.azurite import Azurite, azurite
from local.bench.tap import Tap, tap
from local.keys import Credentials, new_credentials
from local.process import Process

START_DEADLINE_S = 60.0
TAPPED = ("table", "queue")


@dataclass(frozen=True)
class Stage:
    """A running stack."""

    credentials: Credentials
    storage: Azurite
    tap: Tap | None
    model: Process
    receiver: Process
    host: Process

    def check(self) -> None:
        """Raise PartError, which names the part, when one has ended."""
        self.storage.check()
        for process in (self.model, self.receiver, self.host):
            process.check()


@contextmanager
def stage(*, tapped: bool) -> Iterator[Stage]:
    """Run a stack until the end of the block; with a tap between host and Azurite if its requests are wanted."""
    with ExitStack() as cleanup:
        credentials = new_credentials("bench")
        storage = cleanup.enter_context(azurite())
        listening = _tap(cleanup, storage) if tapped else None
        connection = storage.account()
        parts = _Parts(cleanup, Path(cleanup.enter_context(TemporaryDirectory(prefix="bench-"))))
        model = parts.start("model")
        receiver = parts.start("receiver", "--secret", credentials.signing_secret)
        host = parts.start(
            "host",
            "--port",
            "0",
            AzureWebJobsStorage=listening.through(connection) if listening else connection,
            CALLERS=json.dumps([credentials.configuration()]),
            CALLBACK_ALLOW_LOOPBACK="true",
            PYTHON_ENABLE_INIT_INDEXING="1",
            UPSTREAM_BASE_URL=model.url(START_DEADLINE_S),
            UPSTREAM_API_KEY="simulated",
            UPSTREAM_HONOURS_IDEMPOTENCY_KEY="true",
        )
        yield Stage(credentials, storage, listening, model, receiver, host)


def _tap(cleanup: ExitStack, storage: Azurite) -> Tap:
    """Run a tap in a thread of its own, until the clean-up."""
    portal = cleanup.enter_context(start_blocking_portal())
    targets = {service: storage.ports[service] for service in TAPPED}
    return cleanup.enter_context(portal.wrap_async_context_manager(tap(targets)))


@dataclass(frozen=True)
class _Parts:
    cleanup: ExitStack
    logs: Path

    def start(self, name: str, *arguments: str, **settings: str) -> Process:
        """Start `python -m local.<name>`; return it once it listens."""
        command = [sys.executable, "-m", f"local.{name}", *arguments]
        process = Process(name, command, env=settings, log=self.logs / f"{name}.log")
        self.cleanup.callback(process.stop)
        process.url(START_DEADLINE_S)
        return process
