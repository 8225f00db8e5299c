"""Names of things: response ids, shards, continuation tokens, event ids.

A response id is `resp_` and 32 hex digits; the first digit is its shard. A derived id makes a repeated
request find its first: same caller, same key, same body, same id.
"""

import base64
import binascii
import hashlib
import re
import secrets
from dataclasses import dataclass

SHARDS = "0123456789abcdef"
MAX_EVENT = 9_999_999_999  # the largest number an event can have: it is ten digits of a row key
_ID = re.compile(r"resp_[0-9a-f]{32}")
_TOKEN_PREFIX = "ct_"  # noqa: S105 - the public prefix of every token, not one of them
_TOKEN_VERSION = b"\x01"
_TOKEN_BYTES = 17


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a continuation token says: the response, and the last stream event seen, if any."""

    id: str
    after: int | None = None


def new_id() -> str:
    """Return a fresh response id."""
    return f"resp_{secrets.token_hex(16)}"


def derived_id(*parts: bytes) -> str:
    """Return the response id that belongs to these parts; length prefixes keep ("ab", "c") from ("a", "bc")."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return f"resp_{digest.hexdigest()[:32]}"


def is_id(text: str) -> bool:
    """Say whether the text has the form of a response id."""
    return _ID.fullmatch(text) is not None


def shard_of(response_id: str) -> str:
    """Return the shard, one hex digit, which is the partition key of everything of the response."""
    return response_id[5]


def token_for(response_id: str, after: int | None = None) -> str:
    """Return the continuation token of a response, or of one event of its stream."""
    data = _TOKEN_VERSION + bytes.fromhex(response_id[5:])
    if after is not None:
        data += after.to_bytes(max(1, (after.bit_length() + 7) // 8), "big")
    return _TOKEN_PREFIX + base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def read_token(text: str) -> Cursor | None:
    """Return what an id or a continuation token names; None if the text is neither."""
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
    """Return the id of a response's event; derived, so that repeating a step makes no second event."""
    return f"evt_{hashlib.sha256(f'{response_id}|{event_type}'.encode()).hexdigest()[:32]}"


def tag(token: str) -> str:
    """Return a short name of an upstream's token, fit for a row key."""
    return hashlib.sha256(token.encode()).hexdigest()[:16]
