"""The deployment hooks that azd runs: one creates the first caller once, and one waits until the app is ready."""

import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.stack.process import ROOT
from shared.contract import callers
from tests.infra.vaults import TOKEN, Vault, running_vault, signed_in

APP = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Web/sites/func"
FILE = Path(".azure") / "test" / "first-caller.json"


@pytest.fixture
def vault() -> Iterator[Vault]:
    """Yield a running vault without secrets."""
    with running_vault() as vault:
        yield vault


def run(
    module: str, folder: Path, vault: Vault, path: str | None = None, wait_s: str = "10"
) -> subprocess.CompletedProcess[str]:
    """Run a hook as azd does: with azd's outputs as environment variables, and outside our virtual environment."""
    environment = {
        "PATH": path if path is not None else f"{signed_in(folder / 'bin')}{os.pathsep}/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "AZURE_ENV_NAME": "test",
        "AZURE_KEY_VAULT_ENDPOINT": f"{vault.url}/",
        "AZURE_MANAGEMENT_ENDPOINT": vault.url,
        "APP_RESOURCE_ID": APP,
        "APP_URL": vault.url,
        "ROLE_WAIT_S": wait_s,
        "READY_WAIT_S": wait_s,
        "READY_PAUSE_S": "0.01",
    }
    command = [sys.executable, "-S", "-m", f"infra.hooks.{module}"]  # -S: the standard library and nothing else
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_the_first_caller_is_made(tmp_path: Path, vault: Vault) -> None:
    """The vault receives a setting that the code can read, with the key as a hash.

    The hook then makes the app refresh its references to the vault.
    """
    done = run("first_caller", tmp_path, vault)
    assert (done.returncode, done.stderr) == (0, "")
    kept = json.loads((tmp_path / FILE).read_text())
    assert vault.secret
    caller = callers.parse_callers(vault.secret).named("first")
    assert caller
    assert [secret.text for secret in caller.secrets] == [kept["signing_secret"]]
    assert hashlib.sha256(kept["api_key"].encode()).hexdigest() in vault.secret
    assert [call.partition("?")[0] for call in vault.calls] == [
        "GET /secrets/callers",
        "PUT /secrets/callers",
        f"POST {APP}/config/configreferences/appsettings/refresh",
    ]


def test_the_key_is_in_its_file_and_nowhere_else(tmp_path: Path, vault: Vault) -> None:
    """The key is not printed, because the output may be a pipeline's log, and it is not in the vault.

    Only the owner can read the file.
    """
    done = run("first_caller", tmp_path, vault)
    kept = json.loads((tmp_path / FILE).read_text())
    shown = done.stdout + done.stderr
    assert not [secret for secret in (*kept.values(), TOKEN) if secret in shown]
    assert vault.secret
    assert kept["api_key"] not in vault.secret
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert str(FILE) in done.stdout


def test_a_vault_with_callers_is_left_alone(tmp_path: Path, vault: Vault) -> None:
    """The hook changes nothing if the vault has callers. Every `azd up` runs it, and only the first makes a caller."""
    vault.secret = "[]"
    done = run("first_caller", tmp_path, vault)
    assert (done.returncode, vault.secret) == (0, "[]")
    assert not (tmp_path / FILE).exists()
    assert len(vault.calls) == 1


def test_the_hook_waits_for_roles_that_arrive_late(tmp_path: Path, vault: Vault) -> None:
    """The hook repeats its request while the vault refuses. Role assignments take minutes to become active in Azure."""
    vault.refusals = 5
    assert run("first_caller", tmp_path, vault).returncode == 0
    assert vault.secret


def test_the_hook_fails_if_roles_never_arrive(tmp_path: Path, vault: Vault) -> None:
    """The hook fails after a limited time. It prints the status and the document to read."""
    vault.refusals = 1_000
    done = run("first_caller", tmp_path, vault, wait_s="0.3")
    assert done.returncode == 1
    assert "answered 403" in done.stderr
    assert "docs/operations.md" in done.stderr


def test_a_retry_uses_the_key_that_is_in_the_file(tmp_path: Path, vault: Vault) -> None:
    """If the file exists, its key is written to the vault. A key that was copied after a failed run stays valid."""
    (tmp_path / FILE.parent).mkdir(parents=True)
    (tmp_path / FILE).write_text(json.dumps({"api_key": "br_kept", "signing_secret": f"whsec_{'A' * 44}"}))
    assert run("first_caller", tmp_path, vault).returncode == 0
    assert vault.secret
    assert hashlib.sha256(b"br_kept").hexdigest() in vault.secret


def test_nothing_is_made_without_signing_in(tmp_path: Path, vault: Vault) -> None:
    """If azd is not signed in, the hook fails, names the command that signs in, and makes no request."""
    done = run("first_caller", tmp_path, vault, path="/nowhere")
    assert done.returncode == 1
    assert "azd auth login" in done.stderr
    assert not vault.calls


def test_the_readiness_hook_waits_for_the_app(tmp_path: Path, vault: Vault) -> None:
    """The hook polls the app until it is ready, and prints the base URL of its clients."""
    vault.ready = [503, 503, 200]
    done = run("readiness", tmp_path, vault)
    assert (done.returncode, done.stdout) == (0, f"Ready: {vault.url}/openai/v1\n")


def test_the_readiness_hook_fails_if_the_app_never_is_ready(tmp_path: Path, vault: Vault) -> None:
    """The hook fails after a limited time, and prints the app's error message."""
    vault.ready = [503]
    done = run("readiness", tmp_path, vault, wait_s="0.1")
    assert done.returncode == 1
    assert "CALLERS must be set" in done.stderr
