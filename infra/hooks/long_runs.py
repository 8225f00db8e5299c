"""Says before a deployment which work may be cut off by its instance.

An instance of a queue function that is to go has up to an hour for what it executes (Azure/Azure-Functions#2634). Work
in background mode does not mind, because it is polled. Other work begins again elsewhere, three times at most.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from infra.hooks.package import ROOT
from infra.hooks.upstreams_file import entries

SAFE_S = 3_600
DEADLINE_S = 14_400  # the default in main.bicepparam
PAGE = "docs/deploy.md, 'Instances that are always ready'"


def warning(environment: Mapping[str, str], root: Path = ROOT) -> str:
    """Return what to say about work without background mode that may take over an hour, or an empty string.

    `root` is the folder of the app. Values that are no numbers are left to the template, which refuses them. Raises
    WrongValue if UPSTREAMS names no file that can be read.
    """
    deadline_s = _number(environment, "RESPONSE_DEADLINE_S", DEADLINE_S)
    found = list(without_background(environment, root))
    if deadline_s <= SAFE_S or _number(environment, "ALWAYS_READY_RUN", 0) > 0 or not found:
        return ""
    return (
        f"Warning: RESPONSE_DEADLINE_S is {deadline_s}, and there is work without background mode: {', '.join(found)}."
        f" After about an hour the platform may end the instance under it, and it begins again.\n"
        f"  azd env set ALWAYS_READY_RUN 1         # keeps an instance, which costs by the hour: {PAGE}\n"
        f"  azd env set RESPONSE_DEADLINE_S {SAFE_S}   # or ends such work after an hour"
    )


def without_background(environment: Mapping[str, str], root: Path) -> Iterator[str]:
    """Yield what works only while the service listens: upstreams in foreground mode, and agents."""
    listed = environment.get("UPSTREAMS", "")
    is_default_used = bool(environment.get("UPSTREAM_BASE_URL")) or not listed
    if is_default_used and environment.get("UPSTREAM_MODE", "") == "foreground":
        yield "UPSTREAM_MODE is foreground"
    for one in entries(environment, root):
        if one.get("mode") == "foreground":
            yield f"the upstream '{one['name']}' of {listed}"
    module = environment.get("AGENTS_MODULE") or "agents"
    place = module.replace(".", "/")
    if (root / f"{place}.py").is_file() or (root / place / "__init__.py").is_file():
        yield f"the agents in {place}"


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0
