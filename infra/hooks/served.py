"""Which of several upstreams serves a model, and by which secret of the vault the app proves itself to it.

The rules are those of the app (shared/upstreams/specs.py), which the hooks cannot import.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.hooks.package import ROOT

API_KEY = "the vault's upstream-api-key"
KEYS = "the vault's upstream-keys"
DEPLOYED = "the model that was deployed"


@dataclass(frozen=True)
class Served:
    """An upstream: what people call it, the place of its URL, and the URL.

    `place` is a setting or a file. `key` says which secret the app sends. It is empty if that is a token. `scope` is
    that of the token, if somebody has chosen one.
    """

    called: str
    place: str
    url: str
    key: str
    scope: str = ""


def listed(environment: Mapping[str, str], root: Path = ROOT) -> "list[dict[str, Any]] | None":
    """Return the upstreams in the file that UPSTREAMS names, or None if there is no such list. `root` is the app's."""
    try:
        found = json.loads((root / environment["UPSTREAMS"]).read_text(encoding="utf-8"))
    except (KeyError, OSError, ValueError):
        return None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else None


def served(model: str, environment: Mapping[str, str], upstreams: "Sequence[Mapping[str, Any]] | None") -> Served:
    """Return the upstream that serves a model. `upstreams` are those of the file, or None if nobody can read it."""
    file, url = environment.get("UPSTREAMS", ""), environment.get("UPSTREAM_BASE_URL", "")
    if file and upstreams is None:
        return Served(f"the upstream of '{model}' in {file}", file, "", KEYS if _is_on("KEYS", environment) else "")
    for one in upstreams or ():
        if _serves(one, model):
            key = _key(one, environment)
            scope = str(one.get("scope", ""))
            return Served(f"the upstream of '{model}' in {file}", file, str(one.get("base_url", "")), key, scope)
    if file and not url:
        return Served(file, file, "", "")
    key, scope = API_KEY if _is_on("API_KEY", environment) else "", environment.get("UPSTREAM_SCOPE", "")
    return Served(url or DEPLOYED, "UPSTREAM_BASE_URL", url, key, scope)


def _is_on(what: str, environment: Mapping[str, str]) -> bool:
    return environment.get(f"UPSTREAM_{what}_IN_VAULT", "").lower() == "true"


def _serves(one: Mapping[str, Any], model: str) -> bool:
    patterns = one.get("models", ["*"])
    every = [str(pattern).split("*") for pattern in patterns] if isinstance(patterns, list) else []
    return any(re.fullmatch(".*".join(map(re.escape, parts)), model, re.DOTALL) for parts in every)


def _key(one: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """Return which secret an upstream gets: its key, or that of a header. A setting goes before a member."""
    headers = one.get("secret_headers")
    names = [one.get("key_setting"), *(headers.values() if isinstance(headers, dict) else ())]
    name = next(filter(None, names), None)
    if name == "UPSTREAM_API_KEY" and _is_on("API_KEY", environment):
        return API_KEY
    return f"'{name}' in {KEYS}" if name else ""
