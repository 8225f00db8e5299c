"""Settings of several upstreams: in a list or in a file, beside the one of the other settings."""

from uuid import uuid4

import orjson
import pytest

from shared.core.errors import SettingsError
from shared.settings import APP, Settings
from tests.unit.test_settings import UNRESOLVED, loaded

EU: dict[str, object] = {
    "name": "eu",
    "models": ["gpt-*"],
    "base_url": "https://eu.example.com/v1",
    "key_setting": "EU_KEY",
}


def listed(*entries: dict[str, object], **changes: str) -> Settings:
    """Return the settings of a deployment with these upstreams."""
    return loaded(UPSTREAMS=orjson.dumps(entries).decode(), **changes)


def test_upstreams_come_before_the_one_of_the_other_settings() -> None:
    """That one has the name `default`, and is not needed then."""
    assert [spec.name for spec in listed(EU, EU_KEY="k").upstreams] == ["eu", "default"]
    alone = listed(EU, EU_KEY="k", UPSTREAM_BASE_URL="")
    assert [(spec.name, spec.api_key) for spec in alone.upstreams] == [("eu", "k")]
    with pytest.raises(SettingsError, match="name twice"):
        listed({**EU, "name": "default"}, EU_KEY="k")
    assert listed({**EU, "name": "default"}, EU_KEY="k", UPSTREAM_BASE_URL="").upstreams[0].name == "default"


def test_the_secrets_of_upstreams_may_be_one_secret() -> None:
    """A setting of the name comes first."""
    assert listed(EU, UPSTREAM_KEYS='{"EU_KEY": "one"}').upstreams[0].api_key == "one"
    assert listed(EU, UPSTREAM_KEYS='{"EU_KEY": "one"}', EU_KEY="two").upstreams[0].api_key == "two"


@pytest.mark.parametrize("keys", ["{", "[]", '{"EU_KEY": 1}', "null"])
def test_the_secrets_of_upstreams_are_texts_by_name(keys: str) -> None:
    """The error shows none of them."""
    with pytest.raises(SettingsError, match="UPSTREAM_KEYS must be"):
        listed(EU, UPSTREAM_KEYS=keys)


def test_a_secret_that_was_not_resolved_is_refused() -> None:
    """Whichever setting has it."""
    with pytest.raises(SettingsError, match="EU_KEY is a Key Vault reference"):
        listed(EU, EU_KEY=UNRESOLVED)
    with pytest.raises(SettingsError, match="UPSTREAM_KEYS is a Key Vault reference"):
        listed(EU, UPSTREAM_KEYS=UNRESOLVED)


@pytest.mark.parametrize("name", ["upstreams.json", "../upstreams.json", "upstreams", "host.json"])
def test_a_file_must_be_one_beside_the_app(name: str) -> None:
    """It has the same list. Any other name is refused, and so is a file of another kind."""
    with pytest.raises(SettingsError, match="UPSTREAMS"):
        loaded(UPSTREAMS=name)


def test_a_file_beside_the_app_is_read(request: pytest.FixtureRequest) -> None:
    """White space around its name does not matter."""
    path = APP / f"upstreams-of-a-test-{uuid4().hex}.json"
    request.addfinalizer(lambda: path.unlink(missing_ok=True))
    path.write_bytes(orjson.dumps([EU]))
    assert loaded(UPSTREAMS=f" {path.name}\n", EU_KEY="k").upstreams[0].name == "eu"


def test_a_foreground_upstream_bounds_the_deadline_of_all() -> None:
    """Which upstream a response gets is not known before it is made."""
    with pytest.raises(SettingsError, match="RESPONSE_DEADLINE_S"):
        listed({**EU, "mode": "foreground"}, EU_KEY="k", RESPONSE_DEADLINE_S="21001")


def test_the_default_upstream_may_have_a_limit() -> None:
    """It is a number. Without one there is none."""
    assert loaded().upstreams[0].limits == {}
    assert loaded(UPSTREAM_MAX_IN_FLIGHT=" 40\n").upstreams[0].limits == {"*": 40}


@pytest.mark.parametrize("wrong", ["0", "-1", "1.5", "x", "100001", "\u0664"])
def test_a_limit_is_a_positive_number(wrong: str) -> None:
    """The error names the setting."""
    with pytest.raises(SettingsError, match="UPSTREAM_MAX_IN_FLIGHT must be"):
        loaded(UPSTREAM_MAX_IN_FLIGHT=wrong)
