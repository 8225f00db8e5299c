"""The first secrets reach a vault that is closed, or that knows no roles yet. What cannot end well ends at once."""

from pathlib import Path

import pytest

from tests.infra.azd_hooks import run
from tests.infra.vaults import AT_MANAGER, AT_VAULT, Vault

DENIED = "AuthorizationFailed"  # of Resource Manager, to whom it gives no right
LONG_S = "600"  # longer than the test may take


def test_a_closed_vault_gets_its_callers_through_resource_manager(tmp_path: Path, vault: Vault) -> None:
    """The vault's firewall does not stop Resource Manager, so the vault itself is not even asked."""
    vault.codes, vault.is_stubborn = ["ForbiddenByConnection"], True
    assert run("first_caller", tmp_path, vault).returncode == 0
    assert "callers" in vault.secrets
    assert not [call for call in vault.calls if AT_VAULT in call and AT_MANAGER not in call]


def test_a_vault_of_a_landing_zone_is_found_where_it_is(tmp_path: Path, vault: Vault) -> None:
    """It is in another group than the app."""
    elsewhere = "/subscriptions/other/resourceGroups/rg-shared/providers/Microsoft.KeyVault/vaults/kv"
    assert run("first_caller", tmp_path, vault, AZURE_KEY_VAULT_RESOURCE_ID=elsewhere).returncode == 0
    assert [call for call in vault.calls if call.startswith("PUT")] == [f"PUT {elsewhere}/secrets/callers"]


def test_the_vault_is_asked_if_resource_manager_refuses(tmp_path: Path, vault: Vault) -> None:
    """A deployer with a role of the vault and no right to write at Resource Manager makes the caller, too."""
    vault.manager_code = DENIED
    done = run("first_caller", tmp_path, vault)
    assert "callers" in vault.secrets
    assert [call for call in vault.calls if call.startswith("PUT")] == [
        f"PUT {AT_MANAGER}callers",
        f"PUT {AT_VAULT}callers",
    ]
    assert vault.types == {"callers": "application/json"}
    # Resource Manager also refuses to refresh the app's references. The caller is made all the same.
    assert done.returncode == 0
    assert "az rest --method post" in done.stdout


def test_the_hook_waits_for_a_role_that_arrives_late(tmp_path: Path, vault: Vault) -> None:
    """A role takes minutes to become active. The hook repeats its request, and says once what it waits for."""
    vault.manager_code, vault.codes = DENIED, ["ForbiddenByRbac"] * 5
    done = run("first_caller", tmp_path, vault)
    assert "callers" in vault.secrets
    assert done.stdout.count("Waiting up to 10 s for the role Key Vault Secrets Officer.") == 1


def test_the_hook_fails_if_the_role_never_arrives(tmp_path: Path, vault: Vault) -> None:
    """The hook fails after a limited time. It names the rights of which one is missing, and the document to read."""
    vault.manager_code, vault.codes, vault.is_stubborn = DENIED, ["ForbiddenByRbac"], True
    done = run("first_caller", tmp_path, vault, ROLE_WAIT_S="0.3")
    assert done.returncode == 1
    assert "answered 403 ForbiddenByRbac" in done.stderr
    assert "Microsoft.KeyVault/vaults/secrets/write" in done.stderr
    assert "Key Vault Secrets Officer" in done.stderr
    assert "docs/deploy.md" in done.stderr
    assert "run `azd hooks run postprovision`" in done.stderr


@pytest.mark.parametrize("code", ["ForbiddenByFirewall", "ForbiddenByConnection"])
def test_a_firewall_is_not_waited_for(code: str, tmp_path: Path, vault: Vault) -> None:
    """A firewall never opens by itself. The hook fails at once, and gives the command that lets the deployer in."""
    vault.manager_code, vault.codes, vault.is_stubborn = DENIED, [code], True
    done = run("first_caller", tmp_path, vault, ROLE_WAIT_S=LONG_S)
    assert done.returncode == 1
    assert code in done.stderr
    assert "azd env set OPERATOR_IP_RANGES" in done.stderr


@pytest.mark.parametrize("code", ["ForbiddenByPolicy", "SomethingNew"])
def test_another_refusal_is_not_waited_for(code: str, tmp_path: Path, vault: Vault) -> None:
    """Only a missing role comes by itself. Any other reason is shown as the vault gives it."""
    vault.manager_code, vault.codes, vault.is_stubborn = DENIED, [code], True
    done = run("first_caller", tmp_path, vault, ROLE_WAIT_S=LONG_S)
    assert done.returncode == 1
    assert f"answered 403 {code}" in done.stderr
