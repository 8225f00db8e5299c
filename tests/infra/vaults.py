"""A fake vault, resource manager and app that answer the deployment hooks, and a fake `azd` that signs in."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOKEN = "token-of-the-deployer"


class Vault(ThreadingHTTPServer):
    """Holds one secret.

    It answers 403 to the next `refusals` authorised requests, like a vault whose role assignments are not active yet.
    It answers health checks with the statuses in `ready`, in order, and repeats the last.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.refusals = 0
        self.secret: str | None = None
        self.calls: list[str] = []
        self.ready: list[int] = []

    def next_health(self) -> int:
        """Return the status of the next health check."""
        return self.ready.pop(0) if len(self.ready) > 1 else self.ready[0]

    @property
    def url(self) -> str:
        """The base URL of the server."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Vault

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Log nothing."""

    def do_GET(self) -> None:
        if self.path == "/health/ready":
            self._answer(self.server.next_health(), {"error": {"message": "CALLERS must be set"}})
        elif self._admitted():
            found = self.server.secret
            self._answer(404 if found is None else 200, {"value": found})

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._admitted():
            self.server.secret = json.loads(body)["value"]
            self._answer(200, {})

    def do_POST(self) -> None:
        if self._admitted():
            self._answer(200, {})

    def _admitted(self) -> bool:
        self.server.calls.append(f"{self.command} {self.path}")
        is_known = self.headers["Authorization"] == f"Bearer {TOKEN}"
        if is_known and not self.server.refusals:
            return True
        self.server.refusals -= is_known
        self._answer(403 if is_known else 401, {})
        return False

    def _answer(self, status: int, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


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


def signed_in(folder: Path) -> Path:
    """Return a folder with an `azd` that prints the token for `azd auth token --scope`, and otherwise fails."""
    folder.mkdir()
    program = folder / "azd"
    answer = json.dumps({"token": TOKEN, "expiresOn": "2027-01-15T08:00:00Z"})
    program.write_text(f"#!/bin/sh\n[ \"$1 $2 $3\" = 'auth token --scope' ] || exit 1\necho '{answer}'\n")
    program.chmod(0o755)
    return folder
