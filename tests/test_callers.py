"""Callers: found by their key, configured as one secret of which no error shows anything."""

import hashlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.callers import Caller, parse
from shared.errors import SettingsError, Unauthorized

KEY, OTHER_KEY = "br_ann_0123456789", "br_bob_0123456789"
SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def digest(key: str) -> str:
    """Return a key as it is configured."""
    return hashlib.sha256(key.encode()).hexdigest()


def secret(**changes: Any) -> str:
    """Return the JSON of one caller, changed as given."""
    ann = {"name": "ann", "keys": [digest(KEY)], "signing_secrets": [SIGNING], "callback_hosts": ["example.com"]}
    return orjson.dumps([{**ann, **changes}]).decode()


TWO = parse(
    orjson.dumps([{"name": "ann", "keys": [digest(KEY)]}, {"name": "bob", "keys": [digest(OTHER_KEY)]}]).decode()
)


def test_a_caller_is_read_from_the_secret() -> None:
    """Name, key digests, signing secrets with the current one first, and the hosts of its callbacks."""
    caller = parse(secret()).named("ann")
    assert caller == Caller("ann", (bytes.fromhex(digest(KEY)),), (SIGNING,), ("example.com",))


def test_a_name_is_enough() -> None:
    """A caller without keys can be configured before it has any; nobody gets in as that."""
    callers = parse('[{"name": "ann"}]')
    assert callers.named("ann") == Caller("ann", (), ())
    assert callers.named("bob") is None
    with pytest.raises(Unauthorized):
        callers.authenticate({})


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer   {KEY} "},
        {"api-key": KEY},
        {"x-functions-key": KEY},
        {"authorization": "", "api-key": KEY},
        {"authorization": "Basic abc", "api-key": KEY},
        {"authorization": "Bearer ", "x-functions-key": KEY},
    ],
)
def test_a_key_may_come_in_three_headers(headers: dict[str, str]) -> None:
    """OpenAI's clients send one, Azure's another, those of Functions a third."""
    assert TWO.authenticate(headers).name == "ann"


def test_each_key_names_its_caller() -> None:
    """Two callers are two; during a rotation both keys of one are good."""
    assert TWO.authenticate({"api-key": OTHER_KEY}).name == "bob"
    rotating = parse(secret(keys=[digest("new"), digest("old")]))
    assert {rotating.authenticate({"api-key": key}).name for key in ("new", "old")} == {"ann"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": KEY},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer"},
        {"api-key": ""},
        {"api-key": KEY + "x"},
        {"api-key": KEY[:-1]},
        {"api-key": digest(KEY)},
        {"authorization": "Bearer wrong", "api-key": KEY},
        {"api-key": "ключ"},
    ],
)
def test_without_a_good_key_nobody_gets_in(headers: dict[str, str]) -> None:
    """Not with the digest either; the first header that carries a key is the one that counts."""
    with pytest.raises(Unauthorized) as refused:
        TWO.authenticate(headers)
    assert refused.value.status == 401
    assert refused.value.code == "invalid_api_key"
    assert KEY[:-1] not in refused.value.message


@given(st.text())
def test_no_guess_is_a_key(guess: str) -> None:
    """Only the key itself is accepted, with its characters as a server reads them from the wire."""
    guess = guess.encode(errors="replace").decode("latin-1")
    if guess != KEY:
        with pytest.raises(Unauthorized):
            TWO.authenticate({"api-key": guess})


def test_a_caller_shows_no_secret() -> None:
    """What may end up in a log says who it is, and nothing that opens a door."""
    text = repr(parse(secret()).named("ann"))
    assert "ann" in text
    assert SIGNING not in text
    assert repr(bytes.fromhex(digest(KEY))) not in text


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "CALLERS is not valid JSON"),
        ("{", "CALLERS is not valid JSON"),
        (KEY, "CALLERS is not valid JSON"),
        ("{}", "a JSON list of at least one caller"),
        ("[]", "a JSON list of at least one caller"),
        ("null", "a JSON list of at least one caller"),
        (f'["{KEY}"]', r"CALLERS\[0\] must be an object"),
        ("[{}]", r"CALLERS\[0\].name"),
        (secret(name=""), r"CALLERS\[0\].name"),
        (secret(name="n" * 65), r"CALLERS\[0\].name"),
        (secret(name=7), r"CALLERS\[0\].name"),
        (secret(keys=digest(KEY)), r"CALLERS\[0\].keys must be a list of strings"),
        (secret(keys=[7]), r"CALLERS\[0\].keys must be a list of strings"),
        (secret(keys=None), r"CALLERS\[0\].keys must be a list of strings"),
        (secret(keys=[KEY]), r"CALLERS\[0\].keys must hold SHA-256 digests"),
        (secret(keys=[digest(KEY)[:-2]]), r"CALLERS\[0\].keys must hold SHA-256 digests"),
        (secret(signing_secrets=["geheim"]), r"CALLERS\[0\].signing_secrets: a signing secret must start with"),
        (secret(signing_secrets=["whsec_c2hvcnQ="]), r"CALLERS\[0\].signing_secrets: .* at least 24 bytes"),
        (secret(callback_hosts="example.com"), r"CALLERS\[0\].callback_hosts must be a list"),
        ('[{"name":"ann"},{"name":"ann"}]', "CALLERS names a caller twice"),
    ],
)
def test_a_wrong_secret_is_refused_without_showing_it(text: str, named: str) -> None:
    """The error names the place; neither keys nor signing secrets are in it."""
    with pytest.raises(SettingsError, match=named) as refused:
        parse(text)
    shown = str(refused.value)
    assert not any(part in shown for part in (KEY, digest(KEY), SIGNING, "geheim", "c2hvcnQ"))
