"""Waits until the app is ready, after `azd deploy`, and sends one request: `python -m infra.hooks.readiness`."""

import os
import sys
import time
from typing import Any

from infra.hooks.azure import AzureError
from infra.hooks.first_caller import SECRET, without_caller
from infra.hooks.first_request import Client, read_facts, send
from infra.hooks.places import Place, place
from infra.hooks.summary import tell
from infra.hooks.values import WrongValue, seconds
from infra.hooks.vault import holds

WAIT_S = 300.0
PAUSE_S = 5.0


def state(app_url: str) -> tuple[int, str]:
    """Return the status and the message of /health/ready. The status is 0 if there is no answer."""
    status, found = Client(app_url, {}).call("GET", "/health/ready")
    return status, "ready" if status == 200 else _message(found)


def _message(found: "dict[str, Any]") -> str:
    try:
        return str(found["error"]["message"])
    except (KeyError, TypeError):
        return "no answer of the app: it may still be starting, or an import error hides all functions"


def wait(where: Place, wait_s: float, pause_s: float) -> tuple[int, str]:
    """Return the status and the message of the app. No call begins later than after `wait_s` seconds."""
    end = time.monotonic() + wait_s
    print(f"Waiting up to {wait_s:.0f} s for {where.app_url}/health/ready.", flush=True)
    while (found := state(where.app_url))[0] != 200 and time.monotonic() + pause_s < end:
        time.sleep(pause_s)
    return found


def _has_no_caller(where: Place) -> bool:
    """Return whether a pipeline has deployed the app, and nobody has made a caller. It is not ready before that."""
    try:
        return not where.is_kept and not holds(where.vault, SECRET)
    except AzureError:
        return False  # the app says what it lacks


def main() -> int:
    """Wait and print the result. Return the exit code."""
    try:
        return _check(place(os.environ))
    except KeyError as error:
        print(f"Nothing is checked: {error} is not set; run this by `azd hooks run postdeploy`.", file=sys.stderr)
    except WrongValue as error:
        print(f"Not all is checked: {error}.", file=sys.stderr)
    return 1


def _check(where: Place) -> int:
    if _has_no_caller(where):
        print(f"Deployed, and not usable yet. {without_caller(where)}")
        return 0
    pause_s = seconds(os.environ, "READY_PAUSE_S", PAUSE_S)
    status, said = wait(where, seconds(os.environ, "READY_WAIT_S", WAIT_S), pause_s)
    if status != 200:
        print(f"Deployed, and not ready: {status}, {said}.", file=sys.stderr)
        return 1
    print("Ready.", flush=True)
    verdict = send(where)
    tell(where, read_facts(os.environ).model)
    if verdict is not None:
        print(verdict.text, file=sys.stdout if verdict.is_good else sys.stderr)
    return 0 if verdict is None or verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
