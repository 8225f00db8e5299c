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
from pathlib import Path

from infra.hooks.azure import MANAGEMENT_SCOPE, AzureError, call
from infra.hooks.places import Place, place
from infra.hooks.vault import holds, write

NAME = "first"
SECRET = "callers"  # noqa: S105 - the name of the secret that the setting CALLERS refers to


def make(where: Place) -> str:
    """Make the credentials unless the vault has callers, and return a message for the person who deploys.

    Raises AzureError.
    """
    if holds(where.vault, SECRET):
        return "The vault has callers; nothing is changed."
    if not where.is_kept:
        return without_caller(where)
    given = _kept(where.caller_file)
    element = {
        "name": NAME,
        "keys": [hashlib.sha256(given["api_key"].encode()).hexdigest()],
        "signing_secrets": [given["signing_secret"]],
    }
    write(where.vault, SECRET, json.dumps([element]), "application/json")
    refresh(where)
    file = where.caller_file
    return f"Caller '{NAME}' is made. Its API key and signing secret are in {file}: keep them, then delete the file."


def without_caller(where: Place) -> str:
    """Return why a pipeline makes no caller, and the commands that make one."""
    return (
        "No caller is made: its key would be lost with this runner. Make it where the key is kept:\n"
        f"  azd env new {where.environment}; azd env refresh --environment {where.environment}\n"
        f"  azd hooks run postprovision --environment {where.environment}"
    )


def refresh(where: Place) -> None:
    """Make the app read its secrets again. If that is refused, print the command, because the app starts without it."""
    try:
        call("POST", where.refresh_url, MANAGEMENT_SCOPE)
    except AzureError as error:
        print(f"The app reads the new secrets within a day, or by this command, because {error}:")
        print(f'  az rest --method post --url "{where.refresh_url}"', flush=True)


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
