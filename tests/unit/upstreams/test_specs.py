"""The setting `UPSTREAMS`: what it may say, and which member an error names."""

from typing import Any

import orjson
import pytest

from shared.core.backoff import POLL_MAX_MS, POLL_MIN_MS
from shared.core.errors import SettingsError
from shared.upstreams.specs import ANNOUNCED_POLL_MS, SCOPE, UpstreamSpec, check_together, parse_upstreams

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SETTINGS = {"EU_KEY": " key-of-eu\n", "EU_HOOK": SECRET, "ODD": "k\u00e9y", "EMPTY": " "}
LEAST = {"name": "eu", "base_url": "https://eu.example.com/v1"}
WHOLE = {
    **LEAST,
    "models": ["gpt-5*", "o4-mini"],
    "mode": "foreground",
    "key_setting": "EU_KEY",
    "scope": "https://ai.azure.com/.default",
    "api_version": "2025-04-01-preview",
    "headers": {"X-Team": "a"},
    "secret_headers": {"Ocp-Apim-Subscription-Key": "EU_KEY"},
    "webhook_secret_setting": "EU_HOOK",
    "honours_idempotency_key": True,
    "max_in_flight": {"*": 40, "gpt-5-pro": 2},
    "rename": {"gpt-5": "prod-5"},
    "then": ["us"],
}


def parsed(*entries: Any) -> tuple[UpstreamSpec, ...]:
    """Return what the setting with these entries says."""
    return parse_upstreams(orjson.dumps(entries).decode(), SETTINGS.get)


def test_an_upstream_needs_a_name_and_a_base_url() -> None:
    """It then serves every model in the background, with a token of the identity."""
    (spec,) = parsed(LEAST)
    assert spec == UpstreamSpec("eu", base_url="https://eu.example.com/v1")
    assert (spec.models, spec.is_background, spec.api_key, spec.scope) == (("*",), True, None, SCOPE)


def test_every_member_is_read() -> None:
    """Secrets come from the settings that the members name."""
    (spec,) = parsed(WHOLE)
    assert spec == UpstreamSpec(
        name="eu",
        models=("gpt-5*", "o4-mini"),
        base_url="https://eu.example.com/v1",
        is_background=False,
        api_key="key-of-eu",
        scope="https://ai.azure.com/.default",
        api_version="2025-04-01-preview",
        headers={"X-Team": "a", "Ocp-Apim-Subscription-Key": "key-of-eu"},
        webhook_secrets=(SECRET,),
        honours_keys=True,
        limits={"*": 40, "gpt-5-pro": 2},
        rename={"gpt-5": "prod-5"},
        then=("us",),
    )


def test_one_number_limits_all_models_together() -> None:
    """An object limits models by pattern."""
    assert parsed({**LEAST, "max_in_flight": 3})[0].limits == {"*": 3}


def test_an_upstream_with_a_secret_header_needs_no_token() -> None:
    """Unless a scope is given."""
    (spec,) = parsed({**LEAST, "secret_headers": {"api-key": "EU_KEY"}})
    assert (spec.scope, spec.api_key) == ("", None)


@pytest.mark.parametrize(
    ("model", "is_served"),
    [("gpt-5", True), ("gpt-5-mini", True), ("o4-mini", True), ("o4-mini-2", False), ("gpt-4", False), (None, False)],
)
def test_a_pattern_has_stars(model: str | None, is_served: bool) -> None:
    """A star stands for any characters, and every other character for itself."""
    assert parsed(WHOLE)[0].serves(model) is is_served


@pytest.mark.parametrize("model", ["gpt.5", "gptx5", "a\nb"])
def test_no_other_character_is_special(model: str) -> None:
    """A dot is a dot."""
    (spec,) = parsed({**LEAST, "models": ["gpt.5", "a*b"]})
    assert spec.serves(model) is (model != "gptx5")


def test_a_request_without_a_model_goes_where_all_are_served() -> None:
    """A star alone serves it."""
    assert parsed(LEAST)[0].serves(None)


@pytest.mark.parametrize(
    ("member", "wrong"),
    [
        ("name", ["", "EU", "e u", "-a", "a-", "a" * 33, 5, None]),
        ("models", [[], "gpt", [""], [5], ["m" * 257]]),
        ("base_url", ["", "ftp://x", "https://", "https://x?a=b", "https://x:y", 5, None]),
        ("mode", ["", "Background", True]),
        ("key_setting", ["", "1A", "a b", 5, "NONE", "EMPTY", "ODD"]),
        ("scope", ["", "a b", 5]),
        ("api_version", ["a b", 5, "x" * 41]),
        ("headers", [[], {"a b": "c"}, {"Host": "x"}, {"content-length": "1"}, {"X-A": ""}, {"X-A": "\u00e9"}]),
        ("secret_headers", [{"X-A": "NONE"}, {"Idempotency-Key": "EU_KEY"}, {"X-A": 5}]),
        ("webhook_secret_setting", ["NONE", "EU_KEY"]),
        ("honours_idempotency_key", ["true", 1]),
        ("max_in_flight", [0, -1, 100_001, "5", True, 1.5, {"*": 0}, []]),
        ("rename", [[], {"a": ""}, {"a": 5}]),
        ("then", ["us", [5], [""]]),
        ("modle", ["gpt"]),
    ],
)
def test_an_error_names_the_member(member: str, wrong: list[Any]) -> None:
    """It says what was expected, and shows no value of a secret."""
    for value in wrong:
        with pytest.raises(SettingsError) as raised:
            parsed(LEAST, {**LEAST, "name": "us", member: value})
        assert "UPSTREAMS[1]." + member in str(raised.value) or value in ("ODD", "EU_KEY")
        assert "key-of-eu" not in str(raised.value)


@pytest.mark.parametrize("text", ["{", "{}", "[]", "null", '["a"]', "[" + "{}," * 32 + "{}]"])
def test_the_setting_is_a_list_of_objects(text: str) -> None:
    """Of one to 32."""
    with pytest.raises(SettingsError, match="UPSTREAMS"):
        parse_upstreams(text, SETTINGS.get)


def test_upstreams_fit_together() -> None:
    """Names are unique, and `then` names others of the same mode."""
    eu, us = UpstreamSpec("eu", then=("us",)), UpstreamSpec("us", then=("eu",))
    assert check_together([eu, us]) == (eu, us)
    for wrong, why in (
        ([eu, us, UpstreamSpec("us")], "twice"),
        ([eu], "names of other upstreams"),
        ([UpstreamSpec("eu", then=("eu",))], "names of other upstreams"),
        ([eu, UpstreamSpec("us", is_background=False)], "same mode"),
    ):
        with pytest.raises(SettingsError, match=why):
            check_together(wrong)


def test_polls_are_rarer_if_the_upstream_announces_its_ends() -> None:
    """A poll is then only a safety net, and comes a minute after the last one. Otherwise the minimum is a second."""
    assert UpstreamSpec().poll_min_ms == POLL_MIN_MS == 1_000
    assert UpstreamSpec(webhook_secrets=(SECRET,)).poll_min_ms == ANNOUNCED_POLL_MS == 60_000 >= POLL_MAX_MS


def test_secrets_are_not_shown() -> None:
    """What is known about an upstream may be logged."""
    assert "key-of-eu" not in repr(parsed(WHOLE))
    assert SECRET not in repr(parsed(WHOLE))
