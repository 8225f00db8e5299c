"""Callers' credentials: strong, shown once, and configured without the API key itself."""

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path

from standardwebhooks import Webhook

from local.credentials.keys import Credentials, kept_credentials, new_credentials
from local.stack.process import ROOT
from shared.contract.callers import SigningSecret, parse_callers
from shared.contract.signatures import check_secret, public_key


def test_credentials_have_256_random_bits_each() -> None:
    """The API key is URL-safe text. The signing secret has the form that every Standard Webhooks library accepts."""
    first, second = new_credentials("a"), new_credentials("a")
    assert first != second
    assert first.api_key.startswith("br_")
    assert len(base64.urlsafe_b64decode(first.api_key.removeprefix("br_") + "=")) == 32
    assert len(base64.b64decode(first.signing_secret.removeprefix("whsec_"), validate=True)) == 32
    Webhook(first.signing_secret)


def test_the_configuration_holds_the_hash_and_not_the_key() -> None:
    """A reader of the settings cannot call the service with them."""
    credentials = new_credentials("a")
    configuration = credentials.configuration()
    assert configuration == {
        "name": "a",
        "keys": [hashlib.sha256(credentials.api_key.encode()).hexdigest()],
        "signing_secrets": [credentials.signing_secret],
    }


def test_a_private_key_is_made_on_request() -> None:
    """The private key is new and signs with ed25519. In the configuration it follows the HMAC secret."""
    first, second = (new_credentials("a", asymmetric=True) for _ in range(2))
    assert first.private_key is not None
    assert first.private_key != second.private_key
    check_secret(first.private_key)
    assert first.configuration()["signing_secrets"] == [first.signing_secret, first.private_key]
    caller = parse_callers(json.dumps([first.configuration()])).named("a")
    assert caller is not None
    assert caller.secrets == (SigningSecret(first.signing_secret), SigningSecret(first.private_key))


def test_credentials_do_not_show_in_a_traceback() -> None:
    """The text form of credentials, which may appear in an error, contains neither key nor secret."""
    assert repr(new_credentials("a", asymmetric=True)) == "Credentials(name='a')"


def test_kept_credentials_are_the_same_next_time(tmp_path: Path) -> None:
    """The credentials are written to a file on first use, and only its owner can read it."""
    first = kept_credentials(tmp_path / "new", "local")
    assert kept_credentials(tmp_path / "new", "local") == first
    assert kept_credentials(None, "local") != first
    [file] = (tmp_path / "new").iterdir()
    assert file.stat().st_mode & 0o077 == 0


def test_stored_credentials_without_a_private_key_are_read(tmp_path: Path) -> None:
    """A folder of an earlier version, which had no private keys, still works."""
    kept = {"name": "local", "api_key": "br_1", "signing_secret": "whsec_1"}
    (tmp_path / "caller-local.json").write_text(json.dumps(kept))
    assert kept_credentials(tmp_path, "local") == Credentials("local", "br_1", "whsec_1")


def new_key(*arguments: str) -> dict[str, str]:
    """Return what the command prints, by label."""
    command = [sys.executable, "-m", "local", "new-key", *arguments]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout
    return {label: value.strip() for label, _, value in (line.partition(": ") for line in lines.splitlines())}


def test_new_key_prints_what_to_keep_and_what_to_configure() -> None:
    """One command prints the key, the secret, and the matching element for CALLERS."""
    printed = new_key("ana")
    assert printed.keys() == {"API key, shown only now", "signing secret", "element for CALLERS"}
    assert json.loads(printed["element for CALLERS"]) == {
        "name": "ana",
        "keys": [hashlib.sha256(printed["API key, shown only now"].encode()).hexdigest()],
        "signing_secrets": [printed["signing secret"]],
    }


def test_new_key_prints_the_public_key_to_hand_out() -> None:
    """The public key is printed for receivers. The private key appears only in the element for CALLERS."""
    printed = new_key("ana", "--asymmetric")
    secret, private_key = json.loads(printed.pop("element for CALLERS"))["signing_secrets"]
    assert secret == printed["signing secret"]
    assert printed["public key to hand out"] == public_key(private_key)
    assert private_key not in printed.values()
