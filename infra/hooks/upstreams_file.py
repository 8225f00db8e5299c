"""The file of several upstreams, which goes into the package: what the app would refuse of it, before a deployment.

The app's own rules are in shared/upstreams/specs.py. This has those that a deployment may break by itself: it needs
libraries that the Python of the hooks may lack to ask the app.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.hooks.package import ROOT, by_core_tools
from infra.hooks.values import WrongValue

MOST = 32
FOREGROUND_S = 21_000  # the longest deadline of a response whose upstream has no background mode
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}\.json")
# Settings of the app that hold a secret, and the switches that they follow.
_SETTINGS = {"UPSTREAM_API_KEY": "UPSTREAM_API_KEY_IN_VAULT", "UPSTREAM_WEBHOOK_SECRET": "UPSTREAM_WEBHOOKS"}


def entries(environment: Mapping[str, str], root: Path = ROOT) -> "list[dict[str, Any]]":
    """Return the upstreams of the file that UPSTREAMS names, or none if it names none. `root` is the app's folder.

    Raises WrongValue if the file is missing, is not deployed, or is no list of upstreams.
    """
    file = environment.get("UPSTREAMS", "")
    if not file:
        return []
    if not _NAME.fullmatch(file):
        raise WrongValue("UPSTREAMS must be the name of a JSON file beside host.json, such as upstreams.json")
    if not (root / file).is_file():
        raise WrongValue(f"UPSTREAMS is {file}, and there is no such file beside host.json")
    if by_core_tools()(file):
        raise WrongValue(f"UPSTREAMS is {file}, which .funcignore keeps out of the package: give it another name")
    try:
        found = json.loads((root / file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WrongValue(f"{file} cannot be read as JSON: {error}") from None
    if not isinstance(found, list) or not 1 <= len(found) <= MOST or not all(map(_is_entry, found)):
        raise WrongValue(f"{file} must be a list of 1 to {MOST} objects with name and base_url: docs/upstreams.md")
    names = [one["name"] for one in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise WrongValue(f"{file} has the name '{twice[0]}' twice")
    return found


def check_upstreams(environment: Mapping[str, str], root: Path = ROOT) -> None:
    """Raise WrongValue if the app would refuse the file of upstreams beside what else this deployment says."""
    file, found = environment.get("UPSTREAMS", ""), entries(environment, root)
    for secret in (secret for one in found for secret in _secrets(one)):
        if not any(_is_on(environment, switch) for switch in (_SETTINGS.get(secret), "UPSTREAM_KEYS_IN_VAULT")):
            switch = _SETTINGS.get(secret, "UPSTREAM_KEYS_IN_VAULT")
            raise WrongValue(f"{file} names the secret {secret}, and the app has it after `azd env set {switch} true`")
    deadline = environment.get("RESPONSE_DEADLINE_S", "")
    foreground = [one["name"] for one in found if one.get("mode") == "foreground"]
    if foreground and deadline.isdigit() and int(deadline) > FOREGROUND_S:
        raise WrongValue(
            f"RESPONSE_DEADLINE_S must be at most {FOREGROUND_S}, because '{foreground[0]}' of {file} is foreground"
        )


def _is_entry(one: object) -> bool:
    return isinstance(one, dict) and all(isinstance(one.get(name), str) and one[name] for name in ("name", "base_url"))


def _secrets(one: "dict[str, Any]") -> Iterator[str]:
    """Yield the names of the secrets that an upstream has."""
    headers = one.get("secret_headers")
    named = [one.get("key_setting"), one.get("webhook_secret_setting")]
    named += headers.values() if isinstance(headers, dict) else []
    yield from (name for name in named if isinstance(name, str))


def _is_on(environment: Mapping[str, str], switch: "str | None") -> bool:
    return switch is not None and environment.get(switch, "").lower() == "true"
