"""Signatures of webhooks, ours and the upstream's: Standard Webhooks 1.0.0. Pure: the time is a parameter.

A `whsec_` secret signs with HMAC-SHA256 (`v1`). A `whsk_` secret signs with ed25519 (`v1a`), and its receivers hold
only the public `whpk_` key. Every attempt is signed with a new timestamp, the same id and the same bytes. There is one
signature per secret, and a receiver accepts any of them. So secrets can rotate, and both kinds can be used together.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SECRET_PREFIX = "whsec_"  # noqa: S105 - the public prefix of every secret, not one of them
PRIVATE_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"
MIN_KEY_BYTES = 24
_SEED_BYTES = 32
_SECONDS = re.compile(r"0|[1-9][0-9]{0,11}")  # one spelling per number, so that what is signed is what was read


class NotVerified(ValueError):
    """A message does not prove its sender. The text names the broken rule and contains no secret."""


def check_secret(secret: str) -> None:
    """Raise ValueError unless the secret can sign. The message names the broken rule, never the secret."""
    if is_asymmetric(secret):
        private_key(secret)
    elif secret.startswith(SECRET_PREFIX):
        secret_key(secret)
    else:
        raise ValueError(f"a signing secret must start with {SECRET_PREFIX} or {PRIVATE_PREFIX}")


def is_asymmetric(secret: str) -> bool:
    """Return whether a secret signs with ed25519 (`v1a`)."""
    return secret.startswith(PRIVATE_PREFIX)


def secret_key(secret: str) -> bytes:
    """Return the key bytes of a `whsec_` secret. Raises ValueError, which never shows the secret.

    Only the prefix and at least 24 bytes in standard base64 are accepted. Verifiers disagree about every other form:
    without a prefix they derive different keys.
    """
    key = _decode(secret, SECRET_PREFIX)
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(f"a signing secret must hold at least {MIN_KEY_BYTES} bytes")
    return key


def private_key(secret: str) -> "Ed25519PrivateKey":
    """Return the key of a `whsk_` secret. Raises ValueError, which never shows the secret.

    The secret holds 64 bytes in standard base64: the seed, and the public key that belongs to it.
    """
    # imported here because it takes 9 to 13 ms and most callers have no such secret
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    halves = _decode(secret, PRIVATE_PREFIX)
    if len(halves) != 2 * _SEED_BYTES:
        raise ValueError(f"a {PRIVATE_PREFIX} secret must hold 64 bytes, the seed and the public key")
    key = Ed25519PrivateKey.from_private_bytes(halves[:_SEED_BYTES])
    if key.public_key().public_bytes_raw() != halves[_SEED_BYTES:]:
        raise ValueError(f"the public half of a {PRIVATE_PREFIX} secret must belong to its seed")
    return key


def public_key(secret: str) -> str:
    """Return the `whpk_` key that verifies the signatures of a `whsk_` secret.

    Raises ValueError if the secret is not valid.
    """
    return PUBLIC_PREFIX + _base64(private_key(secret).public_key().public_bytes_raw())


def signed_content(message_id: str, timestamp_s: int, body: bytes) -> bytes:
    """Return the bytes that a signature covers: id, time and body, separated by full stops.

    `timestamp_s` is unix seconds. Raises ValueError if the id contains a full stop.
    """
    if "." in message_id:
        raise ValueError("a webhook id must not contain a full stop")
    return f"{message_id}.{timestamp_s}.".encode() + body


def sign(secrets: Sequence[str], message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the value of `webhook-signature`: one signature per secret, in their order, separated by spaces.

    Raises ValueError if there is no secret, or if one is not valid.
    """
    if not secrets:
        raise ValueError("signing needs at least one secret")
    content = signed_content(message_id, timestamp_s, body)
    return " ".join(_signature(secret, content) for secret in secrets)


