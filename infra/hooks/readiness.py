"""Waits until the app is ready, after `azd deploy`: `python -m infra.hooks.readiness`."""

import json
import os
import sys
import time
import urllib.error
import urllib.request

WAIT_S = 300.0
PAUSE_S = 5.0


def state(app_url: str) -> tuple[int, str]:
    """Return the status and the message of /health/ready. The status is 0 if there is no answer."""
    try:
        url = f"{app_url}/health/ready"
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - azd's own output
            return answer.status, "ready"
    except urllib.error.HTTPError as error:
        return error.code, _message(error.read())
    except OSError as error:
        return 0, type(error).__name__


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "no answer of the app: it may still be starting, or an import error hides all functions"


def main() -> int:
    """Wait and print the result. Return the exit code."""
    app_url = os.environ.get("APP_URL", "")
    end = time.monotonic() + float(os.environ.get("READY_WAIT_S", WAIT_S))
    pause_s = float(os.environ.get("READY_PAUSE_S", PAUSE_S))
    while (found := state(app_url))[0] != 200 and time.monotonic() < end:
        time.sleep(pause_s)
    status, text = found
    if status != 200:
        print(f"Deployed, and not ready: {status}, {text}.", file=sys.stderr)
        return 1
    print(f"Ready: {app_url}/openai/v1")
    return 0


if __name__ == "__main__":
    sys.exit(main())
