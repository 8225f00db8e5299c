"""Callers: found by their API key, and configured as one secret that no error shows."""

import hashlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.callers import Caller, CallerLimits, SigningSecret, parse_callers
from shared.core.errors import SettingsError, Unauthorized

KEY, OTHER_KEY = "br_ann_0123456789", "br_bob_0123456789"
SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
OLD_PRIVATE = "whsk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA7aie8zrakLWKjqNAqbw1zZTIVdx3iQ6Y6wEihi1naKQ=="
UNTIL_S = 1_800_000_000  # 2027-01-15T08:00:00Z

WRONG_HOLDS: tuple[Any, ...] = ("85", 0, 95.5, True, [])


def digest(key: str) -> str:
    """Return the SHA-256 of a key in hex, as it is configured."""
    return hashlib.sha256(key.encode()).hexdigest()


def secret(**changes: Any) -> str:
    """Return the JSON of one caller, with these fields changed."""
    ann = {"name": "ann", "keys": [digest(KEY)], "signing_secrets": [SIGNING], "callback_hosts": ["example.com"]}
    return orjson.dumps([{**ann, **changes}]).decode()


TWO = parse_callers(
    orjson.dumps([{"name": "ann", "keys": [digest(KEY)]}, {"name": "bob", "keys": [digest(OTHER_KEY)]}]).decode()
)


def test_callers_are_known_by_their_names() -> None:
    """In the order of the secret. The first one is the default for queued requests."""
    assert (TWO.names(), TWO.first.name) == (["ann", "bob"], "ann")


def test_a_caller_is_read_from_the_secret() -> None:
    """A caller has a name, key digests, signing secrets with the current one first, and the hosts of its callbacks."""
    caller = parse_callers(secret()).named("ann")
    assert caller == Caller("ann", (bytes.fromhex(digest(KEY)),), (SigningSecret(SIGNING),), ("example.com",))


@pytest.mark.parametrize(("given", "hold_s"), [(None, None), (30, 30.0), (95.0, 95.0), (1, 1.0)])
def test_a_caller_may_have_a_hold_of_its_own(given: float | None, hold_s: float | None) -> None:
    """Its clients bound the whole body, also where a gateway changes their User-Agent."""
    caller = parse_callers(secret(hold_s=given)).named("ann")
    assert caller
    assert caller.hold_s == hold_s


def test_a_caller_may_have_limits_of_its_own() -> None:
    """Each that is left out is none."""
    given = {"max_body_bytes": 1, "max_in_flight": 5, "requests_per_minute": 60, "max_streams": 1_000_000_000}
    for name, value in given.items():
        caller = parse_callers(secret(**{name: value})).named("ann")
        assert caller
        assert caller.limits == CallerLimits(**{name: value})


@pytest.mark.parametrize("name", ["max_body_bytes", "requests_per_minute", "max_streams"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "10", 1_000_000_001])
def test_a_limit_is_a_whole_number_above_zero(name: str, value: object) -> None:
    """A caller that may do nothing is one without a key."""
    with pytest.raises(SettingsError, match=rf"CALLERS\[0\].{name} must be a whole number"):
        parse_callers(secret(**{name: value}))


@pytest.mark.parametrize(
    "until",
    [
        UNTIL_S,
        "2027-01-15T08:00:00Z",
        "2027-01-15T08:00:00.000+00:00",
        "2027-01-15 10:30:00+02:30",
        "20270115T080000Z",
    ],
)
def test_a_previous_secret_signs_until_its_time(until: int | str) -> None:
    """A previous secret signs until its end, to the millisecond and in any notation.

    Then only the current one signs.
    """
    caller = parse_callers(secret(signing_secrets=[SIGNING, {"secret": OLD, "until": until}])).named("ann")
    assert caller is not None
    assert caller.secrets == (SigningSecret(SIGNING), SigningSecret(OLD, UNTIL_S * 1000))
    assert caller.signing(0) == caller.signing(UNTIL_S * 1000 - 1) == (SIGNING, OLD)
    assert caller.signing(UNTIL_S * 1000) == (SIGNING,)


