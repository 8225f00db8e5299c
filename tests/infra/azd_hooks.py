"""Runs a deployment hook as azd does."""

import os
import subprocess
import sys
from pathlib import Path

from tests.infra.trees import ROOT
from tests.infra.vaults import APP, Vault, signed_in

FOLDER = Path(".azure") / "test"
FILE = FOLDER / "first-caller.json"


def run(
    module: str, folder: Path, vault: Vault, *, python: str = sys.executable, **given: str
) -> subprocess.CompletedProcess[str]:
    """Run a hook with azd's outputs as environment variables, and outside our virtual environment.

    What is given replaces these variables.
    """
    bin_folder = folder / "bin"
    environment = {
        "PATH": f"{bin_folder if bin_folder.exists() else signed_in(bin_folder)}{os.pathsep}/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "AZURE_ENV_NAME": "test",
        "AZURE_SUBSCRIPTION_ID": "s",
        "AZURE_KEY_VAULT_NAME": "kv",
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
    command = [python, "-S", "-m", f"infra.hooks.{module}"]  # -S: the standard library and nothing else
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)
