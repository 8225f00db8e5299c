"""A fake vault, resource manager and app that answer the deployment hooks, and a fake `azd` that signs in."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOKEN = "token-of-"  # and then the host of the scope
GROUP = "/subscriptions/s/resourceGroups/rg"
APP = f"{GROUP}/providers/Microsoft.Web/sites/func"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/kv"
AT_MANAGER = f"{VAULT}/secrets/"
AT_VAULT = "/secrets/"


class Vault(ThreadingHTTPServer):
    """Holds secrets, which it takes at Resource Manager and at the vault itself, each with its own token.

    `manager_code` is the code of the 403 with which Resource Manager refuses everything, or an empty string. `codes`
    are the inner codes of the 403s that the vault answers next, and it repeats the first if `is_stubborn`. Health
    checks are answered with the statuses in `ready`, in order, and the last is repeated, each with the body `health`.
    `looks` counts them. Questions for the state of a resource provider are answered so with those in `providers`.
    `refused_posts` is the code of the 403 for every POST, and `quotas` are those of the models.
    `resources` is the answer to the question for the model accounts of a group, which is not there at first.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.secrets: dict[str, str] = {}
        self.types: dict[str, str] = {}
        self.calls: list[str] = []
        self.manager_code = ""
        self.codes: list[str] = []
        self.is_stubborn = False
        self.ready: list[int] = []
        self.providers: dict[str, list[str]] = {}
        self.refused_posts = ""
        self.quotas: list[dict[str, Any]] = []
        self.resources: tuple[int, dict[str, Any]] = (404, {"error": {"code": "ResourceGroupNotFound"}})
        self.health = {"error": {"message": "Storage is not available.", "code": "storage"}}
        self.looks = 0

    @property
    def url(self) -> str:
        """The base URL of the server."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_health(self) -> int:
        """Return the status of the next health check, and count it."""
        self.looks += 1
        return self.ready.pop(0) if len(self.ready) > 1 else self.ready[0]

    def next_state(self, provider: str) -> str:
        """Return the state of a resource provider. The ones that are not named are registered."""
        states = self.providers.get(provider, ["Registered"])
        return states.pop(0) if len(states) > 1 else states[0]

    def refusal(self, method: str, path: str) -> str:
        """Return the code with which a request is refused, or an empty string."""
        if method == "POST" and self.refused_posts:
            return self.refused_posts
        if not path.startswith(AT_VAULT):
            return self.manager_code
        if not self.codes:
            return ""
        return self.codes[0] if self.is_stubborn else self.codes.pop(0)


class Handler(BaseHTTPRequestHandler):
    server: Vault

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Log nothing."""

    def do_GET(self) -> None:
        if self.path == "/health/ready":
            self._answer(self.server.next_health(), self.server.health)
        elif not self._admitted():
            return
        elif self._name() == "usages":
            self._answer(200, {"value": self.server.quotas})
        elif self._name() == "resources":
            self._answer(*self.server.resources)
        elif "/providers/Microsoft.KeyVault/vaults/" not in self.path and "/providers/" in self.path:
            self._answer(200, {"registrationState": self.server.next_state(self._name())})
        else:
            found = self.server.secrets.get(self._name())
            self._answer(404 if found is None else 200, {})

    def do_PUT(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._admitted():
            given = body if self.path.startswith(AT_VAULT) else body["properties"]
            self.server.secrets[self._name()] = given["value"]
            self.server.types[self._name()] = given["contentType"]
            self._answer(200, {})

    def do_POST(self) -> None:
        if self._admitted():
            self._answer(200, {})

    def _name(self) -> str:
        return self.path.partition("?")[0].rpartition("/")[2]

    def _admitted(self) -> bool:
        self.server.calls.append(f"{self.command} {self.path.partition('?')[0]}")
        scope = "vault.azure.net" if self.path.startswith(AT_VAULT) else "management.azure.com"
        if self.headers["Authorization"] != f"Bearer {TOKEN}{scope}":
            self._answer(401, {"error": {"code": "Unauthorized"}})
        elif code := self.server.refusal(self.command, self.path):
            self._answer(403, _refusal(code))
        else:
            return True
        return False

    def _answer(self, status: int, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _refusal(code: str) -> dict[str, Any]:
    """Return the body of a 403.

    A vault puts what it means inside: https://learn.microsoft.com/azure/key-vault/general/rest-error-codes
    """
    if code.startswith("ForbiddenBy"):
        return {"error": {"code": "Forbidden", "message": "no", "innererror": {"code": code}}}
    return {"error": {"code": code, "message": "no"}}


@contextmanager
def running_vault() -> Iterator[Vault]:
    """Run a vault until the block ends."""
    with Vault() as vault:
        thread = threading.Thread(target=vault.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield vault
        finally:
            vault.shutdown()
            thread.join()


# It answers `azd auth token --scope URL/.default`, and notes the arguments of every other call in the file `calls`.
AZD = f"""#!/bin/sh
if [ "$1 $2 $3" = 'auth token --scope' ]; then
  host=${{4#https://}}
  printf '{{"token": "{TOKEN}%s", "expiresOn": "2027-01-15T08:00:00Z"}}' "${{host%/.default}}"
else
  echo "$@" >> "$(dirname "$0")/calls"
fi
"""


def signed_in(folder: Path) -> Path:
    """Return a folder with an `azd` that is signed in."""
    folder.mkdir()
    program = folder / "azd"
    program.write_text(AZD)
    program.chmod(0o755)
    return folder


def azd_calls(folder: Path) -> list[str]:
    """Return the arguments of the calls of the `azd` in a folder, other than for tokens, a line each."""
    file = folder / "calls"
    return file.read_text().splitlines() if file.exists() else []