def test_both_kinds_of_secret_may_be_current() -> None:
    """Current secrets sign before previous ones. Each previous secret signs until its end."""
    previous = [{"secret": OLD, "until": UNTIL_S}, {"secret": OLD_PRIVATE, "until": UNTIL_S + 1}]
    caller = parse_callers(secret(signing_secrets=[SIGNING, *previous, {"secret": PRIVATE}])).named("ann")
    assert caller is not None
    assert caller.signing(UNTIL_S * 1000 - 1) == (SIGNING, PRIVATE, OLD, OLD_PRIVATE)
    assert caller.signing(UNTIL_S * 1000) == (SIGNING, PRIVATE, OLD_PRIVATE)
    assert caller.signing(UNTIL_S * 1000 + 1000) == (SIGNING, PRIVATE)


def test_a_caller_may_have_only_a_name() -> None:
    """A caller may be configured before it has keys. No client can authenticate as it."""
    callers = parse_callers('[{"name": "ann"}]')
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
def test_a_key_is_accepted_in_three_headers(headers: dict[str, str]) -> None:
    """OpenAI's clients, Azure's clients and Functions clients each use another header."""
    assert TWO.authenticate(headers).name == "ann"


def test_each_key_belongs_to_its_caller() -> None:
    """A key authenticates its own caller. During a rotation both keys of a caller are valid."""
    assert TWO.authenticate({"api-key": OTHER_KEY}).name == "bob"
    rotating = parse_callers(secret(keys=[digest("new"), digest("old")]))
    assert {rotating.authenticate({"api-key": key}).name for key in ("new", "old")} == {"ann"}


def test_the_first_caller_is_the_first_of_the_secret() -> None:
    """The order of the secret counts, not the names."""
    assert TWO.first.name == "ann"
    assert parse_callers('[{"name": "zoe"}, {"name": "ann"}]').first.name == "zoe"


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
        {"authorization": f"Bearer {KEY}", "api-key": "wrong"},
        {"api-key": "ключ"},
    ],
)
def test_a_request_without_a_valid_key_is_unauthorized(headers: dict[str, str]) -> None:
    """The digest of a key is not accepted. If several headers have a key, `api-key` takes precedence."""
    with pytest.raises(Unauthorized) as refused:
        TWO.authenticate(headers)
    assert refused.value.status == 401
    assert refused.value.code == "invalid_api_key"
    assert KEY[:-1] not in refused.value.message


@given(st.text())
def test_no_other_text_is_accepted_as_a_key(guess: str) -> None:
    """Only the key itself is accepted, with its characters as a server reads them from the wire."""
    guess = guess.encode(errors="replace").decode("latin-1")
    if guess != KEY:
        with pytest.raises(Unauthorized):
            TWO.authenticate({"api-key": guess})


def test_the_repr_of_a_caller_shows_no_secret() -> None:
    """A repr may end up in a log. It shows the caller's name, but no secret and no digest."""
    caller = parse_callers(secret(signing_secrets=[SIGNING, {"secret": OLD, "until": UNTIL_S}])).named("ann")
    assert caller is not None
    text = repr(caller) + repr(caller.secrets)
    assert "ann" in text
    assert SIGNING not in text
    assert OLD not in text
    assert repr(bytes.fromhex(digest(KEY))) not in text


ONE_SECRET = r"CALLERS\[0\].signing_secrets\[1\] must be a string, or an object of 'secret' and 'until'"
TIME = r"CALLERS\[0\].signing_secrets\[1\].until must be a time in ISO 8601 with its zone, or in Unix seconds"


