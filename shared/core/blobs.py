"""Large JSON values, compressed and split into rows of the table.

Table Storage limits an entity to 1 MiB, a property to 64 KiB, and a transaction to 4 MiB on the wire. Binary is sent as
base64, which leaves about 3,000 KiB of data for a transaction. So a packed value is at most 2.5 MiB, in rows of at most
640 KiB. The limit is checked here, before anything is sent, because Azurite accepts some of what Azure rejects.
https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions
"""

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from shared import json_text

MAX_PACKED = 2_621_440  # bytes
_ROW = 655_360  # bytes
_PROPERTY = 65_536  # bytes
_MOST_PACKED = 1_032  # bytes of text that a packed byte can have: https://zlib.net/zlib_tech.html


class Oversized(Exception):
    """A packed value is larger than MAX_PACKED."""


def compress(text: bytes) -> bytes:
    """Return the compressed text. Raises Oversized if that is larger than MAX_PACKED."""
    packed = zlib.compress(text, 1)
    if len(packed) > MAX_PACKED:
        raise Oversized
    return packed


def pack(value: Any) -> bytes:
    """Return the value as compressed JSON. Raises Oversized if that is larger than MAX_PACKED."""
    return compress(orjson.dumps(value))


def expand(packed: bytes) -> bytes:
    """Return the text that `compress` was given. Raises ValueError if the bytes are damaged."""
    try:
        return zlib.decompress(packed)
    except zlib.error as error:
        raise ValueError("a packed row is damaged") from error


def expands_over(packed: bytes, size: int) -> bool:
    """Return whether packed bytes have a text of over `size` bytes, of which no more are expanded.

    Their own length says little: what repeats itself is packed to a thousandth. Damaged bytes have no text.
    """
    if len(packed) * _MOST_PACKED <= size:
        return False  # nothing is expanded: a decompressor alone takes longer than an event of a stream may
    try:
        return len(zlib.decompressobj().decompress(packed, size + 1)) > size
    except zlib.error:
        return False


def unpack(packed: bytes) -> Any:
    """Return the value that `pack` was given. Raises ValueError if the bytes are damaged."""
    return json_text.read_tolerantly(expand(packed))


def split(packed: bytes) -> list[dict[str, bytes]]:
    """Return the properties of each row that holds a part of the bytes, in order.

    They are named `p0`, `p1` and so on. Empty bytes give one row without properties.
    """
    rows = [packed[start : start + _ROW] for start in range(0, len(packed), _ROW)] or [b""]
    return [_properties(row) for row in rows]


def joined(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the bytes that `split` was given, from its rows in order. Other properties are ignored."""
    return b"".join(
        row[name] for row in rows for name in sorted(name for name in row if name[0] == "p" and name[1:].isdigit())
    )


def is_deeper(value: Any, levels: int) -> bool:
    """Return whether objects and lists are nested deeper than `levels`. The JSON encoder has such a limit."""
    level = _containers([value])
    for _ in range(levels):
        level = _containers(inner for one in level for inner in (one.values() if isinstance(one, dict) else one))
        if not level:
            return False
    return bool(level)


def is_larger(value: Any, size: int) -> bool:
    """Return whether the JSON of a value is probably over `size` bytes.

    Texts count with their length, and every value with 8 bytes more. So at most `size` / 8 values are looked at.
    """
    left, waiting = size, [value]
    while waiting and left >= 0:
        one = waiting.pop()
        left -= 8 + (len(one) if isinstance(one, str) else 0)
        if isinstance(one, dict):
            left -= sum(map(len, one))
            waiting.extend(one.values())
        elif isinstance(one, list | tuple):
            waiting.extend(one)
    return left < 0


def _containers(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, dict | list)]


def _properties(row: bytes) -> dict[str, bytes]:
    return {f"p{n}": row[start : start + _PROPERTY] for n, start in enumerate(range(0, len(row), _PROPERTY))}
