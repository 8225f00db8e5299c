"""At the end of a deployment, whoever deploys knows the URL, where the key lies, and what to do next."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.infra.azd_hooks import FILE, FOLDER, run
from tests.infra.vaults import Vault, azd_calls

RUNNERS = [("CI", "true"), ("GITHUB_ACTIONS", "true"), ("TF_BUILD", "True")]


@pytest.fixture
def ready(tmp_path: Path, vault: Vault) -> Vault:
    """Return the vault of a deployment that is ready, and whose first caller is made."""
    assert run("first_caller", tmp_path, vault).returncode == 0
    vault.ready = [200]
    return vault


def test_the_summary_is_printed_and_in_a_file(tmp_path: Path, ready: Vault) -> None:
    """Both have the base URL, the file of the key, and a command. Neither has the key."""
    done = run("readiness", tmp_path, ready)
    summary = (tmp_path / FOLDER / "summary.md").read_text()
    assert summary in done.stdout
    assert f"Base URL of clients: {ready.url}/openai/v1" in summary
    assert f"API key and signing secret: {FILE.as_posix()}" in summary
    assert json.loads((tmp_path / FILE).read_text())["api_key"] not in summary


def test_later_steps_find_the_same_in_azds_environment(tmp_path: Path, ready: Vault) -> None:
    """`azd env get-values` shows the base URL, the file of the key and the command."""
    run("readiness", tmp_path, ready)
    names = ["CLIENT_BASE_URL", "CLIENT_KEY_FILE", "NEXT_COMMAND"]
    calls = azd_calls(tmp_path / "bin")
    assert [call.split()[2] for call in calls] == names
    assert all(call.startswith("env set ") and call.endswith(" --environment test") for call in calls)


def asked(folder: Path, printed: str) -> list[str]:
    """Run the command of a summary in a shell. Return what it gives to `curl`. `az` answers with its own arguments."""
    for name, program in (("curl", 'for one in "$@"; do echo "$one"; done'), ("az", 'echo "az $*"')):
        (folder / name).write_text(f"#!/bin/sh\n{program}\n")
        (folder / name).chmod(0o755)
    command = printed.partition("First command: ")[2].partition("\n")[0]
    environment = {"PATH": f"{folder}:/usr/bin:/bin"}
    shell = subprocess.run(
        ["/bin/sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return shell.stdout.splitlines()


def test_the_next_command_works(tmp_path: Path, ready: Vault) -> None:
    """A shell runs it as it is printed: it sends the key of the file, and asks for the model that was deployed."""
    given = asked(tmp_path, run("readiness", tmp_path, ready, MODEL_DEPLOYMENT="gpt-5-mini").stdout)
    assert f"{ready.url}/openai/v1/responses" in given
    assert f"api-key: {json.loads((tmp_path / FILE).read_text())['api_key']}" in given
    assert json.loads(given[-1])["model"] == "gpt-5-mini"
    assert not [one for one in given if one.startswith("Authorization")]


def test_the_next_command_brings_a_token_where_entra_is_in_front(tmp_path: Path, ready: Vault) -> None:
    """The token is that of whoever is signed in to `az`, for the app registration. The key goes with it."""
    given = asked(tmp_path, run("readiness", tmp_path, ready, ENTRA_CLIENT_ID="1f2e").stdout)
    token = "az account get-access-token --scope api://1f2e/.default --query accessToken --output tsv"
    assert f"Authorization: Bearer {token}" in given
    assert f"api-key: {json.loads((tmp_path / FILE).read_text())['api_key']}" in given


def test_without_the_key_the_summary_says_how_to_get_one(tmp_path: Path, vault: Vault) -> None:
    """The file is deleted when its key is kept elsewhere, and every later `azd deploy` runs the hook, too."""
    vault.ready = [200]
    done = run("readiness", tmp_path, vault)
    assert done.returncode == 0
    assert "API key: with whoever keeps the callers." in done.stdout


@pytest.mark.parametrize(("name", "value"), RUNNERS)
def test_a_pipeline_makes_no_caller_whose_key_is_lost(name: str, value: str, tmp_path: Path, vault: Vault) -> None:
    """The files of its runner are gone afterwards. The hook says so, and gives the command for another machine."""
    done = run("first_caller", tmp_path, vault, **{name: value})
    assert (done.returncode, vault.secrets) == (0, {})
    assert "azd hooks run postprovision --environment test" in done.stdout
    assert not (tmp_path / FILE).exists()


def test_a_pipeline_makes_a_caller_if_its_file_is_kept(tmp_path: Path, vault: Vault) -> None:
    """Whoever names the file says where it is kept."""
    done = run("first_caller", tmp_path, vault, CI="true", FIRST_CALLER_FILE="kept/caller.json")
    assert (done.returncode, list(vault.secrets)) == (0, ["callers"])
    assert (tmp_path / "kept" / "caller.json").exists()


def test_a_pipeline_does_not_wait_for_an_app_without_callers(tmp_path: Path, vault: Vault) -> None:
    """The app is not ready before it has one. The pipeline succeeds at once, and says what is left to do."""
    vault.ready = [503]
    done = run("readiness", tmp_path, vault, CI="true", READY_WAIT_S="600")
    assert (done.returncode, done.stderr) == (0, "")
    assert "azd hooks run postprovision --environment test" in done.stdout


def test_a_pipeline_waits_for_an_app_with_callers(tmp_path: Path, vault: Vault) -> None:
    """From the second deployment on, a pipeline fails if the app is not ready."""
    vault.ready, vault.secrets["callers"] = [503], "[]"
    assert run("readiness", tmp_path, vault, CI="true", READY_WAIT_S="0.1").returncode == 1
