"""Signatures: the published test vectors, the libraries that receivers use, and invalid secrets."""

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import InvalidWebhookSignatureError
from standardwebhooks import Webhook, WebhookVerificationError

from shared.contract.signatures import secret_key, sign, signed_headers
from tests.support.signature_vectors import BODY, EVENT, NEW, OLD, STRANGE, VECTORS, Vector, openai_unwraps


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.message_id)
def test_a_published_vector_is_reproduced(vector: Vector) -> None:
    """For each published example, our signature is the published one."""
    assert sign([vector.secret], vector.message_id, vector.timestamp_s, vector.body) == vector.signature


@pytest.mark.parametrize("secret", [NEW, OLD])
def test_receivers_accept_each_secret_of_a_rotation(secret: str) -> None:
    """A callback signed with the new and the old secret verifies with either of them, in both common libraries."""
    fields = signed_headers([NEW, OLD], "wh_1", int(time.time()), BODY)
    assert Webhook(secret).verify(BODY, fields) == EVENT
    assert openai_unwraps(secret, BODY, fields) == "response.completed"


def test_receivers_refuse_a_secret_that_did_not_sign() -> None:
    """A receiver with another secret refuses the callback."""
    fields = signed_headers([NEW, OLD], "wh_1", int(time.time()), BODY)
    with pytest.raises(WebhookVerificationError):
        Webhook(STRANGE).verify(BODY, fields)
    with pytest.raises(InvalidWebhookSignatureError):
        openai_unwraps(STRANGE, BODY, fields)


@pytest.mark.parametrize("offset_s", [-302, 302])
def test_receivers_refuse_a_time_outside_the_tolerance(offset_s: int) -> None:
    """A signature is stale if its time is more than 300 s from now. So every attempt must be signed again."""
    fields = signed_headers([NEW], "wh_1", int(time.time()) + offset_s, BODY)
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(BODY, fields)
    with pytest.raises(InvalidWebhookSignatureError):
        openai_unwraps(NEW, BODY, fields)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_receivers_need_each_header(name: str) -> None:
    """The callback does not verify if any of the three headers is missing."""
    fields = signed_headers([NEW], "wh_1", int(time.time()), BODY)
    del fields[name]
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(BODY, fields)


@pytest.mark.parametrize("others", ["v1a,AAAA {}", "v2,AAAA {} v1,AAAA"])
def test_our_signature_is_found_among_others(others: str) -> None:
    """A receiver ignores wrong signatures and those of other versions beside ours."""
    fields = signed_headers([NEW], "wh_1", int(time.time()), BODY)
    fields["webhook-signature"] = others.format(fields["webhook-signature"])
    assert Webhook(NEW).verify(BODY, fields) == EVENT


def test_the_headers_of_an_attempt_are_complete() -> None:
    """An attempt has exactly the id, the time in whole seconds, the signatures and the content type."""
    vector = VECTORS[0]
    assert signed_headers([vector.secret], vector.message_id, vector.timestamp_s, vector.body) == {
        "webhook-id": vector.message_id,
        "webhook-timestamp": "1614265330",
        "webhook-signature": vector.signature,
        "content-type": "application/json",
    }


def test_a_repeat_keeps_the_id_and_changes_the_signature() -> None:
    """A later attempt of the same event has the same id and another signature."""
    first, second = (signed_headers([NEW], "wh_1", now_s, BODY) for now_s in (1_000, 1_005))
    assert first["webhook-id"] == second["webhook-id"]
    assert first["webhook-signature"] != second["webhook-signature"]


def test_an_empty_body_is_signed() -> None:
    """The signature of an empty body verifies."""
    fields = signed_headers([NEW], "wh_1", int(time.time()), b"")
    Webhook(NEW).verify(b"", fields, json_parse=False)


@given(key=st.binary(min_size=24, max_size=64), body=st.text(max_size=200))
def test_any_secret_and_body_verify(key: bytes, body: str) -> None:
    """The reference library accepts the signature for any key bytes and any text."""
    secret = "whsec_" + base64.b64encode(key).decode()
    assert secret_key(secret) == key
    Webhook(secret).verify(body, signed_headers([secret], "wh_1", int(time.time()), body.encode()), json_parse=False)


@pytest.mark.parametrize(
    ("secret", "rule"),
    [
        ("", "start with whsec_"),
        (NEW.removeprefix("whsec_"), "start with whsec_"),
        ("WHSEC_" + NEW[6:], "start with whsec_"),
        ("whsec_", "at least 24 bytes"),
        ("whsec_" + base64.b64encode(bytes(23)).decode(), "at least 24 bytes"),
        (NEW.rstrip("="), "base64 with padding"),
        (NEW + "=", "base64 with padding"),
        (NEW + "\n", "base64 with padding"),
        (NEW.replace("+", "-"), "base64 with padding"),
        (NEW.replace("c=", "d="), "base64 with padding"),
        (NEW.replace("R", "\u0420"), "base64 with padding"),
        ("whsec_\ud800", "base64 with padding"),
    ],
)
def test_an_ambiguous_secret_is_refused_without_being_shown(secret: str, rule: str) -> None:
    """A secret that verifiers would read differently is refused. The error names only the rule."""
    with pytest.raises(ValueError, match=rule) as refusal:
        secret_key(secret)
    assert type(refusal.value) is ValueError
    assert refusal.value.__cause__ is None
    assert secret[6:20] == "" or secret[6:20] not in str(refusal.value)


def test_signing_without_a_secret_is_an_error() -> None:
    """Without a secret there is no signature, and an empty header must not be sent."""
    with pytest.raises(ValueError, match="at least one secret"):
        sign([], "wh_1", 1, BODY)


def test_signing_an_id_with_a_full_stop_is_an_error() -> None:
    """A full stop in the id would allow two different contents to have the same signature."""
    with pytest.raises(ValueError, match="full stop"):
        sign([NEW], "wh.1", 1, BODY)
