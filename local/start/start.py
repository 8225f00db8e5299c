"""Serves on a laptop until Ctrl-C: `python -m local start`."""

import os
import time
from contextlib import ExitStack
from pathlib import Path

import httpx

from local.progress import step
from local.stack.process import PartError
from local.stack.receiver import ARRIVED
from local.stack.stack import Stack, stack
from local.start.lines import Started, start_lines
from local.start.tail import Tail

DEFAULT_PORT = "7071"
LOOK_S = 0.2
CHECK_S = 1.0
SIMULATED = "simulated: sim-5s, sim-fail-2s and others of docs/laptop.md"


def start() -> None:
    """Run the stack until the process is interrupted, and print each callback. Raise PartError if a part ends.

    PORT is where it serves, and AZURITE_DIR keeps its data. Outside a terminal the ready line is the first,
    because programs read it, also where both outputs are one.
    """
    directory, port = os.environ.get("AZURITE_DIR"), _port()
    with ExitStack() as cleanup:
        with step("starting storage, the model, the callback receiver and the host", slow_s=None):
            running = cleanup.enter_context(stack(Path(directory) if directory else None, port))
            started = _started(running)
        print("\n".join(start_lines(started)), flush=True)
        _show_callbacks(running)


def _port() -> int:
    port = os.environ.get("PORT") or DEFAULT_PORT
    if not port.isdecimal():
        raise PartError("settings", f"PORT is {port!r}, which is not a number")
    return int(port)


def _started(running: Stack) -> Started:
    return Started(
        base_url=running.base_url,
        key=running.credentials.api_key,
        callback_url=f"{running.receiver_url}/callback",
        secret=running.credentials.signing_secret,
        connection=running.connection,
        storage=f"Azurite from {running.storage.kind}",
        model=os.environ.get("UPSTREAM_BASE_URL") or SIMULATED,
        log=str(running.parts["host"].file),
        console_url=console_of(running.host_url),
    )


def console_of(host_url: str) -> str | None:
    """Return the address of the console's page, or None if the host serves none."""
    url = f"{host_url}/console"
    try:
        answer = httpx.get(url, timeout=10.0, trust_env=False)
    except httpx.TransportError:
        return None
    return url if answer.is_success else None


def _show_callbacks(running: Stack) -> None:
    arrived = Tail(running.parts["receiver"].file, ARRIVED)
    checked = time.monotonic()
    while True:
        for line in arrived.lines():
            print(line, flush=True)
        if time.monotonic() - checked > CHECK_S:
            running.check()
            checked = time.monotonic()
        time.sleep(LOOK_S)
