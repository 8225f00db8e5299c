"""Signatures of callbacks: Standard Webhooks 1.0.0, symmetric (`v1`). Pure: the time is a parameter.

Every attempt is signed anew: same id, same bytes, its own timestamp. During a rotation there is one signature
per secret, and a receiver accepts any of them.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

SECRET_PREFIX = "whsec_"  # noqa: S105 - the public prefix of every secret, not one of them
MIN_KEY_BYTES = 24


def secret_key(secret: str) -> bytes:
    """Return the key bytes of a `whsec_` secret; a ValueError names the broken rule and never the secret.

    Strict because verifiers differ on everything looser: without a prefix they derive different keys.
    """
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError(f"a signing secret must start with {SECRET_PREFIX}")
    key = _decode(secret.removeprefix(SECRET_PREFIX))
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(f"a signing secret must hold at least {MIN_KEY_BYTES} bytes")
    return key


def signed_content(message_id: str, timestamp_s: int, body: bytes) -> bytes:
    """Return the bytes that a signature covers: id, time and body, which the id must not be able to blur."""
    if "." in message_id:
        raise ValueError("a webhook id must not contain a full stop")
    return f"{message_id}.{timestamp_s}.".encode() + body


def sign(secrets: Sequence[str], message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the value of `webhook-signature`: one `v1` signature per secret, in their order."""
    if not secrets:
        raise ValueError("signing needs at least one secret")
    content = signed_content(message_id, timestamp_s, body)
    return " ".join(_signature(secret_key(secret), content) for secret in secrets)


def headers(secrets: Sequence[str], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """Return the headers of one attempt; `body` must be the exact bytes that are sent."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": sign(secrets, message_id, timestamp_s, body),
        "content-type": "application/json",
    }


def _signature(key: bytes, content: bytes) -> str:
    digest = hmac.digest(key, content, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def _decode(text: str) -> bytes:
    try:
        key = base64.b64decode(text)
    except (binascii.Error, ValueError):
        key = b""
    # the decoder skips foreign characters and spare bits: only an exact round trip proves the standard form
    if base64.b64encode(key).decode() != text:
        raise ValueError("a signing secret must be standard base64 with padding")
    return key
