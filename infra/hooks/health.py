"""What an answer of /health/ready shows, how long another one is worth waiting for, and what mends it."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.hooks.package import ROOT
from infra.hooks.places import in_pipeline
from infra.hooks.upstream_secrets import SECRETS

UNRESOLVED_S = 60.0  # the platform reads a reference again after a refresh, and starts the app with it
_UNRESOLVED = "is a Key Vault reference that was not resolved"
_SILENT = "no answer of the app: it may still be starting, or an import error hides all functions"
_NAME = re.compile(r"\w+", re.ASCII)
_NAMED = re.compile(r"names the setting (\w+), which is not set", re.ASCII)
_READ = re.compile(r"readEnvironmentVariable\('(\w+)'", re.ASCII)


@dataclass(frozen=True)
class Health:
    """An answer: its status, or 0 if there is none, and the code and message of its error."""

    status: int
    code: str
    message: str


def health(status: int, found: Mapping[str, Any]) -> Health:
    """Return what an answer shows. `found` is its JSON."""
    if status == 200:
        return Health(status, "", "ready")
    error = found.get("error")
    given = error if isinstance(error, dict) else {}
    return Health(status, str(given.get("code") or ""), str(given.get("message") or _SILENT))


def patience_s(seen: Health) -> float:
    """Return for how many seconds an answer may stay as it is before it never ends.

    A wrong setting stays wrong. A reference to the vault may still be read. Anything else may end at any time.
    """
    if seen.code != "settings":
        return math.inf
    return UNRESOLVED_S if _UNRESOLVED in seen.message else 0.0


def variables(root: Path = ROOT) -> "frozenset[str]":
    """Return the names of the values that a deployment takes from azd's environment."""
    return frozenset(_READ.findall((root / "infra" / "main.bicepparam").read_text(encoding="utf-8")))


def mending(seen: Health, environment: Mapping[str, str], known: "frozenset[str]", refresh_url: str) -> str:
    """Return the commands that mend a wrong setting, or an empty string if no setting is wrong.

    `known` are the names that a deployment takes from azd's environment. `refresh_url` makes the app read its secrets.
    """
    begin = _NAME.match(seen.message)
    if seen.code != "settings" or not begin:
        return ""
    name, of = begin[0], f"--environment {environment.get('AZURE_ENV_NAME', '')}"
    again = f"azd hooks run postdeploy {of}"
    if _UNRESOLVED in seen.message:
        return _unresolved(name, of, refresh_url, again)
    if secret := _secret(name, seen, environment, known):
        return _lines(f"Write {secret} anew, and refresh: docs/operations.md, 'Keys and secrets'. Then:", again)
    return _value(name, environment, known, of, again)


def _value(name: str, environment: Mapping[str, str], known: "frozenset[str]", of: str, again: str) -> str:
    """Return how a setting that is no secret gets another value."""
    if name == "UPSTREAMS" and (file := environment.get("UPSTREAMS")):
        return _lines(f"Correct {file} beside host.json, which is deployed with the code. Then:", f"azd deploy {of}")
    if name not in known:
        return _lines("A deployment sets it:", f"azd provision {of}", again)
    if in_pipeline(environment):
        return f"Set the repository's variable {name} to another value, and run the pipeline again."
    return _lines("Set another value:", f"azd env set {name} VALUE {of}", f"azd provision {of}", again)


def _unresolved(name: str, of: str, refresh_url: str, again: str) -> str:
    """Return how a secret is written that is missing, and how the app then reads it.

    An environment that was made by `azd env refresh` does not know that the vault is to hold it.
    """
    switches = [f"azd env set {one.switch} true {of}" for one in SECRETS if one.variable == name]
    return _lines(
        "The vault does not have it, or the app's identity may not read it. Write what is missing, and refresh:",
        *switches,
        f"azd hooks run postprovision {of}",
        f'az rest --method post --url "{refresh_url}"',
        again,
    )


def _secret(name: str, seen: Health, environment: Mapping[str, str], known: "frozenset[str]") -> str:
    """Return which secret of the vault is wrong, or an empty string if it is none."""
    if found := _NAMED.search(seen.message):
        return f"the vault's upstream-keys with '{found[1]}', with UPSTREAM_KEYS_IN_VAULT=true,"
    names = {"CALLERS": "callers", **{one.variable: one.name for one in SECRETS}}
    if name in names:
        return f"the vault's {names[name]}"
    if name not in known and environment.get("UPSTREAM_KEYS_IN_VAULT", "").lower() == "true":
        return f"'{name}' in the vault's upstream-keys"
    return ""


def _lines(first: str, *commands: str) -> str:
    return "\n".join([first, *(f"  {command}" for command in commands)])
