"""Secret rotation: new secrets sign at once, old ones sign until their time, and nothing else changes."""

import hashlib
import json
import subprocess
import sys
import time
from typing import Any

import pytest
from standardwebhooks import Webhook

from local.credentials.keys import new_credentials
from local.credentials.rotation import rotated
from local.stack.process import ROOT, PartError
from shared.contract.callers import Caller, parse_callers
from shared.contract.signatures import check_secret, is_asymmetric, public_key, signed_headers
from tests.support.signature_vectors import BODY, EVENT, NEW, OLD, OLD_PRIVATE, PRIVATE, openai_unwraps

NOW_S = 1_800_000_000  # 2027-01-15T08:00:00Z
HOUR_S = 3600
BOB = {"name": "b\u00f6b", "keys": [], "signing_secrets": [OLD], "note": "kept"}


def setting(*secrets: object) -> str:
    """Return CALLERS with these secrets for the caller ann, between two other callers."""
    ann = {"name": "ann", "callback_hosts": ["example.com"], "signing_secrets": list(secrets)}
    return json.dumps([BOB, ann, {"name": "cy"}])


def caller(text: str) -> Caller:
    """Return the caller ann as the service reads it."""
    found = parse_callers(text).named("ann")
    assert found is not None
    return found


def test_a_fresh_secret_signs_at_once_and_the_old_one_until_its_time() -> None:
    """The service can read the new setting. At the end of the grace period, only the new secret signs."""
    rotation = rotated(setting(OLD), "ann", NOW_S, HOUR_S)
    (fresh,) = rotation.fresh
    check_secret(fresh)
    ann = caller(rotation.setting)
    assert ann.signing(NOW_S * 1000) == ann.signing((NOW_S + HOUR_S) * 1000 - 1) == (fresh, OLD)
    assert ann.signing((NOW_S + HOUR_S) * 1000) == (fresh,)


def test_only_the_secrets_of_one_caller_change() -> None:
    """Other callers, other fields and the order stay the same. The end time is written in ISO 8601."""
    bob, ann, cy = json.loads(rotated(setting(OLD), "ann", NOW_S, HOUR_S).setting)
    assert (bob, cy) == (BOB, {"name": "cy"})
    assert (ann.pop("name"), ann.pop("callback_hosts")) == ("ann", ["example.com"])
    assert ann.pop("signing_secrets")[1:] == [{"secret": OLD, "until": "2027-01-15T09:00:00Z"}]
    assert ann == {}


@pytest.mark.parametrize(
    ("secrets", "kinds"),
    [
        ([OLD], [False]),
        ([PRIVATE], [True]),
        ([OLD, PRIVATE], [False, True]),
        ([PRIVATE, OLD], [True, False]),
        ([NEW, {"secret": OLD}], [False]),
        ([NEW, {"secret": PRIVATE, "until": NOW_S + 1}], [False]),
    ],
)
def test_each_current_kind_of_secret_is_replaced(secrets: list[object], kinds: list[bool]) -> None:
    """Each current kind gets one new secret, in the same order.

    A receiver that verifies one kind can go on with that kind.
    """
    rotation = rotated(setting(*secrets), "ann", NOW_S, HOUR_S)
    assert [is_asymmetric(secret) for secret in rotation.fresh] == kinds
    before, after = (caller(text).signing(NOW_S * 1000) for text in (setting(*secrets), rotation.setting))
    assert after == (*rotation.fresh, *before)


def test_previous_secrets_keep_their_time_and_are_dropped_after_it() -> None:
    """A previous secret keeps its end time, whatever its format, and is dropped after it."""
    ends: list[Any] = [
        {"secret": OLD_PRIVATE, "until": NOW_S + 1},
        {"secret": OLD, "until": "2027-01-15T08:00:00Z"},
        {"secret": PRIVATE, "until": "9999-12-31T23:59:59-14:00"},
        {"secret": OLD, "until": 0},
    ]
    _, ann, _ = json.loads(rotated(setting(NEW, *ends), "ann", NOW_S, HOUR_S).setting)
    assert ann["signing_secrets"][1:] == [{"secret": NEW, "until": "2027-01-15T09:00:00Z"}, ends[0], ends[2]]


