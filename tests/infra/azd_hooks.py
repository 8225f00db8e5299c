"""Runs a deployment hook as azd does."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from local.stack.process import ROOT
from tests.infra.vaults import APP, VAULT, Vault, signed_in

FOLDER = Path(".azure") / "test"
FILE = FOLDER / "first-caller.json"


def command_of(
    module: str, folder: Path, vault: Vault, python: str, given: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Return the command of a hook and its environment: azd's outputs, and what is given in their place."""
    bin_folder = folder / "bin"
    environment = {
        "PATH": f"{bin_folder if bin_folder.exists() else signed_in(bin_folder)}{os.pathsep}/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "AZURE_ENV_NAME": "test",
        "AZURE_SUBSCRIPTION_ID": "s",
        "AZURE_KEY_VAULT_NAME": "kv",
        "AZURE_KEY_VAULT_RESOURCE_ID": VAULT,
        "AZURE_KEY_VAULT_ENDPOINT": f"{vault.url}/",
        "AZURE_MANAGEMENT_ENDPOINT": vault.url,
        "APP_RESOURCE_ID": APP,
        "APP_URL": vault.url,
        "ROLE_WAIT_S": "10",
        "READY_WAIT_S": "10",
        "READY_PAUSE_S": "0.01",
        "PACKAGE_BYTECODE": "false",
        **given,
    }
    return [python, "-S", "-m", f"infra.hooks.{module}"], environment  # -S: the standard library and nothing else


def run(
    module: str, folder: Path, vault: Vault, *, python: str = sys.executable, **given: str
) -> subprocess.CompletedProcess[str]:
    """Run a hook as azd does, outside our virtual environment, with nobody at the terminal."""
    command, environment = command_of(module, folder, vault, python, given)
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
