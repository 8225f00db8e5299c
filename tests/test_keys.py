"""Credentials: strong, shown once, configured without the key itself."""

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path

from standardwebhooks import Webhook

from local.keys import kept_credentials, new_credentials
from local.process import ROOT


def test_credentials_have_256_random_bits_each() -> None:
    """The API key is URL-safe text, the signing secret what every Standard Webhooks library takes."""
    first, second = new_credentials("a"), new_credentials("a")
    assert first != second
    assert first.api_key.startswith("br_")
    assert len(base64.urlsafe_b64decode(first.api_key.removeprefix("br_") + "=")) == 32
    assert len(base64.b64decode(first.signing_secret.removeprefix("whsec_"), validate=True)) == 32
    Webhook(first.signing_secret)


def test_the_configuration_holds_the_hash_and_not_the_key() -> None:
    """Whoever reads the settings cannot call with them."""
    credentials = new_credentials("a")
    configuration = credentials.configuration()
    assert configuration == {
        "name": "a",
        "keys": [hashlib.sha256(credentials.api_key.encode()).hexdigest()],
        "signing_secrets": [credentials.signing_secret],
    }


def test_credentials_do_not_show_in_a_trace() -> None:
    """Their text form, as it may appear in an error, has neither key nor secret."""
    assert repr(new_credentials("a")) == "Credentials(name='a')"


def test_kept_credentials_are_the_same_next_time(tmp_path: Path) -> None:
    """The file is made on first use and only its owner can read it."""
    first = kept_credentials(tmp_path / "new", "local")
    assert kept_credentials(tmp_path / "new", "local") == first
    assert kept_credentials(None, "local") != first
    [file] = (tmp_path / "new").iterdir()
    assert file.stat().st_mode & 0o077 == 0


def test_new_key_prints_what_to_keep_and_what_to_configure() -> None:
    """One command gives the key, the secret, and the element for CALLERS that matches them."""
    command = [sys.executable, "-m", "local", "new-key", "ana"]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout
    key, secret, element = (line.partition(": ")[2].strip() for line in lines.splitlines())
    assert json.loads(element) == {
        "name": "ana",
        "keys": [hashlib.sha256(key.encode()).hexdigest()],
        "signing_secrets": [secret],
    }
