"""Waits until the app is ready, after `azd deploy`, and sends one request: `python -m infra.hooks.readiness`."""

import math
import os
import sys
import time

from infra.hooks.azure import AzureError
from infra.hooks.first_caller import SECRET, without_caller
from infra.hooks.first_request import Client, read_facts, send
from infra.hooks.health import Health, health, mending, patience_s, variables
from infra.hooks.places import Place, place
from infra.hooks.summary import tell
from infra.hooks.values import WrongValue, seconds
from infra.hooks.vault import holds

WAIT_S = 300.0
PAUSE_S = 5.0


def wait(where: Place, wait_s: float, pause_s: float) -> Health:
    """Return how the app is in the end. No call begins later than after `wait_s` seconds.

    An answer that never changes by itself is the end, too.
    """
    end, settled = time.monotonic() + wait_s, math.inf
    print(f"Waiting up to {wait_s:.0f} s for {where.app_url}/health/ready.", flush=True)
    while (found := health(*Client(where.app_url, {}).call("GET", "/health/ready"))).status != 200:
        now, patience = time.monotonic(), patience_s(found)
        settled = min(settled, now + patience) if patience < math.inf else math.inf  # since it is seen
        if now + pause_s >= min(end, settled):
            break
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
    found = wait(where, seconds(os.environ, "READY_WAIT_S", WAIT_S), pause_s)
    if found.status != 200:
        print(f"Deployed, and not ready: {found.status}, {found.message.rstrip('.')}.", file=sys.stderr)
        if mend := mending(found, os.environ, variables(), where.refresh_url):
            print(mend, file=sys.stderr)
        return 1
    print("Ready.", flush=True)
    verdict = send(where)
    tell(where, read_facts(os.environ).model)
    if verdict is not None:
        print(verdict.text, file=sys.stdout if verdict.is_good else sys.stderr)
    return 0 if verdict is None or verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
