"""Before anything is made, a hook checks Python and registers what Azure asks for once in each subscription."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.hooks.prerequisites import ALWAYS, WITH_A_MODEL, WITH_A_NETWORK, providers
from local.environments.python_packages import newest
from local.stack.process import ROOT
from tests.infra.azd_hooks import run
from tests.infra.vaults import Vault

PROVIDERS = "/subscriptions/s/providers"


def test_providers_that_are_not_registered_are_registered(tmp_path: Path, vault: Vault) -> None:
    """Azure takes a minute for it. The hook waits, and says for what. Those that are there are only looked at."""
    vault.providers = {"Microsoft.Web": ["NotRegistered", "Registering", "Registered"]}
    done = run("prerequisites", tmp_path, vault, REGISTRATION_WAIT_S="10", UPSTREAM_BASE_URL="https://a.example/v1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Waiting up to 10 s for the resource provider Microsoft.Web." in done.stdout
    posted = [call for call in vault.calls if call.startswith("POST")]
    assert posted == [f"POST {PROVIDERS}/Microsoft.Web/register"]
    assert {call.rpartition("/")[2] for call in vault.calls if call.startswith("GET")} == {
        f"Microsoft.{name}" for name in ALWAYS
    }


def test_a_registration_that_does_not_end_is_not_waited_for_without_end(tmp_path: Path, vault: Vault) -> None:
    """The text names the provider, and what to do."""
    vault.providers = {"Microsoft.Storage": ["NotRegistered", "Registering"]}
    done = run("prerequisites", tmp_path, vault, REGISTRATION_WAIT_S="0.2")
    assert done.returncode == 1
    assert "Microsoft.Storage is not registered yet: run `azd up` again" in done.stderr


def test_who_may_not_register_learns_who_may(tmp_path: Path, vault: Vault) -> None:
    """The hook ends before anything is made, with the command for an owner of the subscription."""
    vault.providers = {"Microsoft.KeyVault": ["NotRegistered"]}
    vault.refused_posts = "AuthorizationFailed"
    done = run("prerequisites", tmp_path, vault)
    assert done.returncode == 1
    assert "AuthorizationFailed" in done.stderr
    assert "az provider register --namespace Microsoft.KeyVault" in done.stderr


def test_the_python_of_the_package_is_checked_before_anything_is_made(tmp_path: Path, vault: Vault) -> None:
    """Azd packs only after the resources are made. Without that Python, the hook ends at once, with what mends it."""
    done = run("prerequisites", tmp_path, vault, PACKAGE_BYTECODE="", PACKAGE_PYTHON="/nowhere/python")
    assert (done.returncode, vault.calls) == (1, [])
    assert "/nowhere/python" in done.stderr


ACCOUNT = f"/subscriptions/{'0' * 36}/resourceGroups/shared/providers/Microsoft.CognitiveServices/accounts/res"
WRONG = [
    {"UPSTREAM_RESOURCE_ID": "res", "UPSTREAM_BASE_URL": "https://a.example/v1"},
    {"UPSTREAM_RESOURCE_ID": f"{ACCOUNT}/deployments/x", "UPSTREAM_BASE_URL": "https://a.example/v1"},
    {"UPSTREAM_RESOURCE_ID": ACCOUNT.replace("CognitiveServices", "Storage"), "UPSTREAM_BASE_URL": "https://a.example"},
    {"UPSTREAM_RESOURCE_ID": ACCOUNT},
]


@pytest.mark.parametrize("given", WRONG)
def test_an_upstream_that_cannot_be_meant_is_refused(given: dict[str, str], tmp_path: Path, vault: Vault) -> None:
    """The template would end with an index that is out of bounds, or give a role at an account that nobody calls."""
    done = run("prerequisites", tmp_path, vault, **given)
    assert (done.returncode, vault.calls) == (1, [])
    assert "UPSTREAM_RESOURCE_ID" in done.stderr


def test_an_upstream_elsewhere_is_taken(tmp_path: Path, vault: Vault) -> None:
    """It is named as Azure prints it."""
    given = {"UPSTREAM_RESOURCE_ID": ACCOUNT, "UPSTREAM_BASE_URL": "https://a.example/v1"}
    assert run("prerequisites", tmp_path, vault, **given).returncode == 0


def test_without_a_subscription_nothing_is_asked(tmp_path: Path, vault: Vault) -> None:
    """A first `azd provision` chooses it later. The hook says so, and the command for later."""
    done = run("prerequisites", tmp_path, vault, AZURE_SUBSCRIPTION_ID="")
    assert (done.returncode, vault.calls) == (0, [])
    assert "azd hooks run preprovision" in done.stdout


OUTPUTS = {"MODEL_DEPLOYMENT": "", "NETWORK_IS_PRIVATE": "True"}
KEPT = {"UPSTREAM_BASE_URL": "", "VNET_ENABLED": "false"}


@pytest.mark.parametrize("lost", KEPT)
def test_an_environment_that_has_only_outputs_deploys_nothing(lost: str, tmp_path: Path, vault: Vault) -> None:
    """`azd env refresh` makes one for the first caller. The defaults would open storage, or deploy a model."""
    kept = {name: value for name, value in KEPT.items() if name != lost}
    done = run("prerequisites", tmp_path, vault, **OUTPUTS, **kept)
    assert (done.returncode, vault.calls) == (1, [])
    assert f"({lost})" in done.stderr
    assert "`azd hooks run postprovision`" in done.stderr


@pytest.mark.parametrize("given", [{**OUTPUTS, **KEPT}, {**OUTPUTS, "UPSTREAMS": "", "VNET_ENABLED": "true"}, {}])
def test_a_value_that_was_set_is_meant(given: dict[str, str], tmp_path: Path, vault: Vault) -> None:
    """Also one that was taken back. An environment without outputs is that of a first deployment."""
    done = run("prerequisites", tmp_path, vault, **given)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_providers_are_those_of_the_bicep_files() -> None:
    """Those of a model and of a network are needed only with one. Role assignments and deployments need none."""
    texts = [path.read_text() for path in (ROOT / "infra").rglob("*.bicep")]
    used = {one for text in texts for one in re.findall(r"'Microsoft\.(\w+)/[\w/]+@", text)}
    used |= {one for text in texts for one in re.findall(r"serviceName: 'Microsoft\.(\w+)/", text)}
    built_in = {"Authorization", "Resources"}
    assert used - built_in == {*ALWAYS, *WITH_A_MODEL, *WITH_A_NETWORK}
    everything = providers({"VNET_ENABLED": "true"})
    assert everything == [f"Microsoft.{name}" for name in (*ALWAYS, *WITH_A_MODEL, *WITH_A_NETWORK)]
    assert providers({"UPSTREAMS": "upstreams.json"}) == [f"Microsoft.{name}" for name in ALWAYS]


def python_of(version: str) -> str:
    """Return an interpreter of a version, or skip the test."""
    found = newest(version)
    if found is None:
        pytest.skip(f"there is no Python {version} here")
    return found


@pytest.mark.parametrize("version", ["3.6", "3.8"])
def test_an_older_python_gets_one_line(version: str) -> None:
    """It names the version that is needed, the one that is there, and where that is."""
    python = python_of(version)
    command = [python, "-m", "infra.hooks.prerequisites"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert re.fullmatch(rf"azd's hooks need Python 3\.9 or newer, and this is {version} \(.+\)\. .+\n", done.stderr)


def test_the_hooks_run_on_python_3_9(tmp_path: Path, vault: Vault) -> None:
    """The hooks use nothing that Python 3.9 does not have: there, every module can be imported, and one is run."""
    python = python_of("3.9")
    modules = sorted(path.stem for path in (ROOT / "infra" / "hooks").glob("*.py") if path.stem != "__init__")
    program = "; ".join(f"import infra.hooks.{name}" for name in modules)
    subprocess.run([python, "-c", program], cwd=ROOT, check=True, capture_output=True, timeout=60)
    assert run("first_caller", tmp_path, vault, python=python).returncode == 0
    assert "callers" in vault.secrets


def test_the_hooks_need_no_environment() -> None:
    """They import the standard library and nothing else, because azd runs them with whatever Python is there."""
    program = (
        "import pkgutil, sys, importlib, infra.hooks as hooks\n"
        "for one in pkgutil.iter_modules(hooks.__path__): importlib.import_module(f'infra.hooks.{one.name}')\n"
        "tops = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(sorted(tops - {'infra', '__main__'}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
