"""The queue and the storage account that a binding refers to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from local.host.bindings import Binding
from local.host.errors import LoadError
from local.host.settings import resolve

_NAME = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}")
_POISON = "-poison"


@dataclass(frozen=True)
class QueueAddress:
    """A queue and the connection string of its account. The connection string never appears in its text form."""

    name: str
    connection: str = field(repr=False)

    @property
    def poison(self) -> "QueueAddress | None":
        """The queue for messages that failed too often, or None for a poison queue."""
        if self.name.endswith(_POISON):
            return None
        return QueueAddress(self.name + _POISON, self.connection)


def address(binding: Binding, environment: Mapping[str, str]) -> QueueAddress:
    """Return the queue of a binding. Raise LoadError for an invalid name or a connection that is not set."""
    name = resolve(binding.fields["queueName"], environment).lower()
    if not _NAME.fullmatch(name) or len(name) > 63:
        raise LoadError(f"the queue name {name!r} is invalid")
    setting = binding.fields.get("connection") or "AzureWebJobsStorage"
    connection = environment.get(setting) or environment.get(f"AzureWebJobs{setting}")
    if not connection:
        raise LoadError(f"the connection setting {setting} of queue {name} is not set")
    return QueueAddress(name, connection)