def signed_headers(secrets: Sequence[str], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """Return the headers of one attempt. `body` must be the exact bytes that are sent.

    Raises ValueError as `sign` does.
    """
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": sign(secrets, message_id, timestamp_s, body),
        "content-type": "application/json",
    }


def verify(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now_s: int, tolerance_s: int = 300) -> None:
    """Raise NotVerified unless a `v1` signature of the message was made with one of the secrets.

    Its timestamp must lie within `tolerance_s` of `now_s`. Header names must be in lower case. A malformed message is
    rejected like a forged one. Any other ValueError means that one of our secrets is not usable.
    """
    keys = [verifying_key(secret) for secret in secrets]
    message_id, timestamp_s, presented = check_headers(headers, now_s, tolerance_s)
    content = signed_content(message_id, timestamp_s, body)
    expected = [_symmetric(key, content).encode() for key in keys]
    # every pair is compared, each in constant time, so that the time reveals nothing
    matches = [hmac.compare_digest(ours, theirs) for ours in expected for theirs in presented]
    if not any(matches):
        raise NotVerified("no v1 signature in webhook-signature matches")


def check_headers(headers: Mapping[str, str], now_s: int, tolerance_s: int = 300) -> tuple[str, int, list[bytes]]:
    """Return the id, the timestamp and the signatures of a message. Raises NotVerified as `verify` does.

    It needs no body, so a message that can only be rejected need not be read.
    """
    message_id = _required(headers, "webhook-id")
    timestamp_s = _timestamp(_required(headers, "webhook-timestamp"))
    presented = _required(headers, "webhook-signature").encode(errors="replace").split()
    if "." in message_id or not message_id.isascii():
        raise NotVerified("webhook-id must be ASCII without a full stop")
    if abs(now_s - timestamp_s) > tolerance_s:
        raise NotVerified(f"webhook-timestamp must lie within {tolerance_s} s of now")
    return message_id, timestamp_s, presented


def verifying_key(secret: str) -> bytes:
    """Return the key bytes of a secret that verifies.

    These are the bytes that `whsec_` encodes. For another text they are the bytes of the text, as in OpenAI's SDK.
    Raises ValueError for a secret of less than 24 bytes, which can be guessed. The `v1` of `v1,whsec_...`, cut at the
    comma, is one. Also raises it for asymmetric keys, because anyone who reads the public key could sign with its text.
    """
    if secret.startswith(SECRET_PREFIX):
        return secret_key(secret)
    if secret.startswith((PRIVATE_PREFIX, PUBLIC_PREFIX)):
        raise ValueError(f"a secret to verify with must not start with {PRIVATE_PREFIX} or {PUBLIC_PREFIX}")
    if len(secret.encode()) < MIN_KEY_BYTES:
        raise ValueError(f"a secret to verify with must hold at least {MIN_KEY_BYTES} bytes")
    return secret.encode()


def _required(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise NotVerified(f"{name} is missing")
    return value


def _timestamp(text: str) -> int:
    if not _SECONDS.fullmatch(text):
        raise NotVerified("webhook-timestamp must be whole seconds")
    return int(text)


def _signature(secret: str, content: bytes) -> str:
    if is_asymmetric(secret):
        return f"v1a,{_base64(private_key(secret).sign(content))}"
    return _symmetric(secret_key(secret), content)


def _symmetric(key: bytes, content: bytes) -> str:
    return f"v1,{_base64(hmac.digest(key, content, hashlib.sha256))}"


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _decode(secret: str, prefix: str) -> bytes:
    if not secret.startswith(prefix):
        raise ValueError(f"a signing secret must start with {prefix}")
    text = secret.removeprefix(prefix)
    try:
        value = base64.b64decode(text)
    except (binascii.Error, ValueError):
        value = b""
    # the decoder skips foreign characters and spare bits, so only an exact round trip proves the standard form
    if _base64(value) != text:
        raise ValueError("a signing secret must be standard base64 with padding")
    return value
