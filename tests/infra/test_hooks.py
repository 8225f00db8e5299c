"""The deployment hooks that azd runs: one creates the first caller once, and one waits until the app is ready."""

import hashlib
import json
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from shared.contract import callers
from tests.infra.azd_hooks import FILE, command_of, run
from tests.infra.vaults import APP, AT_MANAGER, TOKEN, Vault


def test_the_first_caller_is_made(tmp_path: Path, vault: Vault) -> None:
    """The vault receives a setting that the code can read, with the key as a hash.

    The hook then makes the app refresh its references to the vault.
    """
    done = run("first_caller", tmp_path, vault)
    assert (done.returncode, done.stderr) == (0, "")
    kept = json.loads((tmp_path / FILE).read_text())
    caller = callers.parse_callers(vault.secrets["callers"]).named("first")
    assert caller
    assert [secret.text for secret in caller.secrets] == [kept["signing_secret"]]
    assert hashlib.sha256(kept["api_key"].encode()).hexdigest() in vault.secrets["callers"]
    assert vault.calls == [
        f"GET {AT_MANAGER}callers",
        f"PUT {AT_MANAGER}callers",
        f"POST {APP}/config/configreferences/appsettings/refresh",
    ]


def test_queued_requests_get_a_caller_of_their_own(tmp_path: Path, vault: Vault) -> None:
    """Where the deployment names one, the app has it from the start, without a key, beside the first caller."""
    done = run("first_caller", tmp_path, vault, REQUESTS_CALLER_NAME="batch")
    assert (done.returncode, done.stderr) == (0, "")
    made = callers.parse_callers(vault.secrets["callers"])
    assert made.names() == ["first", "batch"]
    assert [len(made.named(name).keys) for name in made.names()] == [1, 0]  # type: ignore[union-attr]
    assert "Caller 'batch' is made, for queued requests. It has no key." in done.stdout


@pytest.mark.parametrize("name", ["", "first"])
def test_queued_requests_may_be_those_of_the_first_caller(name: str, tmp_path: Path, vault: Vault) -> None:
    """Then there is one caller."""
    assert run("first_caller", tmp_path, vault, REQUESTS_CALLER_NAME=name).returncode == 0
    assert callers.parse_callers(vault.secrets["callers"]).names() == ["first"]


def test_the_key_is_in_its_file_and_nowhere_else(tmp_path: Path, vault: Vault) -> None:
    """The key is not printed, because the output may be a pipeline's log, and it is not in the vault.

    Only the owner can read the file.
    """
    done = run("first_caller", tmp_path, vault)
    kept = json.loads((tmp_path / FILE).read_text())
    shown = done.stdout + done.stderr
    assert not [secret for secret in (*kept.values(), TOKEN) if secret in shown]
    assert kept["api_key"] not in vault.secrets["callers"]
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert str(FILE) in done.stdout


def test_a_vault_with_callers_is_left_alone(tmp_path: Path, vault: Vault) -> None:
    """The hook changes nothing if the vault has callers. Every `azd up` runs it, and only the first makes a caller."""
    vault.secrets["callers"] = "[]"
    done = run("first_caller", tmp_path, vault)
    assert (done.returncode, vault.secrets) == (0, {"callers": "[]"})
    assert not (tmp_path / FILE).exists()
    assert len(vault.calls) == 1


def test_a_retry_uses_the_key_that_is_in_the_file(tmp_path: Path, vault: Vault) -> None:
    """If the file exists, its key is written to the vault. A key that was copied after a failed run stays valid."""
    (tmp_path / FILE.parent).mkdir(parents=True)
    (tmp_path / FILE).write_text(json.dumps({"api_key": "br_kept", "signing_secret": f"whsec_{'A' * 44}"}))
    assert run("first_caller", tmp_path, vault).returncode == 0
    assert hashlib.sha256(b"br_kept").hexdigest() in vault.secrets["callers"]


@pytest.mark.parametrize("content", ["", '{"api_key": "br_ha', "[]", "null", '{"api_key": "br_kept"}', "\xff"])
def test_a_file_without_credentials_is_named(content: str, tmp_path: Path, vault: Vault) -> None:
    """The hook ends with the file and what to do. It neither writes to the vault nor changes the file."""
    (tmp_path / FILE.parent).mkdir(parents=True)
    (tmp_path / FILE).write_bytes(content.encode("latin-1"))
    done = run("first_caller", tmp_path, vault)
    assert done.returncode == 1
    assert f"{FILE} holds no credentials: delete it, and run this again" in done.stderr
    assert "Traceback" not in done.stderr
    assert (vault.secrets, (tmp_path / FILE).read_bytes()) == ({}, content.encode("latin-1"))


# Python tells an audit hook of a rename before it is done. The process kills itself there.
KILLED = """
import os, runpy, signal, sys
sys.addaudithook(lambda event, _: os.kill(os.getpid(), signal.SIGKILL) if event == "os.rename" else None)
runpy.run_module("infra.hooks.first_caller", run_name="__main__")
"""


def test_a_hook_that_is_killed_leaves_no_half_of_the_file(tmp_path: Path, vault: Vault) -> None:
    """Killed after it has written the credentials, it has not shown them under their name. The next run makes them."""
    (python, *_), environment = command_of("first_caller", tmp_path, vault, sys.executable, {})
    done = subprocess.run([python, "-S", "-c", KILLED], cwd=tmp_path, env=environment, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / FILE).exists()
    assert vault.secrets == {}
    assert run("first_caller", tmp_path, vault).returncode == 0
    assert [one.name for one in (tmp_path / FILE.parent).iterdir()] == [FILE.name]
    kept = json.loads((tmp_path / FILE).read_text())
    assert hashlib.sha256(kept["api_key"].encode()).hexdigest() in vault.secrets["callers"]
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_nothing_is_made_without_signing_in(tmp_path: Path, vault: Vault) -> None:
    """If azd is not signed in, the hook fails, names the command that signs in, and makes no request."""
    done = run("first_caller", tmp_path, vault, PATH="/nowhere")
    assert done.returncode == 1
    assert "azd auth login" in done.stderr
    assert not vault.calls


def test_the_readiness_hook_waits_for_the_app(tmp_path: Path, vault: Vault) -> None:
    """The hook polls the app until it is ready, and prints the base URL of its clients."""
    vault.ready = [503, 503, 200]
    done = run("readiness", tmp_path, vault)
    assert done.returncode == 0
    assert f"{vault.url}/openai/v1" in done.stdout


def test_the_readiness_hook_fails_if_the_app_never_is_ready(tmp_path: Path, vault: Vault) -> None:
    """The hook fails after a limited time, and prints the app's error message."""
    vault.ready = [503]
    done = run("readiness", tmp_path, vault, READY_WAIT_S="0.1")
    assert done.returncode == 1
    assert done.stderr == "Deployed, and not ready: 503, Storage is not available.\n"
    assert vault.looks > 1