@pytest.mark.parametrize(
    ("previous", "named"),
    [
        (None, ONE_SECRET),
        (7, ONE_SECRET),
        ([OLD], ONE_SECRET),
        ({}, ONE_SECRET),
        ({"until": UNTIL_S}, ONE_SECRET),
        ({"secret": 7, "until": UNTIL_S}, ONE_SECRET),
        ({"secret": OLD, "untill": UNTIL_S}, ONE_SECRET),
        (
            {"secret": "geheim", "until": UNTIL_S},
            r"CALLERS\[0\].signing_secrets\[1\]: a signing secret must start with",
        ),
        ({"secret": OLD, "until": None}, TIME),
        ({"secret": OLD, "until": True}, TIME),
        ({"secret": OLD, "until": 1.5}, TIME),
        ({"secret": OLD, "until": -1}, TIME),
        ({"secret": OLD, "until": UNTIL_S * 1000}, TIME),
        ({"secret": OLD, "until": str(UNTIL_S)}, TIME),
        ({"secret": OLD, "until": ""}, TIME),
        ({"secret": OLD, "until": "tomorrow"}, TIME),
        ({"secret": OLD, "until": "2027-01-15"}, TIME),
        ({"secret": OLD, "until": "2027-01-15T08:00:00"}, TIME),
        ({"secret": OLD, "until": "2027-02-30T08:00:00Z"}, TIME),
        ({"secret": OLD, "until": ["2027-01-15T08:00:00Z"]}, TIME),
    ],
)
def test_a_wrong_previous_secret_is_refused_without_showing_it(previous: object, named: str) -> None:
    """A time without a zone or in milliseconds, or a misspelt field, is refused.

    No secret signs longer than intended.
    """
    with pytest.raises(SettingsError, match=named) as refused:
        parse_callers(secret(signing_secrets=[SIGNING, previous]))
    assert not any(part in str(refused.value) for part in (SIGNING, OLD, "geheim"))


@pytest.mark.parametrize("until", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", 0, 253_402_300_799])
def test_the_first_signing_secret_must_be_current(until: int | str) -> None:
    """A list that starts with a previous secret is refused, because it could leave the caller without a signature.

    A previous secret may end at any valid time.
    """
    with pytest.raises(SettingsError, match=r"CALLERS\[0\].signing_secrets must begin with a current secret"):
        parse_callers(secret(signing_secrets=[{"secret": SIGNING, "until": until}, OLD]))
    assert parse_callers(secret(signing_secrets=[OLD, {"secret": SIGNING, "until": until}])).named("ann")


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
        (secret(signing_secrets=["geheim"]), r"CALLERS\[0\].signing_secrets\[0\]: a signing secret must start with"),
        (secret(signing_secrets=["whsec_c2hvcnQ="]), r"CALLERS\[0\].signing_secrets\[0\]: .* at least 24 bytes"),
        (secret(signing_secrets=["whsk_c2hvcnQ="]), r"CALLERS\[0\].signing_secrets\[0\]: .* must hold 64 bytes"),
        (secret(signing_secrets=SIGNING), r"CALLERS\[0\].signing_secrets must be a list"),
        (secret(signing_secrets={"secret": SIGNING}), r"CALLERS\[0\].signing_secrets must be a list"),
        (secret(signing_secrets=None), r"CALLERS\[0\].signing_secrets must be a list"),
        (secret(callback_hosts="example.com"), r"CALLERS\[0\].callback_hosts must be a list"),
        *((secret(hold_s=value), r"CALLERS\[0\].hold_s must be a number") for value in WRONG_HOLDS),
        ('[{"name":"ann"},{"name":"ann"}]', "CALLERS names a caller twice"),
        (secret(keys=[digest(KEY), digest(KEY).upper()]), "CALLERS has the same key twice"),
        (f"[{secret()[1:-1]},{secret(name='bob')[1:-1]}]", "CALLERS has the same key twice"),
    ],
)
def test_a_wrong_secret_is_refused_without_showing_it(text: str, named: str) -> None:
    """The error names the field. It contains neither keys nor signing secrets."""
    with pytest.raises(SettingsError, match=named) as refused:
        parse_callers(text)
    shown = str(refused.value)
    assert not any(part in shown for part in (KEY, digest(KEY), SIGNING, "geheim", "c2hvcnQ"))
