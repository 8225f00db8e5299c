"""What `start` prints: the ready line, the addresses in columns, and `export` lines for another shell."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

ENDS = "Ctrl-C stops everything. Each callback that arrives is shown here:"
PASTE = "Paste this into a second shell:"


@dataclass(frozen=True)
class Started:
    """What a stack offers to the person who started it. The secret values are not in its `repr`."""

    base_url: str
    key: str = field(repr=False)
    callback_url: str
    secret: str = field(repr=False)
    connection: str = field(repr=False)
    storage: str
    model: str
    log: str
    console_url: str | None = None


def start_lines(started: Started) -> list[str]:
    """Return the lines to print, the ready line first. Programs read that one, so its form is fixed."""
    return [
        f"ready {started.base_url} key={started.key}",
        "",
        *_aligned(_places(started)),
        "",
        PASTE,
        *(f"  {assignment(name, value)}" for name, value in exports(started).items()),
        "",
        ENDS,
    ]


def exports(started: Started) -> dict[str, str]:
    """Return the variables that the commands of the docs use."""
    return {
        "BASE": started.base_url,
        "KEY": started.key,
        "CALLBACK": started.callback_url,
        "SECRET": started.secret,
        "STORAGE": started.connection,
        "LOG": started.log,
    }


def assignment(name: str, value: str, system: str = os.name) -> str:
    """Return the line that sets a variable: in a shell of POSIX, or in PowerShell on Windows (`nt`)."""
    if system == "nt":
        quoted = value.replace("'", "''")
        return f"$env:{name} = '{quoted}'"
    return f"export {name}={shlex.quote(value)}"


def _places(started: Started) -> dict[str, str]:
    places = {
        "console": started.console_url,
        "callbacks": started.callback_url,
        "model": started.model,
        "storage": started.storage,
        "log": started.log,
    }
    return {name: value for name, value in places.items() if value}


def _aligned(places: Mapping[str, str]) -> list[str]:
    width = max(map(len, places))
    return [f"  {name:{width}}  {value}" for name, value in places.items()]
