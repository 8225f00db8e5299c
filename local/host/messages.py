"""Conversion of queue messages between the wire and a function: text, bytes and the trigger's data."""

import base64
import json
from collections.abc import Mapping, Sequence

from azure.functions.meta import Datum
from azure.storage.queue import QueueMessage


def decode_text(text: str, *, is_base64: bool) -> bytes:
    """Return the body in a message's text. Raise ValueError if it should be base64 and is not."""
    return base64.b64decode(text, validate=True) if is_base64 else text.encode()


def encode_text(body: bytes, *, is_base64: bool) -> str:
    """Return the text of a message with this body. Raise ValueError if the body must be text and is not."""
    return base64.b64encode(body).decode() if is_base64 else body.decode()


def trigger_datum(body: bytes, *, is_binary: bool) -> Datum:
    """Return the trigger's data: bytes if they are wanted, otherwise text."""
    return Datum(body, "bytes") if is_binary else Datum(body.decode(errors="replace"), "string")


def trigger_metadata(message: QueueMessage) -> Mapping[str, Datum]:
    """Return what the platform passes to a function about a message."""
    values = {
        "Id": message.id,
        "DequeueCount": message.dequeue_count,
        "PopReceipt": message.pop_receipt,
        "ExpirationTime": message.expires_on and message.expires_on.isoformat(),
        "InsertionTime": message.inserted_on and message.inserted_on.isoformat(),
        "NextVisibleTime": message.next_visible_on and message.next_visible_on.isoformat(),
    }
    return {name: Datum(str(value), "string") for name, value in values.items() if value is not None}


def output_bodies(datum: Datum) -> Sequence[bytes]:
    """Return the messages in an output's data. A JSON list is one message per element."""
    if datum.type != "json":
        return [_bytes(datum.value)]
    value = json.loads(datum.value)
    return [_bytes(element) for element in (value if isinstance(value, list) else [value])]


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value)).encode()
