"""What whoever deploys needs next: the URL, where the key lies, and the first command.

It is printed, written to a file of the environment, and set as values of the environment for later steps.
"""

import os
import subprocess
from collections.abc import Mapping

from infra.hooks.places import Place

FILE = "summary.md"
_TIMEOUT_S = 60


def outputs(where: Place, model: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the values, by the names under which azd keeps them. `model` is the one to ask for first, or empty."""
    file = where.caller_file.as_posix()
    if not where.caller_file.exists():
        return {"CLIENT_BASE_URL": where.base_url}
    read = f"import json; print(json.load(open('{file}'))['api_key'])"
    body = f'{{"model": "{model or "MODEL"}", "input": "Say hello", "background": true}}'
    command = (
        f'curl -s {where.base_url}/responses -H "api-key: $(python3 -c "{read}")"'
        f"{_signed_in(environment)} -H 'Content-Type: application/json' -d '{body}'"
    )
    return {"CLIENT_BASE_URL": where.base_url, "CLIENT_KEY_FILE": file, "NEXT_COMMAND": command}


def _signed_in(environment: Mapping[str, str]) -> str:
    """Return the header for Entra, if it is in front of the app."""
    entra = environment.get("ENTRA_CLIENT_ID")
    token = f"az account get-access-token --scope api://{entra}/.default --query accessToken --output tsv"
    return f' -H "Authorization: Bearer $({token})"' if entra else ""


def text(values: Mapping[str, str]) -> str:
    """Return the summary for people."""
    lines = [f"Base URL of clients: {values['CLIENT_BASE_URL']}"]
    if "CLIENT_KEY_FILE" in values:
        lines += [
            f"API key and signing secret: {values['CLIENT_KEY_FILE']}",
            f"First command: {values['NEXT_COMMAND']}",
        ]
    else:
        lines += ["API key: with whoever keeps the callers. docs/operations.md, 'Keys and secrets', makes another one."]
    return "\n".join(lines)


def tell(where: Place, model: str) -> None:
    """Print the summary, write it to a file, and give its values to azd. None of them is a secret."""
    values = outputs(where, model)
    shown = text(values)
    print(shown, flush=True)
    where.folder.mkdir(parents=True, exist_ok=True)
    (where.folder / FILE).write_text(f"{shown}\n", encoding="utf-8")
    for name, value in values.items():
        _set(where, name, value)


def _set(where: Place, name: str, value: str) -> None:
    """Set a value of the environment. Without azd nothing is lost, because the file has it, too."""
    command = ["azd", "env", "set", name, value, "--environment", where.environment]
    try:
        subprocess.run(command, capture_output=True, check=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        print(f"azd does not keep {name}; {where.folder / FILE} has it.", flush=True)
