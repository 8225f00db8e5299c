"""What a machine must have before anything is installed. Each lack is one line that says what to do."""

import importlib.util
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping
from urllib.parse import urlsplit

from local.environments.environment import ROOT

DOCKER_SOCKET = "unix:///var/run/docker.sock"
ANSWER_S = 2.0
NODE_S = 10.0
OLDEST_NODE = 20
NEEDED = "Node.js 20 or newer, with npm, is needed for the storage emulator"
INSTEAD = "install it from https://nodejs.org, or start a Docker engine"


def lacks(*, storage: bool) -> str | None:
    """Return the first thing that this machine lacks for a command, or None.

    With `storage`, the command starts the storage emulator.
    """
    return _lacking_venv() or (lacking_for_storage(os.environ) if storage else None)


def lacking_for_storage(environment: Mapping[str, str]) -> str | None:
    """Return why no storage emulator can run here, or None. It runs in a container, or on Node.js.

    In CI, and where AZURITE says `container`, a missing engine is reported when the emulator starts.
    """
    forced = environment.get("AZURITE")
    if forced == "container" or (not forced and (environment.get("CI") == "true" or _has_engine(environment))):
        return None
    return _lacking_node()


def _lacking_venv() -> str | None:
    if (ROOT / ".venv").exists() or importlib.util.find_spec("ensurepip"):
        return None
    return "Python's venv module is incomplete here: on Debian and Ubuntu, apt install python3-venv"


def _lacking_node() -> str | None:
    missing = next((name for name in ("node", "npm") if shutil.which(name) is None), None)
    if missing:
        return f"{NEEDED}, and there is no {missing} here: {INSTEAD}"
    version = _node_version()
    major = re.match(r"v(\d+)\.", version)
    if major is None or int(major[1]) < OLDEST_NODE:
        return f"{NEEDED}, and node here is {version or 'broken'}: {INSTEAD}"
    return None


def _node_version() -> str:
    try:
        done = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=NODE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _has_engine(environment: Mapping[str, str]) -> bool:
    """Return whether something listens where a Docker engine would. Addresses of other kinds count as an engine."""
    address = urlsplit(environment.get("DOCKER_HOST") or DOCKER_SOCKET)
    try:
        if address.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(ANSWER_S)
                probe.connect(address.path)
        elif address.scheme in {"tcp", "http", "https"}:
            socket.create_connection((address.hostname or "", address.port or 2375), ANSWER_S).close()
    except (OSError, ValueError, AttributeError):  # Python for Windows knows no AF_UNIX
        return False
    return True
