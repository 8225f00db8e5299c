"""A value that a person sets for a hook is a number of seconds, or one line that names it and what is expected."""

from pathlib import Path

import pytest

from infra.hooks.values import MAX_S, WrongValue, group_of, resource_name, seconds
from tests.infra.azd_hooks import run
from tests.infra.vaults import Vault

LIMITS = f"from 0 to {MAX_S:.0f}"
WRONG = ["5m", "soon", "-1", "3600.5", "nan", "inf", "1e999", "0x10", " "]
WAITS = [
    ("prerequisites", "REGISTRATION_WAIT_S"),
    ("first_caller", "ROLE_WAIT_S"),
    ("readiness", "ROLE_WAIT_S"),
    ("readiness", "READY_WAIT_S"),
    ("readiness", "READY_PAUSE_S"),
]
REQUEST = ["FIRST_REQUEST_WAIT_S", "FIRST_REQUEST_PAUSE_S"]


@pytest.mark.parametrize(("text", "expected"), [("0", 0.0), ("0.5", 0.5), ("3600", MAX_S), ("1e2", 100.0)])
def test_a_number_of_seconds_is_taken(text: str, expected: float) -> None:
    """Both limits are allowed."""
    assert seconds({"WAIT_S": text}, "WAIT_S", 300.0) == expected


@pytest.mark.parametrize("environment", [{}, {"WAIT_S": ""}])
def test_a_value_that_is_not_set_has_its_default(environment: dict[str, str]) -> None:
    """An empty one is not set, because azd cannot take a value away."""
    assert seconds(environment, "WAIT_S", 300.0) == 300.0


@pytest.mark.parametrize("text", WRONG)
def test_anything_else_is_refused_by_its_name(text: str) -> None:
    """The text has the name, the limits and an example. It does not repeat the value."""
    with pytest.raises(WrongValue) as raised:
        seconds({"WAIT_S": text}, "WAIT_S", 300.0)
    assert str(raised.value) == f"WAIT_S must be seconds {LIMITS}, such as 300"


@pytest.mark.parametrize(("module", "name"), WAITS)
def test_a_hook_ends_with_one_line_about_a_wrong_value(module: str, name: str, tmp_path: Path, vault: Vault) -> None:
    """It exits 1 and prints no traceback. Nothing was written."""
    vault.ready = [503]
    done = run(module, tmp_path, vault, **{name: "5m"})
    assert done.returncode == 1
    assert f"{name} must be seconds {LIMITS}" in done.stderr
    assert done.stderr.count("\n") == 1
    assert vault.secrets == {}


@pytest.mark.parametrize("name", REQUEST)
def test_the_first_request_is_not_sent_with_a_wrong_value(name: str, tmp_path: Path, vault: Vault) -> None:
    """The hook that sends it says so, although the app is ready."""
    assert run("first_caller", tmp_path, vault).returncode == 0
    vault.ready = [200]
    done = run("readiness", tmp_path, vault, MODEL_DEPLOYMENT="gpt-5-mini", **{name: "-1"})
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"{name} must be seconds {LIMITS}" in done.stderr
    assert not [call for call in vault.calls if "/responses" in call]


GROUPS = [
    ({"AZURE_ENV_NAME": "prod"}, "rg-prod"),
    ({"AZURE_ENV_NAME": "prod", "RESOURCE_NAMES": "app=a, group = rg-x,"}, "rg-x"),
    ({"AZURE_ENV_NAME": "prod", "RESOURCE_NAMES": "group=rg-x", "AZURE_RESOURCE_GROUP": "rg-y"}, "rg-y"),
]


@pytest.mark.parametrize(("environment", "group"), GROUPS)
def test_the_group_is_that_of_the_deployment(environment: dict[str, str], group: str) -> None:
    """An output goes before a name that was given, and that before the name that is made of the environment's."""
    assert group_of(environment) == group


def test_a_name_that_is_not_given_is_empty() -> None:
    """The part of a list that is no pair names nothing."""
    assert resource_name({"RESOURCE_NAMES": "app,storage=st"}, "app") == ""
    assert resource_name({}, "app") == ""
