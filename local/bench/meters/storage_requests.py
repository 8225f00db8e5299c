"""Sorts storage requests into a response's own work and shared work. Pure.

Own work is what one response causes, however many others there are. It consists of transactions with its record, reads
of the record, and its delivery message. Shared work serves a whole shard or the whole host. It consists of sweeps with
their moves, wake-ups, and queue polls that find nothing.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

RECORD = (b"resp|", b"resp%7C")
ALARMS = "RowKey ge 'alarm|"


@dataclass(slots=True)
class StorageRequest:
    """One request as sent over the wire. Whether its answer contains a queue message is set later."""

    service: str
    method: str
    path: str
    body: bytes
    brought_message: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """What a request was for."""

    name: str
    is_own: bool


@dataclass(frozen=True, slots=True)
class Count:
    """The number of requests with a name, per response."""

    name: str
    own: float
    shared: float

    @property
    def in_full(self) -> float:
        """All of these requests, as the storage account is charged for them."""
        return self.own + self.shared


NAMES = (
    "table transaction",
    "table get",
    "table query",
    "table other",
    "queue put",
    "queue get",
    "queue get, empty",
    "queue delete",
    "queue other",
)
_QUEUE_NAMES = {"POST": "queue put", "DELETE": "queue delete"}


def counts(requests: Iterable[StorageRequest], responses: int) -> list[Count]:
    """Return the number of requests per response, with a row for every name."""
    seen = Counter(kind_of(request) for request in requests)
    among = max(responses, 1)
    return [Count(name, seen[Kind(name, True)] / among, seen[Kind(name, False)] / among) for name in NAMES]


def kind_of(request: StorageRequest) -> Kind:
    """Return what a request was for."""
    return _table_kind(request) if request.service == "table" else _queue_kind(request)


def _table_kind(request: StorageRequest) -> Kind:
    if request.path.endswith("/$batch"):
        return Kind("table transaction", any(mark in request.body for mark in RECORD))
    if request.method != "GET":
        return Kind("table other", True)
    if "(PartitionKey=" in request.path:
        return Kind("table get", True)
    return Kind("table query", ALARMS not in unquote(request.path))


def _queue_kind(request: StorageRequest) -> Kind:
    is_delivery = request.path.split("/")[2] == "deliveries"
    if request.method != "GET":
        return Kind(_QUEUE_NAMES.get(request.method, "queue other"), is_delivery)
    if not request.brought_message:
        return Kind("queue get, empty", False)
    return Kind("queue get", is_delivery)
