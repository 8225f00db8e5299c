"""Verification of signed messages: valid ones are accepted, and any other is refused by a named rule."""

import base64
import hmac
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook
from starlette.datastructures import Headers

from shared.contract.signatures import NotVerified, sign, signed_content, signed_headers, verify
from tests.support.signature_vectors import BODY, NEW, OLD, PRIVATE, PUBLIC, STRANGE, VECTORS, Vector, openai_unwraps

NOW_S = 1_800_000_000
RAW = "a text that is no base64, and a secret all the same"
SIGNED = sign([NEW], "wh_1", NOW_S, BODY)
IDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="."), min_size=1, max_size=80)
TIMES = st.integers(0, 10**12 - 1)
KEYS = st.binary(min_size=24, max_size=64)


def message(**changes: str | None) -> dict[str, str]:
    """Return the headers of a message signed with NEW, with these changes. None removes a header."""
    fields: dict[str, str | None] = {"id": "wh_1", "timestamp": str(NOW_S), "signature": SIGNED, **changes}
    return {f"webhook-{name}": value for name, value in fields.items() if value is not None}


def written(key: bytes) -> str:
    """Return key bytes in the form of a secret."""
    return "whsec_" + base64.b64encode(key).decode()


@pytest.mark.parametrize("vector", VECTORS[:3], ids=lambda vector: vector.message_id)
def test_a_published_vector_verifies(vector: Vector) -> None:
    """The published signatures of Svix, Standard Webhooks and OpenAI verify, whichever of our secrets made them."""
    fields = message(id=vector.message_id, timestamp=str(vector.timestamp_s), signature=vector.signature)
    verify([vector.secret], fields, vector.body, vector.timestamp_s)
    verify([written(bytes(24)), vector.secret, RAW], fields, vector.body, vector.timestamp_s)


def test_a_signature_of_the_reference_library_verifies() -> None:
    """A message signed by `standardwebhooks` is accepted."""
    signature = Webhook(NEW).sign("wh_1", datetime.fromtimestamp(NOW_S, UTC), BODY.decode())
    verify([NEW], message(signature=signature), BODY, NOW_S)


def test_a_secret_without_a_prefix_is_used_as_raw_bytes() -> None:
    """A secret without a prefix is its own key. OpenAI's SDK accepts the same message with the same secret."""
    now_s = int(datetime.now(UTC).timestamp())
    fields = signed_headers([written(RAW.encode())], "wh_1", now_s, BODY)
    verify([RAW], fields, BODY, now_s)
    assert openai_unwraps(RAW, BODY, fields) == "response.completed"
    with pytest.raises(NotVerified):
        verify([RAW + " "], fields, BODY, now_s)


def test_headers_are_found_in_any_case() -> None:
    """Headers are looked up in lower case. A server's headers ignore case, so any spelling of the sender is found."""
    verify([NEW], Headers({name.title(): value for name, value in message().items()}), BODY, NOW_S)


@pytest.mark.parametrize("offset_s", [-300, 0, 300])
def test_a_message_within_the_tolerance_verifies(offset_s: int) -> None:
    """A message up to five minutes late or early is accepted."""
    verify([NEW], message(), BODY, NOW_S + offset_s)


@pytest.mark.parametrize("offset_s", [-301, 301])
def test_a_message_outside_the_tolerance_is_refused(offset_s: int) -> None:
    """A message that is more than 300 s off may be a replay, or a clock is wrong. The tolerance is a parameter."""
    with pytest.raises(NotVerified, match="webhook-timestamp must lie within 300 s of now"):
        verify([NEW], message(), BODY, NOW_S + offset_s)
    verify([NEW], message(), BODY, NOW_S + offset_s, tolerance_s=301)


@pytest.mark.parametrize(
    "signatures",
    [
        "{}",
        "v1,AAAA {} v1,BBBB",
        "v1a,AAAA {} v2,AAAA",
        "  {}  ",
        "v1 , ,v1 v1,\u00e9\ud800 {}",
        f"{sign([PRIVATE, OLD], 'wh_1', NOW_S, BODY)} {{}}",
    ],
)
def test_the_right_signature_is_found_among_others(signatures: str) -> None:
    """Other versions, wrong signatures and invalid text beside the right signature are ignored."""
    verify([NEW], message(signature=signatures.format(SIGNED)), BODY, NOW_S)


def test_either_secret_of_a_rotation_verifies() -> None:
    """Any signature may match any secret, so both sides can rotate their secrets."""
    for signer in ([OLD], [NEW], [STRANGE, OLD]):
        verify([NEW, OLD], signed_headers(signer, "wh_1", NOW_S, BODY), BODY, NOW_S)
    with pytest.raises(NotVerified):
        verify([NEW, OLD], signed_headers([STRANGE, PRIVATE], "wh_1", NOW_S, BODY), BODY, NOW_S)


