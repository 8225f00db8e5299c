"""An upstream's key reaches the vault before the app starts, from a prompt or from azd, and is shown nowhere."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from infra.hooks.upstream_secrets import SECRETS, Secret, SecretError, checked
from tests.infra.azd_hooks import command_of, run
from tests.infra.settings import SECRETS as IN_BICEP
from tests.infra.vaults import APP, AT_MANAGER, Vault

KEY = "sk-very-secret-0123456789"
HOOK = "azd hooks run postprovision --environment test"
WITH_KEY = {"UPSTREAM_API_KEY_IN_VAULT": "true"}
REFRESH = f"POST {APP}/config/configreferences/appsettings/refresh"


def test_a_person_is_asked_and_what_is_typed_is_not_shown(tmp_path: Path, vault: Vault) -> None:
    """The terminal shows the question and not the key. White space around it, which copying may leave, is cut off."""
    shown, code = at_a_terminal(tmp_path, vault, f" {KEY} \n")
    assert (code, vault.secrets["upstream-api-key"]) == (0, KEY)
    assert "The upstream's API key (not shown" in shown
    assert "The vault has upstream-api-key now." in shown
    assert KEY not in shown


def test_the_key_is_written_before_the_caller_and_the_app_reads_both(tmp_path: Path, vault: Vault) -> None:
    """A deployment that ends at the question has made no caller. The app is told once, after all is written."""
    at_a_terminal(tmp_path, vault, f"{KEY}\n")
    puts = [call for call in vault.calls if not call.startswith("GET")]
    assert puts == [f"PUT {AT_MANAGER}upstream-api-key", f"PUT {AT_MANAGER}callers", REFRESH]


@pytest.mark.parametrize("secret", SECRETS, ids=lambda one: one.name)
def test_azd_gives_the_secret_without_a_question(secret: Secret, tmp_path: Path, vault: Vault) -> None:
    """`azd env set-secret` stores it in a vault, and azd puts it into the hook's environment."""
    done = run("first_caller", tmp_path, vault, **{secret.switch: "true", secret.variable: KEY})
    assert (done.returncode, vault.secrets[secret.name]) == (0, KEY)
    assert KEY not in done.stdout + done.stderr


def test_a_secret_that_is_there_is_neither_asked_for_nor_changed(tmp_path: Path, vault: Vault) -> None:
    """Every `azd up` runs the hook. A rotated key stays as it is."""
    vault.secrets.update({"upstream-api-key": "rotated", "callers": "[]"})
    done = run("first_caller", tmp_path, vault, **WITH_KEY, UPSTREAM_API_KEY=KEY)
    assert (done.returncode, vault.secrets["upstream-api-key"]) == (0, "rotated")
    assert REFRESH not in vault.calls


@pytest.mark.parametrize("value", ["", "UPSTREAM_API_KEY"])
def test_where_nobody_can_be_asked_the_hook_says_how_to_give_it(value: str, tmp_path: Path, vault: Vault) -> None:
    """Azd gives the name of a variable as its value, if it is not set. That is no key."""
    done = run("first_caller", tmp_path, vault, **WITH_KEY, UPSTREAM_API_KEY=value)
    assert (done.returncode, vault.secrets) == (1, {})
    commands = ["azd env set-secret UPSTREAM_API_KEY --environment test", HOOK]
    assert [line.strip() for line in done.stderr.splitlines()[1:]] == commands


@pytest.mark.parametrize("secret", SECRETS, ids=lambda one: one.name)
def test_a_first_deployment_of_a_pipeline_writes_its_secret(secret: Secret, tmp_path: Path, vault: Vault) -> None:
    """The repository has the secret. The hook succeeds, and says how the first caller is made elsewhere."""
    done = run("first_caller", tmp_path, vault, CI="true", **{secret.switch: "true", secret.variable: KEY})
    assert (done.returncode, vault.secrets) == (0, {secret.name: KEY})
    assert HOOK in done.stdout
    assert KEY not in done.stdout


@pytest.mark.parametrize("secret", SECRETS, ids=lambda one: one.name)
def test_a_pipeline_without_the_secret_says_both_ways_to_give_it(secret: Secret, tmp_path: Path, vault: Vault) -> None:
    """One is a secret of the repository. The other is a machine where somebody is asked, whose environment is new.

    Azd refreshes outputs only, so there the hook is told what the vault is to hold.
    """
    done = run("first_caller", tmp_path, vault, CI="true", **{secret.switch: "true", secret.variable: ""})
    assert (done.returncode, vault.secrets) == (1, {})
    assert [line.strip() for line in done.stderr.splitlines() if line.startswith("  ")] == [
        f"gh secret set {secret.variable}",
        "azd env new test; azd env refresh --environment test",
        f"azd env set {secret.switch} true --environment test",
        HOOK,
    ]


def test_a_pipeline_asks_nobody(tmp_path: Path, vault: Vault) -> None:
    """Some pipelines have a terminal, and nobody sits there."""
    shown, code = at_a_terminal(tmp_path, vault, "", CI="true")
    assert code == 1
    assert "nobody can be asked here" in shown


@pytest.mark.parametrize(
    "value", ["akvs://sub/vault/name", "@Microsoft.KeyVault(SecretUri=x)", "a\tb", "ü", "x" * 25_001]
)
def test_what_cannot_be_a_secret_is_refused(value: str) -> None:
    """A reference that nobody has read is a text that anyone can guess. The error does not repeat what was given."""
    with pytest.raises(SecretError) as refused:
        checked(SECRETS[0], value)
    assert value not in str(refused.value)


def test_the_secrets_are_those_that_the_app_refers_to() -> None:
    """The hook writes each secret under the name that the setting has, but for the callers."""
    referred = {variable: name for variable, (name, _, _) in IN_BICEP.items()}
    assert {secret.variable: secret.name for secret in SECRETS} | {"CALLERS": "callers"} == referred


def at_a_terminal(folder: Path, vault: Vault, typed: str, **given: str) -> tuple[str, int]:
    """Run the hook at a terminal, type something when it asks, and return what is shown and the exit code."""
    ours, theirs = os.openpty()
    shown = bytearray()
    command, environment = command_of("first_caller", folder, vault, sys.executable, {**WITH_KEY, **given})
    # A session of its own has no other terminal to ask at.
    hook = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    reader = threading.Thread(target=read_terminal, args=(ours, shown, typed.encode()))
    reader.start()
    code = hook.wait(60)
    reader.join(60)
    os.close(ours)
    return shown.decode(), code


def read_terminal(terminal: int, shown: bytearray, typed: bytes) -> None:
    """Read a terminal until its program ends. Type once, after the question."""
    has_typed = False
    while True:
        try:
            read = os.read(terminal, 4096)
        except OSError:  # how Linux tells the end
            return
        if not read:
            return
        shown += read
        if b"(not shown" in shown and not has_typed:
            os.write(terminal, typed)
            has_typed = True
