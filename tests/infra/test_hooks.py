"""What azd runs beside a deployment: the first caller is made once, and its key is seen nowhere but in its file."""

import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.contract import callers
from tests.infra.trees import ROOT
from tests.infra.vaults import TOKEN, Vault, running_vault, signed_in

APP = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Web/sites/func"
FILE = Path(".azure") / "test" / "first-caller.json"


@pytest.fixture
def vault() -> Iterator[Vault]:
    """Run a vault without secrets."""
    with running_vault() as vault:
        yield vault


def run(module: str, folder: Path, vault: Vault, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a hook as azd does, with its outputs as variables, outside of any environment of ours."""
    environment = {
        "PATH": path if path is not None else f"{signed_in(folder / 'bin')}{os.pathsep}/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "AZURE_ENV_NAME": "test",
        "AZURE_KEY_VAULT_ENDPOINT": f"{vault.url}/",
        "AZURE_MANAGEMENT_ENDPOINT": vault.url,
        "APP_RESOURCE_ID": APP,
        "APP_URL": vault.url,
        "ROLE_WAIT_S": "2",
        "READY_WAIT_S": "0.05",
    }
    command = [sys.executable, "-S", "-m", f"infra.hooks.{module}"]  # -S: the standard library and nothing else
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_the_first_caller_is_made(tmp_path: Path, vault: Vault) -> None:
    """The vault gets a setting that the code reads, with the key as a hash; the app is told to look again."""
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
    """Not in what is printed, which may be a pipeline's log, not in the vault, and only its owner can read the file."""
    done = run("first_caller", tmp_path, vault)
    kept = json.loads((tmp_path / FILE).read_text())
    shown = done.stdout + done.stderr
    assert not [secret for secret in (*kept.values(), TOKEN) if secret in shown]
    assert vault.secret
    assert kept["api_key"] not in vault.secret
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert str(FILE) in done.stdout


def test_a_vault_with_callers_is_left_alone(tmp_path: Path, vault: Vault) -> None:
    """Every `azd up` runs the hook; only the first makes a caller."""
    vault.secret = "[]"
    done = run("first_caller", tmp_path, vault)
    assert (done.returncode, vault.secret) == (0, "[]")
    assert not (tmp_path / FILE).exists()
    assert len(vault.calls) == 1


def test_roles_that_arrive_late_are_waited_for(tmp_path: Path, vault: Vault) -> None:
    """Azure hands them on within minutes: until then the vault refuses its own deployer."""
    vault.refusals = 5
    assert run("first_caller", tmp_path, vault).returncode == 0
    assert vault.secret


def test_roles_that_never_arrive_end_the_hook(tmp_path: Path, vault: Vault) -> None:
    """After a bounded time, with the status and where to read on."""
    vault.refusals = 1_000
    done = run("first_caller", tmp_path, vault)
    assert done.returncode == 1
    assert "answered 403" in done.stderr
    assert "docs/operations.md" in done.stderr


def test_a_try_that_failed_goes_on_with_the_same_key(tmp_path: Path, vault: Vault) -> None:
    """What lies in the file is what the vault gets, so whoever copied it has the right one."""
    (tmp_path / FILE.parent).mkdir(parents=True)
    (tmp_path / FILE).write_text(json.dumps({"api_key": "br_kept", "signing_secret": f"whsec_{'A' * 44}"}))
    assert run("first_caller", tmp_path, vault).returncode == 0
    assert vault.secret
    assert hashlib.sha256(b"br_kept").hexdigest() in vault.secret


def test_without_signing_in_nothing_is_made(tmp_path: Path, vault: Vault) -> None:
    """It says what to do."""
    done = run("first_caller", tmp_path, vault, path="/nowhere")
    assert done.returncode == 1
    assert "azd auth login" in done.stderr
    assert not vault.calls


@pytest.mark.parametrize(
    ("answers", "code", "text"), [([503, 200], 0, "Ready:"), ([503] * 9, 1, "CALLERS must be set")]
)
def test_a_deployment_is_over_when_the_app_is_ready(
    tmp_path: Path, vault: Vault, answers: list[int], code: int, text: str
) -> None:
    """Asked until it is, for a bounded time; what is wrong is told in the app's words."""
    vault.ready = answers
    done = run("readiness", tmp_path, vault)
    assert done.returncode == code
    assert text in done.stdout + done.stderr
