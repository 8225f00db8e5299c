"""Makes the first caller's credentials, once, after `azd provision`: `python -m infra.hooks.first_caller`.

The vault gets what the app needs, with the API key only as a hash. The key itself goes into a file that only its owner
can read. It never goes into a log, an argument or the environment.
"""

import base64
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.hooks.azure import AzureError, call, patiently

NAME = "first"
VAULT = "https://vault.azure.net/.default"
MANAGEMENT = "https://management.azure.com"
ROLES_S = 300.0


@dataclass(frozen=True)
class Place:
    """Where things are: the vault, the app, and the file for the credentials.

    `roles_s` is how many seconds to wait for the roles of a new deployment.
    """

    vault_url: str
    app_id: str
    management_url: str
    file: Path
    roles_s: float

    @property
    def secret_url(self) -> str:
        """The URL of the secret that the setting CALLERS refers to."""
        return f"{self.vault_url.rstrip('/')}/secrets/callers?api-version=7.4"

    @property
    def refresh_url(self) -> str:
        """The URL that makes the app read its Key Vault references again."""
        action = "config/configreferences/appsettings/refresh?api-version=2024-11-01"
        return f"{self.management_url}{self.app_id}/{action}"


def place(environment: Mapping[str, str]) -> Place:
    """Return where things are, from the environment that azd gives a hook. Raise KeyError if a variable is missing."""
    folder = Path(".azure") / environment["AZURE_ENV_NAME"]
    return Place(
        vault_url=environment["AZURE_KEY_VAULT_ENDPOINT"],
        app_id=environment["APP_RESOURCE_ID"],
        management_url=environment.get("AZURE_MANAGEMENT_ENDPOINT", MANAGEMENT),
        file=Path(environment.get("FIRST_CALLER_FILE") or folder / "first-caller.json"),
        roles_s=float(environment.get("ROLE_WAIT_S", ROLES_S)),
    )


def make(where: Place) -> str:
    """Make the credentials unless the vault has callers, and return a message for the person who deploys.

    Raises AzureError.
    """
    if _has_callers(where):
        return "The vault has callers; nothing is changed."
    given = _kept(where.file)
    element = {
        "name": NAME,
        "keys": [hashlib.sha256(given["api_key"].encode()).hexdigest()],
        "signing_secrets": [given["signing_secret"]],
    }
    content = {"value": json.dumps([element]), "contentType": "application/json"}
    patiently("PUT", where.secret_url, VAULT, body=content, wait_s=where.roles_s)
    call("POST", where.refresh_url, f"{MANAGEMENT}/.default")
    return (
        f"Caller '{NAME}' is made. Its API key and signing secret are in {where.file}: keep them, then delete the file."
    )


def _has_callers(where: Place) -> bool:
    try:
        patiently("GET", where.secret_url, VAULT, wait_s=where.roles_s)
    except AzureError as error:
        if error.status == 404:
            return False
        raise
    return True


def _kept(file: Path) -> dict[str, str]:
    """Return the credentials in the file. Make the file if it does not exist, so that a failed try can be repeated."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        signing = base64.b64encode(secrets.token_bytes(32)).decode()
        fresh = {"api_key": f"br_{secrets.token_urlsafe(32)}", "signing_secret": f"whsec_{signing}"}
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            json.dump(fresh, opened)
    kept: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return kept


def main() -> int:
    """Make the credentials and print the result. Return the exit code."""
    try:
        print(make(place(os.environ)))
    except AzureError as error:
        print(f"The first caller is not made: {error}.", file=sys.stderr)
        print("docs/operations.md, 'The first caller', has the steps by hand.", file=sys.stderr)
        return 1
    except KeyError as error:
        print(f"The first caller is not made: {error} is not set; run this by `azd hooks run`.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
