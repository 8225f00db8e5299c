"""The credentials of callers: generated here, shown once, configured as a hash."""

import base64
import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True)
class Credentials:
    """The credentials of one caller: its API key, its HMAC signing secret, and perhaps an ed25519 private key."""

    name: str
    api_key: str = field(repr=False)
    signing_secret: str = field(repr=False)
    private_key: str | None = field(default=None, repr=False)

    def configuration(self) -> dict[str, object]:
        """Return the caller's element of the CALLERS setting. It contains the API key only as a hash."""
        digest = hashlib.sha256(self.api_key.encode()).hexdigest()
        signing = [self.signing_secret] if self.private_key is None else [self.signing_secret, self.private_key]
        return {"name": self.name, "keys": [digest], "signing_secrets": signing}


def new_credentials(name: str, *, asymmetric: bool = False) -> Credentials:
    """Return new credentials with 32 random bytes each. They include a private key only if `asymmetric` is true."""
    private_key = new_private_key() if asymmetric else None
    return Credentials(name, f"br_{secrets.token_urlsafe(32)}", new_signing_secret(), private_key)


def new_signing_secret() -> str:
    """Return a new secret that signs with HMAC. The receiver verifies with the same secret."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def new_private_key() -> str:
    """Return a new secret that signs with ed25519. The receiver verifies with its public half."""
    key = Ed25519PrivateKey.generate()
    both = key.private_bytes_raw() + key.public_key().public_bytes_raw()
    return f"whsk_{base64.b64encode(both).decode()}"


def kept_credentials(directory: Path | None, name: str) -> Credentials:
    """Return the credentials stored in the directory, and create them on first use.

    Without a directory, return new credentials.
    """
    path = directory / f"caller-{name}.json" if directory else None
    return Credentials(**json.loads(kept_text(path, lambda: json.dumps(asdict(new_credentials(name))))))


def kept_text(path: Path | None, make: Callable[[], str]) -> str:
    """Return the text of a file that only its owner can read, and create it on first use.

    Without a path, return a new text.
    """
    if path is None:
        return make()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(make())
    return path.read_text()
