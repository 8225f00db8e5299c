"""A setting that the app refuses ends a deployment within seconds, with the command that mends it."""

import math
from pathlib import Path

import pytest

from infra.hooks.health import UNRESOLVED_S, Health, health, mending, patience_s, variables
from shared.core.errors import SettingsError
from shared.settings import load_settings
from tests.infra.azd_hooks import run
from tests.infra.parameters import LEAST
from tests.infra.vaults import APP, Vault

REFERENCE = "@Microsoft.KeyVault(SecretUri=https://kv.example/secrets/x)"
REFRESH = "https://manager.example/refresh"
WITH_A_KEY = '[{"name": "vllm", "base_url": "https://v.example/v1", "key_setting": "VLLM_KEY"}]'
AGAIN = "azd hooks run postdeploy --environment test"
# What the app is given, and the commands and words of which its message makes the hook print all.
WRONG: list[tuple[dict[str, str], list[str]]] = [
    (
        {"PRICES": "gpt-5"},
        ["  azd env set PRICES VALUE --environment test\n  azd provision --environment test\n", f"  {AGAIN}"],
    ),
    ({"REQUESTS_CALLER": "batch"}, ["azd env set REQUESTS_CALLER VALUE"]),
    ({"AGENTS_MODULE": "a b"}, ["azd env set AGENTS_MODULE VALUE"]),
    ({"UPSTREAM_BASE_URL": "https://a.example/v1?x=1"}, ["azd env set UPSTREAM_BASE_URL VALUE"]),
    ({"UPSTREAMS": "gone.json"}, ["Correct gone.json beside host.json", "  azd deploy --environment test"]),
    ({"CALLERS": "[]"}, ["Write the vault's callers anew", "docs/operations.md", AGAIN]),
    ({"UPSTREAM_API_KEY": "ü"}, ["Write the vault's upstream-api-key anew"]),
    ({"UPSTREAM_KEYS": "x"}, ["Write the vault's upstream-keys anew"]),
    ({"UPSTREAM_WEBHOOK_SECRET": "x"}, ["Write the vault's upstream-webhook-secret anew"]),
    ({"UPSTREAMS": WITH_A_KEY}, ["the vault's upstream-keys with 'VLLM_KEY', with UPSTREAM_KEYS_IN_VAULT=true,"]),
    (
        {"UPSTREAMS": WITH_A_KEY, "UPSTREAM_KEYS": '{"VLLM_KEY": "ü"}', "UPSTREAM_KEYS_IN_VAULT": "true"},
        ["Write 'VLLM_KEY' in the vault's upstream-keys anew"],
    ),
    ({"AzureWebJobsStorage__accountName": ""}, ["A deployment sets it:", "  azd provision --environment test"]),
]
UNRESOLVED = [
    ("CALLERS", ""),
    ("UPSTREAM_API_KEY", "  azd env set UPSTREAM_API_KEY_IN_VAULT true --environment test\n"),
    ("UPSTREAM_WEBHOOK_SECRET", "  azd env set UPSTREAM_WEBHOOKS true --environment test\n"),
    ("UPSTREAM_KEYS", "  azd env set UPSTREAM_KEYS_IN_VAULT true --environment test\n"),
]


def said(settings: dict[str, str]) -> Health:
    """Return what /health/ready says of settings that the app refuses."""
    with pytest.raises(SettingsError) as refused:
        load_settings({**LEAST, **settings})
    return Health(503, "settings", str(refused.value))


def mended(seen: Health, **environment: str) -> str:
    """Return what the hook prints."""
    return mending(seen, {"AZURE_ENV_NAME": "test", **environment}, variables(), REFRESH)


@pytest.mark.parametrize(("settings", "printed"), WRONG, ids=lambda one: next(iter(one)))
def test_a_wrong_setting_comes_with_what_mends_it(settings: dict[str, str], printed: list[str]) -> None:
    """The app's own message says which it is: a value of azd, a file, a secret of the vault. It never ends alone."""
    seen = said(settings)
    found = mended(seen, **settings)
    assert [text for text in printed if text not in found] == []
    assert patience_s(seen) == 0


@pytest.mark.parametrize(("name", "switch"), UNRESOLVED)
def test_a_reference_that_is_not_resolved_may_still_be(name: str, switch: str) -> None:
    """It is given a minute, because the platform may still read it. Then the commands write it and let the app read."""
    seen = said({name: REFERENCE})
    assert patience_s(seen) == UNRESOLVED_S == 60
    hook = "  azd hooks run postprovision --environment test\n"
    assert f'\n{switch}{hook}  az rest --method post --url "{REFRESH}"\n  {AGAIN}' in mended(seen)


def test_a_pipeline_is_told_what_to_change_there() -> None:
    """A value of azd on its runner is gone afterwards."""
    found = mended(said({"PRICES": "gpt-5"}), CI="true")
    assert found == "Set the repository's variable PRICES to another value, and run the pipeline again."


@pytest.mark.parametrize("code", ["storage", ""])
def test_anything_else_may_end_at_any_time(code: str) -> None:
    """An app that starts has no storage yet, or does not answer. No setting is to be changed."""
    seen = Health(503, code, "Storage is not available.")
    assert (patience_s(seen), mended(seen)) == (math.inf, "")


@pytest.mark.parametrize("found", [{}, {"error": None}, {"error": "no"}, {"error": {"message": None}}])
def test_an_answer_without_an_error_is_none_of_the_app(found: dict[str, object]) -> None:
    """It is waited for. The message says what it may be."""
    seen = health(503, found)
    assert (seen.code, patience_s(seen)) == ("", math.inf)
    assert seen.message.startswith("no answer of the app")


def test_the_hook_ends_at_once_for_a_wrong_setting(tmp_path: Path, vault: Vault) -> None:
    """It looks once, prints the message of the app and the commands, and fails."""
    vault.ready, vault.health = [503], body("PRICES must be a JSON object")
    done = run("readiness", tmp_path, vault, READY_WAIT_S="60")
    assert (done.returncode, vault.looks) == (1, 1)
    assert done.stderr.startswith("Deployed, and not ready: 503, PRICES must be a JSON object.\nSet another value:\n")
    assert "  azd env set PRICES VALUE --environment test\n  azd provision --environment test\n" in done.stderr


def test_the_hook_waits_for_a_reference(tmp_path: Path, vault: Vault) -> None:
    """The vault has the secret by now, and the platform gives it to the app a little later."""
    vault.ready, vault.health = [503, 503, 503, 200], body("CALLERS is a Key Vault reference that was not resolved")
    done = run("readiness", tmp_path, vault)
    assert (done.returncode, vault.looks) == (0, 4)


def test_the_hook_says_how_a_reference_is_mended(tmp_path: Path, vault: Vault) -> None:
    """The time to wait for the app bounds this wait, too."""
    vault.ready, vault.health = [503], body("CALLERS is a Key Vault reference that was not resolved")
    done = run("readiness", tmp_path, vault, READY_WAIT_S="0.2")
    assert (done.returncode, vault.looks > 1) == (1, True)
    assert f'--url "{vault.url}{APP}/config/configreferences/appsettings/refresh' in done.stderr


def body(message: str) -> dict[str, dict[str, str]]:
    """Return the body of /health/ready about a setting."""
    return {"error": {"message": message, "code": "settings"}}
