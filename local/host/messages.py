"""Conversion of queue messages between the wire and a function: text, bytes and the trigger's data."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from azure.functions.meta import Datum
from azure.storage.queue import QueueMessage

_WHITE_SPACE = str.maketrans("", "", " \t\r\n")
_ISO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?")


def decode_text(text: str, *, is_base64: bool) -> bytes:
    """Return the body in a message's text. Raise ValueError if it should be base64 and is not.

    White space in base64 is skipped, as .NET's `Convert.FromBase64String` does.
    """
    return base64.b64decode(text.translate(_WHITE_SPACE), validate=True) if is_base64 else text.encode()


def encode_text(body: bytes, *, is_base64: bool) -> str:
    """Return the text of a message with this body. Raise ValueError if the body must be text and is not."""
    return base64.b64encode(body).decode() if is_base64 else body.decode()


def trigger_datum(body: bytes, *, is_binary: bool) -> Datum:
    """Return the trigger's data: bytes for a binary trigger, otherwise text.

    Raise ValueError if the text is not UTF-8. The platform then counts a failure and does not call the function.
    """
    return Datum(body, "bytes") if is_binary else Datum(body.decode(), "string")


def trigger_metadata(message: QueueMessage, datum: Datum | None = None) -> Mapping[str, Datum]:
    """Return what the platform passes to a function about a message.

    If there is data and it is text, the fields of a JSON object in it replace storage's own values.
    """
    values = {
        "Id": message.id,
        "DequeueCount": message.dequeue_count,
        "PopReceipt": message.pop_receipt,
        "ExpirationTime": message.expires_on and message.expires_on.isoformat(),
        "InsertionTime": message.inserted_on and message.inserted_on.isoformat(),
        "NextVisibleTime": message.next_visible_on and message.next_visible_on.isoformat(),
    }
    own = {name: Datum(str(value), "string") for name, value in values.items() if value is not None}
    given = _fields(datum.value) if datum and datum.type == "string" else {}
    return {name: given.get(name.lower(), value) for name, value in own.items()}


def _fields(text: str) -> Mapping[str, Datum]:
    """Return the top-level fields of a JSON object by their names in small letters, or none for any other text.

    Source: `Utility.ApplyBindingData` in azure-functions-host. It leaves out lists and nulls.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    fields = document.items() if isinstance(document, dict) else ()
    return {name.lower(): _field(value) for name, value in fields if not isinstance(value, list | None)}


def _field(value: object) -> Datum:
    if isinstance(value, dict):
        return Datum(json.dumps(value), "json")
    return Datum(_as_dotnet(value) if isinstance(value, str) else str(value), "string")


def _as_dotnet(text: str) -> str:
    """Return the text as Newtonsoft.Json passes it on. An ISO time gets a notation that the library refuses."""
    if not _ISO_TIME.fullmatch(text):
        return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return (moment.astimezone(UTC) if moment.tzinfo else moment).strftime("%m/%d/%Y %H:%M:%S")


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
