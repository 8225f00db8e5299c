"""Calls to Azure as the user who is signed in to `azd`.

A token never appears in an argument, an environment variable or the output.
"""

import json
import subprocess
import time
import urllib.error
import urllib.request
from typing import Any

TIMEOUT_S = 30


class AzureError(Exception):
    """Azure or azd gave no usable answer. `status` is the HTTP status, or 0 if there was none."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


def call(method: str, url: str, scope: str, body: object = None) -> Any:
    """Make a call with a token for the scope and return the JSON of its answer. Raise AzureError unless it is a 2xx."""
    content = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {_token(scope)}", "Content-Type": "application/json"}
    try:
        request = urllib.request.Request(url, content, headers, method=method)  # noqa: S310 - azd's own outputs
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        raise AzureError(f"{method} {url.partition('?')[0]} answered {error.code}", error.code) from None
    except (OSError, ValueError) as error:
        raise AzureError(f"{method} {url.partition('?')[0]} failed: {type(error).__name__}") from None


def patiently(method: str, url: str, scope: str, *, body: object = None, wait_s: float) -> Any:
    """Make a call and retry a 403 for up to `wait_s` seconds, because new roles take time to arrive."""
    end, pause_s = time.monotonic() + wait_s, wait_s / 30
    while True:
        try:
            return call(method, url, scope, body)
        except AzureError as error:
            if error.status != 403 or time.monotonic() + pause_s > end:
                raise
        time.sleep(pause_s)


def _token(scope: str) -> str:
    command = ["azd", "auth", "token", "--scope", scope, "--output", "json"]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=60)
        return str(json.loads(done.stdout)["token"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        raise AzureError("azd gives no token: sign in with `azd auth login`") from None
