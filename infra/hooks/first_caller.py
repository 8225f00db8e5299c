"""Writes the first secrets, once, after `azd provision`: `python -m infra.hooks.first_caller`.

They are the first caller's credentials and the upstream's secrets. The vault gets what the app needs, with the API key
only as a hash. The key itself goes into a file that only its owner can read. No secret goes into a log or an argument.
"""

import base64
import hashlib
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from infra.hooks.azure import MANAGEMENT_SCOPE, AzureError, call
from infra.hooks.first_request import unnamed
from infra.hooks.places import Place, place
from infra.hooks.upstream_secrets import SecretError, asking, ensure, mending
from infra.hooks.values import WrongValue
from infra.hooks.vault import holds, write

NAME = "first"
SECRET = "callers"  # noqa: S105 - the name of the secret that the setting CALLERS refers to


def make(where: Place, queue_caller: str) -> tuple[str, bool]:
    """Make the credentials unless the vault has callers. Return what to tell, and whether a caller is new.

    `queue_caller` is the caller of queued requests, or an empty string. Raises AzureError.
    """
    if holds(where.vault, SECRET):
        return "The vault has callers; nothing is changed.", False
    if not where.is_kept:
        return without_caller(where), False
    given = _kept(where.caller_file)
    made = elements(given["api_key"], given["signing_secret"], queue_caller)
    write(where.vault, SECRET, json.dumps(made), "application/json")
    file = where.caller_file
    text = f"Caller '{NAME}' is made. Its API key and signing secret are in {file}: keep them, then delete the file."
    others = "".join(f"\nCaller '{one['name']}' is made, for queued requests. It has no key." for one in made[1:])
    return f"{text}{others}", True


def elements(api_key: str, signing_secret: str, queue_caller: str) -> "list[dict[str, Any]]":
    """Return the callers of the setting CALLERS: the first one, and the one of queued requests if it has another name.

    That one has no key, so that requests of a queue reach nothing that came by HTTP (docs/queues.md).
    """
    digest = hashlib.sha256(api_key.encode()).hexdigest()
    signing = [signing_secret] if signing_secret else []
    first: dict[str, Any] = {"name": NAME, "keys": [digest], "signing_secrets": signing}
    return [first, {"name": queue_caller}] if queue_caller not in ("", NAME) else [first]


def write_all(where: Place) -> None:
    """Write the secrets that are missing, print what was done, and make the app read them.

    Raises AzureError and SecretError. What was written before is kept, and not written again.
    """
    written = ensure(where, os.environ, asking(os.environ))
    for name in written:
        print(f"The vault has {name} now.", flush=True)
    text, is_new = make(where, os.environ.get("REQUESTS_CALLER_NAME", ""))
    print(text, flush=True)
    if is_new or written:
        refresh(where)


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
    """Return the credentials in the file. Make the file if it does not exist, so that a failed try can be repeated.

    Raises AzureError if the file holds none.
    """
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        signing = base64.b64encode(secrets.token_bytes(32)).decode()
        fresh = {"api_key": f"br_{secrets.token_urlsafe(32)}", "signing_secret": f"whsec_{signing}"}
        whole = file.with_suffix(".new")  # a hook that is killed leaves no half of it under the name
        with os.fdopen(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
            json.dump(fresh, opened)
        whole.replace(file)
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return {name: str(kept[name]) for name in ("api_key", "signing_secret")}
    except (ValueError, KeyError, TypeError):
        raise AzureError(f"{file} holds no credentials: delete it, and run this again") from None


def main() -> int:
    """Write the secrets and print the result. Return the exit code."""
    try:
        where = place(os.environ)
    except KeyError as error:
        print(f"No secret is written: {error} is not set; run this by `azd hooks run`.", file=sys.stderr)
        return 1
    except WrongValue as error:
        print(f"No secret is written: {error}.", file=sys.stderr)
        return 1
    try:
        write_all(where)
    except SecretError as error:
        print(f"{error}. {mending(os.environ)}", file=sys.stderr)
        return 1
    except AzureError as error:
        print(f"Not all secrets are written: {error}.", file=sys.stderr)
        print("docs/deploy.md, 'The first caller', has the steps by hand.", file=sys.stderr)
        return 1
    if said := unnamed(where, os.environ):
        print(said, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