def test_an_empty_body_verifies() -> None:
    """The signature of an empty body is accepted."""
    verify([NEW], signed_headers([NEW], "wh_1", NOW_S, b""), b"", NOW_S)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"id": None}, "webhook-id is missing"),
        ({"timestamp": None}, "webhook-timestamp is missing"),
        ({"signature": None}, "webhook-signature is missing"),
        ({"id": ""}, "webhook-id is missing"),
        ({"timestamp": ""}, "webhook-timestamp is missing"),
        ({"signature": ""}, "webhook-signature is missing"),
        ({"id": "wh.1"}, "webhook-id must be ASCII without a full stop"),
        ({"id": "wh_\u00e9"}, "webhook-id must be ASCII without a full stop"),
        ({"id": "wh_\ud800"}, "webhook-id must be ASCII without a full stop"),
        ({"id": "wh_2"}, "no v1 signature"),
        ({"timestamp": str(NOW_S + 1)}, "no v1 signature"),
        ({"timestamp": "soon"}, "whole seconds"),
        ({"timestamp": f"{NOW_S}.0"}, "whole seconds"),
        ({"timestamp": "1.8e9"}, "whole seconds"),
        ({"timestamp": f"+{NOW_S}"}, "whole seconds"),
        ({"timestamp": f"-{NOW_S}"}, "whole seconds"),
        ({"timestamp": f" {NOW_S}"}, "whole seconds"),
        ({"timestamp": f"{NOW_S}\n"}, "whole seconds"),
        ({"timestamp": f"0{NOW_S}"}, "whole seconds"),
        ({"timestamp": "1_800_000_000"}, "whole seconds"),
        ({"timestamp": "\u0661\u0668" + "\u0660" * 8}, "whole seconds"),
        ({"timestamp": "9" * 5000}, "whole seconds"),
        ({"timestamp": f"{NOW_S}000"}, "whole seconds"),
        ({"signature": " "}, "no v1 signature"),
        ({"signature": "v1,"}, "no v1 signature"),
        ({"signature": "v1"}, "no v1 signature"),
        ({"signature": SIGNED[: len(SIGNED) // 2]}, "no v1 signature"),
        ({"signature": SIGNED.rstrip("=")}, "no v1 signature"),
        ({"signature": SIGNED.removeprefix("v1,")}, "no v1 signature"),
        ({"signature": SIGNED.replace("v1,", "v1a,")}, "no v1 signature"),
        ({"signature": SIGNED.replace("v1,", "V1,")}, "no v1 signature"),
        ({"signature": SIGNED + ","}, "no v1 signature"),
        ({"signature": sign([PRIVATE], "wh_1", NOW_S, BODY)}, "no v1 signature"),
    ],
)
def test_a_malformed_or_forged_message_is_refused(changes: dict[str, str | None], rule: str) -> None:
    """The error is always NotVerified. It names the rule, but neither secret nor signature."""
    with pytest.raises(NotVerified, match=rule) as refusal:
        verify([NEW], message(**changes), BODY, NOW_S)
    shown = str(refusal.value)
    assert NEW[6:20] not in shown
    assert SIGNED[3:20] not in shown


@given(key=KEYS, message_id=IDS, timestamp_s=TIMES, body=st.binary(max_size=200), drift_s=st.integers(-300, 300))
def test_our_own_signatures_verify(key: bytes, message_id: str, timestamp_s: int, body: bytes, drift_s: int) -> None:
    """Messages that we sign are accepted, with any key, id, time and body."""
    secret = written(key)
    verify([secret], signed_headers([secret], message_id, timestamp_s, body), body, timestamp_s + drift_s)


@given(data=st.data(), key=KEYS, message_id=IDS, timestamp_s=TIMES, body=st.binary(min_size=1, max_size=200))
def test_one_changed_byte_is_refused(
    data: st.DataObject, key: bytes, message_id: str, timestamp_s: int, body: bytes
) -> None:
    """A message is refused if any byte of its body, its id or its time was changed."""
    secret = written(key)
    fields = signed_headers([secret], message_id, timestamp_s, body)
    at, flip = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(1, 255))
    changed = body[:at] + bytes([body[at] ^ flip]) + body[at + 1 :]
    at, letter = data.draw(st.integers(0, len(message_id) - 1)), data.draw(IDS)[0]
    other_id = message_id[:at] + (letter if letter != message_id[at] else "~!"[letter == "~"]) + message_id[at + 1 :]
    moved_s = data.draw(TIMES.filter(lambda other_s: other_s != timestamp_s))
    for differing, seen, now_s in (
        (fields, changed, timestamp_s),
        ({**fields, "webhook-id": other_id}, body, timestamp_s),
        ({**fields, "webhook-timestamp": str(moved_s)}, body, moved_s),
    ):
        with pytest.raises(NotVerified, match="no v1 signature"):
            verify([secret], differing, seen, now_s)


@given(fields=st.fixed_dictionaries({name: st.text(st.characters(), max_size=60) for name in message()}))
def test_arbitrary_headers_are_refused(fields: dict[str, str]) -> None:
    """Headers with arbitrary text raise NotVerified and no other exception."""
    with pytest.raises(NotVerified):
        verify([NEW], fields, BODY, NOW_S)


@pytest.mark.parametrize("unusable", ["", "v1", "x" * 23, NEW.rstrip("="), "whsec_", PUBLIC, PRIVATE])
def test_an_unusable_secret_raises_a_plain_value_error(unusable: str) -> None:
    """An empty, broken or asymmetric secret is refused, even if its text was used as the key of the signature."""
    forged = hmac.digest(unusable.encode(), signed_content("wh_1", NOW_S, BODY), "sha256")
    with pytest.raises(ValueError, match="secret") as refusal:
        verify([NEW, unusable], message(signature=f"v1,{base64.b64encode(forged).decode()}"), BODY, NOW_S)
    assert type(refusal.value) is ValueError
    assert unusable[6:20] == "" or unusable[6:20] not in str(refusal.value)


def test_without_a_secret_everything_is_refused() -> None:
    """Without a secret no message can prove its sender."""
    with pytest.raises(NotVerified):
        verify([], message(), BODY, NOW_S)
