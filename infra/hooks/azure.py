"""Calls to Azure as the user who is signed in to `azd`.

A token never appears in an argument, an environment variable or the output.
"""

import functools
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, IncompleteRead
from typing import IO, Any, TypeVar

TIMEOUT_S = 30
MANAGEMENT = "https://management.azure.com"
MANAGEMENT_SCOPE = f"{MANAGEMENT}/.default"
MOST = 1_000_000  # bytes of an answer that are read

Answer = TypeVar("Answer")


class AzureError(Exception):
    """Azure or azd gave no usable answer.

    `status` is the HTTP status, or 0 if there was none. `code` is the innermost code of the error in the answer, such
    as `ForbiddenByFirewall`, or an empty string.
    """

    def __init__(self, text: str, status: int = 0, code: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.code = code


def call(method: str, url: str, scope: str, body: object = None) -> Any:
    """Make a call with a token for the scope and return the JSON of its answer. Raise AzureError unless it is a 2xx."""
    content = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token(scope)}", "Content-Type": "application/json"}
    place = url.partition("?")[0]
    try:
        request = urllib.request.Request(url, content, headers, method=method)  # noqa: S310 - azd's own outputs
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return json.loads(content_of(answer) or b"null")
    except urllib.error.HTTPError as error:
        code = code_of(error)
        shown = f"{error.code} {code}".rstrip()
        raise AzureError(f"{method} {place} answered {shown}", error.code, code) from None
    except (OSError, HTTPException, ValueError) as error:
        raise AzureError(f"{method} {place} failed: {type(error).__name__}") from None


def content_of(answer: "IO[bytes]") -> bytes:
    """Return the content of an answer. Raise IncompleteRead if it is cut off, or longer than a megabyte.

    A read with a limit does not raise it by itself where the answer has a Content-Length.
    """
    content = answer.read(MOST)
    if missing := getattr(answer, "length", None):
        raise IncompleteRead(content, missing)
    return content


def code_of(error: urllib.error.HTTPError) -> str:
    """Return the innermost code in the body of a refusal, or an empty string.

    Resource Manager and the vault have the same shape, and name what is inside `innererror`:
    https://github.com/microsoft/api-guidelines/blob/vNext/azure/Guidelines.md#handling-errors
    """
    try:
        found = json.loads(content_of(error))["error"]
        code = found.get("code")
        while isinstance(found := found.get("innererror"), dict):
            code = found.get("code") or code
    except (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError):
        return ""
    return code if isinstance(code, str) and code.isalnum() else ""


def patiently(try_it: Callable[[], Answer], *, waits_for: str, codes: "frozenset[str]", wait_s: float) -> Answer:
    """Return what `try_it` returns, and repeat it for up to `wait_s` seconds if it is refused with one of the codes.

    `waits_for` says what is waited for, and is printed once. Any other AzureError is raised at once, and the last one
    at the end.
    """
    end, pause_s, is_told = time.monotonic() + wait_s, wait_s / 30, False
    while True:
        try:
            return try_it()
        except AzureError as error:
            if error.code not in codes or time.monotonic() + pause_s > end:
                raise
        if not is_told:
            print(f"Waiting up to {wait_s:.0f} s for {waits_for}.", flush=True)
            is_told = True
        time.sleep(pause_s)


@functools.lru_cache(maxsize=8)
def token(scope: str) -> str:
    """Return a token for a scope of whoever is signed in to azd. Raise AzureError if there is none."""
    command = ["azd", "auth", "token", "--scope", scope, "--output", "json"]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=60)
        return str(json.loads(done.stdout)["token"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        raise AzureError(f"azd gives no token for {scope}: sign in with `azd auth login`") from None
