"""Signatures with ed25519 (`v1a`), alone and beside `v1` signatures, and invalid secrets."""

import base64
import subprocess
import sys
import time

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook

from local.stack.process import ROOT
from shared.contract.signatures import check_secret, public_key, sign, signed_content, signed_headers
from tests.support.signature_vectors import (
    BODY,
    EVENT,
    NEW,
    OLD,
    OLD_PRIVATE,
    PRIVATE,
    PUBLIC,
    VECTORS,
    Vector,
    openai_unwraps,
)


def accepts(public: str, signatures: str, vector: Vector) -> bool:
    """Return whether an ed25519 receiver, which has only the public key, finds a valid signature in a list."""
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    content = signed_content(vector.message_id, vector.timestamp_s, vector.body)
    for one in signatures.split():
        version, _, signature = one.partition(",")
        try:
            key.verify(base64.b64decode(signature) if version == "v1a" else b"", content)
        except InvalidSignature:
            continue
        return True
    return False


def test_a_published_vector_verifies_with_its_public_key() -> None:
    """The `whpk_` key that we derive from a `whsk_` secret is the published one.

    It verifies the published signature.
    """
    vector = VECTORS[3]
    assert public_key(vector.secret) == PUBLIC
    assert accepts(PUBLIC, vector.signature, vector)


@pytest.mark.parametrize(
    "secrets",
    [
        [NEW, PRIVATE, OLD],
        [PRIVATE, NEW, OLD],
        [NEW, OLD, PRIVATE],
        [NEW, PRIVATE, OLD, OLD_PRIVATE],
        [PRIVATE, OLD_PRIVATE, NEW, OLD],
    ],
    ids=["beside", "before", "after", "rotating", "rotating, before"],
)
def test_receivers_of_each_kind_accept_a_mixed_list(secrets: list[str]) -> None:
    """Both libraries find their `v1` signature at any position.

    A receiver with a public key finds its `v1a` signature.
    """
    vector = Vector("", "wh_1", int(time.time()), BODY, "")
    fields = signed_headers(secrets, *vector[1:4])
    for secret in (NEW, OLD):
        assert Webhook(secret).verify(BODY, fields) == EVENT
        assert openai_unwraps(secret, BODY, fields) == "response.completed"
    for secret in (PRIVATE, OLD_PRIVATE):
        assert accepts(public_key(secret), fields["webhook-signature"], vector) == (secret in secrets)


def test_signatures_are_in_the_order_of_their_secrets() -> None:
    """Each secret signs with its own algorithm, as if it were the only one."""
    vector = VECTORS[0]
    secrets = [PRIVATE, NEW, OLD_PRIVATE, OLD]
    alone = [sign([secret], vector.message_id, vector.timestamp_s, vector.body) for secret in secrets]
    assert sign(secrets, vector.message_id, vector.timestamp_s, vector.body) == " ".join(alone)
    assert [one.partition(",")[0] for one in alone] == ["v1a", "v1", "v1a", "v1"]


@pytest.mark.parametrize(
    ("secret", "rule"),
    [
        ("", "start with whsec_ or whsk_"),
        (PUBLIC, "start with whsec_ or whsk_"),
        (PRIVATE.removeprefix("whsk_"), "start with whsec_ or whsk_"),
        ("WHSK_" + PRIVATE[5:], "start with whsec_ or whsk_"),
        (NEW.rstrip("="), "base64 with padding"),
        (PRIVATE.rstrip("="), "base64 with padding"),
        (PRIVATE + "\n", "base64 with padding"),
        (PRIVATE.replace("/", "_"), "base64 with padding"),
        (PRIVATE.replace("g==", "h=="), "base64 with padding"),
        ("whsk_", "64 bytes"),
        ("whsk_" + PUBLIC.removeprefix("whpk_"), "64 bytes"),
        ("whsk_" + base64.b64encode(bytes(63)).decode(), "64 bytes"),
        ("whsk_" + base64.b64encode(bytes(65)).decode(), "64 bytes"),
        ("whsk_" + base64.b64encode(bytes(64)).decode(), "belong to its seed"),
        (PRIVATE.replace("6Xb", "6Xa"), "belong to its seed"),
        (PRIVATE[:48] + OLD_PRIVATE[48:], "belong to its seed"),
    ],
)
def test_a_secret_that_cannot_sign_is_refused_without_being_shown(secret: str, rule: str) -> None:
    """An invalid secret of either kind is refused. The error names only the rule."""
    with pytest.raises(ValueError, match=rule) as refusal:
        check_secret(secret)
    assert type(refusal.value) is ValueError
    assert refusal.value.__cause__ is None
    assert secret[6:20] == "" or secret[6:20] not in str(refusal.value)


@pytest.mark.parametrize("secret", [NEW, OLD, PRIVATE, OLD_PRIVATE])
def test_a_valid_secret_of_either_kind_is_accepted(secret: str) -> None:
    """A secret that can sign is not refused."""
    check_secret(secret)


@pytest.mark.parametrize("secret", ["", NEW, PUBLIC])
def test_only_a_private_key_has_a_public_one(secret: str) -> None:
    """There is no `whpk_` key for a symmetric secret or for a public key."""
    with pytest.raises(ValueError, match="start with whsk_"):
        public_key(secret)


def test_symmetric_secrets_do_not_import_the_ed25519_library() -> None:
    """A deployment without `whsk_` secrets does not pay for the import."""
    program = f"""
import sys
from shared.contract.signatures import check_secret, sign
check_secret({NEW!r})
sign([{NEW!r}], "wh_1", 1, b"")
assert "cryptography" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)
