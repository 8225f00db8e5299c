"""What all ways of running Azurite have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from local.stack.ports import free_port
from local.stack.process import PartError, wait_for

SERVICES = ("blob", "queue", "table")
# The SDKs use newer API versions than Azurite knows. No telemetry may leave the machine.
FLAGS = ("--skipApiVersionCheck", "--disableTelemetry", "--silent")
READY_DEADLINE_S = 60.0


class Azurite(ABC):
    """An Azurite on loopback, with storage accounts to hand out and outages on demand."""

    kind: ClassVar[str]

    def __init__(self, accounts: Mapping[str, str]) -> None:
        self.ports = {service: free_port() for service in SERVICES}
        self.env = {"AZURITE_ACCOUNTS": ";".join(f"{name}:{key}" for name, key in accounts.items())}
        self._unused = iter(accounts.items())

    def account(self) -> str:
        """Return the connection string of the next unused account. Raises PartError if all are in use."""
        try:
            name, key = next(self._unused)
        except StopIteration:
            raise PartError("azurite", "every account that it started with is in use") from None
        endpoints = (
            f"{service.title()}Endpoint=http://127.0.0.1:{port}/{name}" for service, port in self.ports.items()
        )
        return ";".join(("DefaultEndpointsProtocol=http", f"AccountName={name}", f"AccountKey={key}", *endpoints))

    def start(self) -> None:
        """Start Azurite and return when every service answers. After a stop, it has the same data and ports."""
        self._launch()
        if not wait_for(self._is_ready, READY_DEADLINE_S):
            raise PartError("azurite", f"no answer after {READY_DEADLINE_S:g} s", self.log())

    @abstractmethod
    def _launch(self) -> None: ...

    @abstractmethod
    def _is_ready(self) -> bool: ...

    @abstractmethod
    def stop(self) -> None:
        """Let Azurite write its data and exit. Connections are refused until the next start."""

    @abstractmethod
    def close(self) -> None:
        """Stop Azurite and leave nothing running."""

    @abstractmethod
    def check(self) -> None:
        """Raise PartError if Azurite is not running."""

    @abstractmethod
    def log(self) -> str:
        """Return the last lines that Azurite wrote."""

    @property
    @abstractmethod
    def pid(self) -> int | None:
        """The process id, or None if Azurite is not a child process."""

    @abstractmethod
    def cpu_s(self) -> float:
        """Return the processor time used since the latest start, in seconds."""
