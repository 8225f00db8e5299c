"""Callers' credentials: made here, shown once, configured as a hash."""

import base64
import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Credentials:
    """What one caller holds: the key it calls with and the secret that verifies its callbacks."""

    name: str
    api_key: str = field(repr=False)
    signing_secret: str = field(repr=False)

    def configuration(self) -> dict[str, object]:
        """Return the caller's element of the CALLERS setting; the API key appears in it only as a hash."""
        digest = hashlib.sha256(self.api_key.encode()).hexdigest()
        return {"name": self.name, "keys": [digest], "signing_secrets": [self.signing_secret]}


def new_credentials(name: str) -> Credentials:
    """Return fresh credentials, each with 32 random bytes."""
    return Credentials(name, f"br_{secrets.token_urlsafe(32)}", new_secret())


def new_secret() -> str:
    """Return a fresh signing secret."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def kept_credentials(directory: Path | None, name: str) -> Credentials:
    """Return the credentials kept in the directory, made on first use; without a directory, fresh ones."""
    path = directory / f"caller-{name}.json" if directory else None
    return Credentials(**json.loads(kept_text(path, lambda: json.dumps(asdict(new_credentials(name))))))


def kept_text(path: Path | None, make: Callable[[], str]) -> str:
    """Return the text of a file only its owner can read, made on first use; without a path, a new text."""
    if path is None:
        return make()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(make())
    return path.read_text()
