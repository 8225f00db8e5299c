"""Sends one real request through the service, after `azd deploy`, and says what stands in its way.

`/health/ready` calls no upstream. So this is the first that shows whether the app may use it.
"""

import json
import os
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Optional

from infra.hooks.azure import AzureError, content_of, token
from infra.hooks.places import Place
from infra.hooks.served import listed
from infra.hooks.values import seconds
from infra.hooks.verdicts import Facts, Verdict, facts, judged

WAIT_S = 300.0
PAUSE_S = 2.0
TIMEOUT_S = 60


@dataclass(frozen=True)
class Client:
    """Calls the service as its first caller. `headers` have the key, and nothing prints them."""

    base_url: str
    headers: "dict[str, str]"

    def call(self, method: str, path: str, body: object = None) -> "tuple[int, dict[str, Any]]":
        """Return the status and the JSON of an answer. The status is 0 if there is none."""
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.base_url}{path}", content, self.headers, method=method)  # noqa: S310
        try:
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - azd's own output
                    return answer.status, _object(content_of(answer))
            except urllib.error.HTTPError as error:
                return error.code, _object(content_of(error))
        except (OSError, HTTPException) as error:  # also of an answer that is cut off while it is read
            return 0, {"error": {"message": type(error).__name__}}


def _object(content: bytes) -> "dict[str, Any]":
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def read_facts(environment: Mapping[str, str]) -> Facts:
    """Return what is known of the deployment, from azd's environment and the file of its upstreams."""
    return facts(environment, listed(environment))


def unnamed(where: Place, environment: Mapping[str, str]) -> str:
    """Return what to say before a deployment that sends no request because no model is named, or an empty string."""
    has_upstream = environment.get("UPSTREAM_BASE_URL") or environment.get("UPSTREAMS")
    is_off = environment.get("FIRST_REQUEST", "").lower() == "false"
    if not has_upstream or environment.get("FIRST_MODEL") or is_off or not where.is_kept:
        return ""
    return (
        "After the deployment no request will show whether the upstream lets the app in, because no model is named:\n"
        f"  azd env set FIRST_MODEL NAME --environment {where.environment}"
    )


def not_sent(where: Place, known: Facts, environment: Mapping[str, str]) -> str:
    """Return why no request is sent, or an empty string."""
    if environment.get("FIRST_REQUEST", "").lower() == "false":
        return "FIRST_REQUEST is false"
    if not where.caller_file.exists():
        return f"there is no key of a caller in {where.caller_file}"
    if not known.model:
        return "no model is named: `azd env set FIRST_MODEL NAME`, then `azd hooks run postdeploy`"
    return ""


def client(where: Place, environment: Mapping[str, str]) -> Client:
    """Return a client with the first caller's key. Raise AzureError if Entra is in front, and gives no token."""
    key = str(_object(where.caller_file.read_bytes()).get("api_key", ""))
    # A create whose answer is lost is repeated, and the service joins the repeat to it.
    headers = {"api-key": key, "Content-Type": "application/json", "Idempotency-Key": secrets.token_hex(16)}
    if entra := environment.get("ENTRA_CLIENT_ID"):
        headers["Authorization"] = f"Bearer {token(f'api://{entra}/.default')}"
    return Client(where.base_url, headers)


def ask(service: Client, known: Facts, wait_s: float, pause_s: float) -> Verdict:
    """Send the request, follow it for at most `wait_s` seconds, and return what it shows. It is not left behind."""
    end, told = time.monotonic() + wait_s, ""
    body = {"model": known.model, "input": "Say OK.", "background": True, "max_output_tokens": 16}
    status, found = service.call("POST", "/responses", body)
    while not (verdict := judged(status, found, known)).is_final and time.monotonic() + pause_s < end:
        if verdict.text != told:
            print(f"Waiting up to {end - time.monotonic():.0f} s. {verdict.text}", flush=True)
            told = verdict.text
        time.sleep(pause_s)
        if name := found.get("id"):
            status, found = _followed(service, name)
        else:
            status, found = service.call("POST", "/responses", body)
    if found.get("id") and found.get("status") in ("queued", "in_progress"):
        service.call("POST", f"/responses/{found['id']}/cancel")
    return verdict


def _followed(service: Client, name: str) -> "tuple[int, dict[str, Any]]":
    """Return the status and the response of that id as it is now, and its id in any case."""
    status, found = service.call("GET", f"/responses/{name}")
    return status, {**found, "id": name}


def send(where: Place, environment: Mapping[str, str] = os.environ) -> Optional[Verdict]:  # noqa: UP045 - Python 3.9
    """Send the request and return what it shows, or print why none is sent and return None.

    Raises WrongValue.
    """
    known = read_facts(environment)
    why = not_sent(where, known, environment)
    try:
        service = None if why else client(where, environment)
    except AzureError as error:
        why, service = f"Entra is in front of the app, and {error}", None
    if service is None:
        print(f"No request is sent through the service: {why}.", flush=True)
        return None
    print(f"Sending one request for '{known.model}' through the service.", flush=True)
    pause_s = seconds(environment, "FIRST_REQUEST_PAUSE_S", PAUSE_S)
    return ask(service, known, seconds(environment, "FIRST_REQUEST_WAIT_S", WAIT_S), pause_s)
