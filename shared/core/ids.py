"""Response ids, shards, continuation tokens and event ids.

A response id is `resp_` and 32 hex digits. The first digit is its shard. The id of an idempotent request is derived
from the caller, the key and the body, so a repeat of the request gets the same id.
"""

import base64
import binascii
import hashlib
import re
import secrets
from dataclasses import dataclass

SHARDS = "0123456789abcdef"
MAX_EVENT = 9_999_999_999  # the largest number of an event, which has ten digits in a row key
_ID = re.compile(r"resp_[0-9a-f]{32}")
_TOKEN_PREFIX = "ct_"  # noqa: S105 - the public prefix of every token, not one of them
_TOKEN_VERSION = b"\x01"
_TOKEN_BYTES = 17


@dataclass(frozen=True, slots=True)
class Cursor:
    """The content of a continuation token: the response, and the number of the last stream event seen, or None."""

    id: str
    after: int | None = None


def new_id() -> str:
    """Return a new random response id."""
    return f"resp_{secrets.token_hex(16)}"


def derived_id(*parts: bytes) -> str:
    """Return the response id that belongs to these parts. Equal parts give an equal id.

    Each part is hashed with its length, so ("ab", "c") and ("a", "bc") give different ids.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return f"resp_{digest.hexdigest()[:32]}"


def is_id(text: str) -> bool:
    """Return whether the text has the form of a response id."""
    return _ID.fullmatch(text) is not None


def shard_of(response_id: str) -> str:
    """Return the shard of a response: one hex digit, the partition key of all its rows."""
    return response_id[5]


def token_for(response_id: str, after: int | None = None) -> str:
    """Return the continuation token of a response, or of the stream event with the number `after`.

    The token is `ct_` and the base64url text, without padding, of a version byte, the 16 bytes of the id, and the
    number.
    """
    data = _TOKEN_VERSION + bytes.fromhex(response_id[5:])
    if after is not None:
        data += after.to_bytes(max(1, (after.bit_length() + 7) // 8), "big")
    return _TOKEN_PREFIX + base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def read_token(text: str) -> Cursor | None:
    """Return what a response id or a continuation token names, or None if the text is neither."""
    if is_id(text):
        return Cursor(text)
    if not text.startswith(_TOKEN_PREFIX) or len(text) > 64:
        return None
    body = text[len(_TOKEN_PREFIX) :]
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if data[:1] != _TOKEN_VERSION or len(data) < _TOKEN_BYTES:
        return None
    after = int.from_bytes(data[_TOKEN_BYTES:], "big") if len(data) > _TOKEN_BYTES else None
    cursor = Cursor(f"resp_{data[1:_TOKEN_BYTES].hex()}", after)
    return cursor if token_for(cursor.id, cursor.after) == text else None


def event_id(response_id: str, event_type: str) -> str:
    """Return the id of a response's webhook event, such as `response.completed`.

    It is derived, so a step that is repeated does not create a second event.
    """
    return f"evt_{hashlib.sha256(f'{response_id}|{event_type}'.encode()).hexdigest()[:32]}"


def tag(token: str) -> str:
    """Return 16 hex digits that identify a text, such as an upstream's token, in a row key."""
    return hashlib.sha256(token.encode()).hexdigest()[:16]
