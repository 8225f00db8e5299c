"""The keys of the rows of gates. They are in partitions of their own.

| PartitionKey | RowKey | row |
|---|---|---|
| `gate:<32 hex digits>` | `gate` | the gate: counts, phase, lines |
| the same | `hold|<id>` | a permit of a response |
| the same | `wait|<caller tag>|<created, 13-digit unix ms>|<id>` | a place in the line of a caller |
| `gates` | `gate|<32 hex digits>` | the name of a gate that has rows |
"""

import hashlib

from shared.core.gates.state import Place
from shared.core.ids import tag
from shared.core.keys import END

REGISTRY = "gates"
GATE = "gate"
HOLDS = "hold|"
WAITS = "wait|"


def gate_partition(name: str) -> str:
    """Return the PartitionKey of the rows of a gate."""
    return f"gate:{_hash(name)}"


def registry_key(name: str) -> str:
    """Return the row key that a gate has in the registry."""
    return f"gate|{_hash(name)}"


def hold_key(response_id: str) -> str:
    """Return the row key of the permit of a response."""
    return f"{HOLDS}{response_id}"


def wait_key(place: Place) -> str:
    """Return the row key of a place in a line."""
    return f"{line_from(place.caller)}{place.created_ms:013d}|{place.id}"


def line_from(caller: str) -> str:
    """Return a key below every place in the line of a caller."""
    return f"{WAITS}{tag(caller)}|"


def line_end(caller: str) -> str:
    """Return a key above every place in the line of a caller."""
    return line_from(caller) + END


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]
