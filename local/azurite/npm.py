"""Azurite as a Node.js process, from the npm package that package.json pins."""

from collections.abc import Mapping
from pathlib import Path

import psutil

from local.azurite.emulator import FLAGS, Azurite
from local.environments import catalogue
from local.environments.environment import SetupError
from local.environments.installing import ensure
from local.stack.process import ROOT, PartError, Process

MODULES = ROOT / "node_modules"
PROGRAM = MODULES / "azurite" / "dist" / "src" / "azurite.js"
LAST_TO_LISTEN = "Table service is successfully listening"


class NpmAzurite(Azurite):
    """Azurite in a child process. Its data is in the given directory."""

    kind = "npm"

    def __init__(self, accounts: Mapping[str, str], directory: Path) -> None:
        super().__init__(accounts)
        self._directory = directory
        self._process: Process | None = None

    def _launch(self) -> None:
        install()
        listen = [part for service, port in self.ports.items() for part in (f"--{service}Port", str(port))]
        command = ["node", str(PROGRAM), "--location", str(self._directory / "data"), *listen, *FLAGS]
        self._process = Process("azurite", command, env=self.env, log=self._directory / "azurite.log")

    def _is_ready(self) -> bool:
        # The log is checked because another process that already holds the port could answer there.
        self.check()
        return LAST_TO_LISTEN in self.log()

    def stop(self) -> None:
        """Let Azurite write its data and exit. Connections are refused until the next start."""
        self._running().stop()

    def close(self) -> None:
        """Stop Azurite and leave nothing running."""
        if self._process:
            self._process.stop()

    def check(self) -> None:
        """Raise PartError if the process is not running."""
        self._running().check()

    def log(self) -> str:
        """Return the last lines that Azurite wrote."""
        return self._running().log()

    @property
    def pid(self) -> int:
        """The process id of the latest start."""
        return self._running().pid

    def cpu_s(self) -> float:
        """Return the processor time used since the latest start, in seconds."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def _running(self) -> Process:
        if self._process is None:
            raise PartError("azurite", "not started")
        return self._process


def install() -> None:
    """Install the packages of package-lock.json into node_modules, unless they are already there."""
    try:
        ensure(catalogue.azurite())
    except SetupError as error:
        raise PartError("azurite", f"needs a Docker engine, or Node.js 20 or later with npm: {error}") from None