def test_without_grace_the_old_secret_ends_at_once() -> None:
    """Without grace only the new secrets sign, so a leaked secret signs nothing more."""
    rotation = rotated(setting(OLD, PRIVATE), "ann", NOW_S, 0)
    assert caller(rotation.setting).signing(0) == rotation.fresh


def test_a_rotation_shows_no_secret() -> None:
    """The text form of a rotation, which may appear in an error, is empty."""
    assert repr(rotated(setting(OLD), "ann", NOW_S, HOUR_S)) == "Rotation()"


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        ("", "ann", "CALLERS is not valid JSON"),
        (setting(OLD)[:-1], "ann", "CALLERS is not valid JSON"),
        ("{}", "ann", "CALLERS must be a JSON list"),
        (setting(OLD[:-1]), "ann", r"CALLERS\[1\].signing_secrets\[0\]: a signing secret must be standard base64"),
        (setting(OLD), "dan", "CALLERS names no caller 'dan'"),
        (setting(), "ann", "caller 'ann' has no signing secret"),
        (setting(OLD), "cy", "caller 'cy' has no signing secret"),
    ],
)
def test_an_impossible_rotation_is_reported(text: str, name: str, reason: str) -> None:
    """The error names the part and the reason, and contains no secret."""
    with pytest.raises(PartError, match=f"settings: {reason}") as failure:
        rotated(text, name, NOW_S, HOUR_S)
    assert OLD[6:20] not in str(failure.value)


def command(given: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command with this input."""
    line = [sys.executable, "-m", "local", "rotate-secret", *arguments]
    return subprocess.run(line, cwd=ROOT, input=given, capture_output=True, timeout=60, check=False)


def test_the_command_converts_a_setting_to_the_next_one() -> None:
    """The new setting goes to standard output, and what the receiver needs to standard error.

    Both webhook libraries verify what the new setting signs.
    """
    credentials = new_credentials("ann", asymmetric=True)
    ran = command(json.dumps([credentials.configuration()]).encode(), "ann", "--grace-hours", "0.5")
    assert ran.returncode == 0, ran.stderr
    now_ms = int(time.time() * 1000)
    ann = caller(ran.stdout.decode())
    secret, private_key, *old = signing = ann.signing(now_ms)
    assert old == [credentials.signing_secret, credentials.private_key]
    assert ann.signing(now_ms + 1_800_000) == (secret, private_key)
    shown = [line.split(": ")[1].strip() for line in ran.stderr.decode().splitlines()]
    assert shown == [secret, public_key(private_key)]
    assert ann.keys == (hashlib.sha256(credentials.api_key.encode()).digest(),)

    fields = signed_headers(signing, "wh_1", now_ms // 1000, BODY)
    for held in (secret, credentials.signing_secret):
        assert Webhook(held).verify(BODY, fields) == EVENT
        assert openai_unwraps(held, BODY, fields) == "response.completed"


def test_the_default_grace_period_of_the_command_is_a_day() -> None:
    """Without `--grace-hours` the old secret signs for a day, long enough to change a receiver by hand."""
    ran = command(setting(OLD).encode(), "ann")
    now_ms = int(time.time() * 1000)
    ann = caller(ran.stdout.decode())
    assert OLD in ann.signing(now_ms + 23 * HOUR_S * 1000)
    assert OLD not in ann.signing(now_ms + 24 * HOUR_S * 1000)


@pytest.mark.parametrize(
    ("given", "arguments", "reason"),
    [
        (b"\xff", ["ann"], "CALLERS is not valid JSON"),
        (b"no JSON", ["ann"], "CALLERS is not valid JSON"),
        (setting(OLD).encode(), ["dan"], "CALLERS names no caller 'dan'"),
        (b"", ["ann", "--grace-hours", "168.1"], "--grace-hours is 168.1, which is not 0 to 168"),
        (b"", ["ann", "--grace-hours", "-1"], "--grace-hours is -1, which is not 0 to 168"),
        (b"", ["ann", "--grace-hours", "nan"], "--grace-hours is nan, which is not 0 to 168"),
    ],
)
def test_a_command_that_fails_prints_no_setting(given: bytes, arguments: list[str], reason: str) -> None:
    """The command exits with 1 and prints one line with the reason. Its standard output is empty."""
    ran = command(given, *arguments)
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert ran.stderr.decode() == f"rotate-secret failed: settings: {reason}\n"
