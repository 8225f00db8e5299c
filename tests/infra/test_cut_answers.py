"""An answer that is cut off ends a hook's call with a reason, whichever part of it is missing."""

import json
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from infra.hooks.azure import code_of
from infra.hooks.first_request import Client
from tests.infra.azd_hooks import run
from tests.infra.vaults import Vault

REFUSAL = json.dumps({"error": {"code": "Forbidden", "innererror": {"code": "ForbiddenByRbac"}}}).encode()
HALF = REFUSAL[: len(REFUSAL) // 2]
# Where an answer ends: in its status line, in a body of a known length, and in a body of parts.
CUTS: dict[str, Callable[[int], bytes]] = {
    "status": lambda _: b"HTTP/1.",
    "length": lambda status: b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(REFUSAL), HALF),
    "parts": lambda status: (
        b"HTTP/1.1 %d X\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s" % (status, len(REFUSAL), HALF)
    ),
}
BODIES = ["length", "parts"]
Serve = Callable[[bytes], str]


@contextmanager
def answering(content: bytes) -> Iterator[str]:
    """Answer every connection with these bytes and close it. Yield the URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve, args=(server, content))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(server: socket.socket, content: bytes) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(10)
            _read(connection)
            connection.sendall(content)


def _read(connection: socket.socket) -> None:
    """Read a whole request. What is left unread would reset the connection before its answer is read."""
    with connection.makefile("rb") as opened:
        headers = b"".join(iter(opened.readline, b"\r\n"))
        length = re.search(rb"(?i)content-length: (\d+)", headers)
        opened.read(int(length[1]) if length else 0)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that answers with given bytes, and returns the URL."""
    with ExitStack() as stack:
        yield lambda content: stack.enter_context(answering(content))


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("status", [200, 403])
def test_half_an_answer_of_the_service_is_none(cut: str, status: int, serve: Serve) -> None:
    """The client has the status 0, and the name of what happened."""
    reason = "BadStatusLine" if cut == "status" else "IncompleteRead"
    found = Client(serve(CUTS[cut](status)), {}).call("GET", "/health/ready")
    assert found == (0, {"error": {"message": reason}})


@pytest.mark.parametrize("cut", CUTS)
def test_an_app_whose_answer_is_cut_is_not_ready(cut: str, tmp_path: Path, vault: Vault, serve: Serve) -> None:
    """A 200 of which half is missing is no sign of health. The hook says why, in one line."""
    done = run("readiness", tmp_path, vault, APP_URL=serve(CUTS[cut](200)), READY_WAIT_S="0.1")
    assert done.returncode == 1
    assert done.stderr in {f"Deployed, and not ready: 0, {name}.\n" for name in ("BadStatusLine", "IncompleteRead")}


@pytest.mark.parametrize("cut", CUTS)
def test_a_call_to_azure_that_is_cut_fails_with_its_place(cut: str, tmp_path: Path, vault: Vault, serve: Serve) -> None:
    """The line names the method, the URL and what happened. Nothing is written, and there is no traceback."""
    manager = serve(CUTS[cut](200))
    done = run("first_caller", tmp_path, vault, AZURE_MANAGEMENT_ENDPOINT=manager)
    first, second = done.stderr.splitlines()
    assert done.returncode == 1
    assert first.startswith(f"Not all secrets are written: GET {manager}/subscriptions/s/")
    assert first.endswith((" failed: BadStatusLine.", " failed: IncompleteRead."))
    assert "docs/deploy.md" in second
    assert vault.secrets == {}


@pytest.mark.parametrize("cut", BODIES)
def test_half_a_refusal_is_one_without_a_code(cut: str, serve: Serve) -> None:
    """What its body would say is not guessed. A whole one says it."""
    assert code_at(serve(CUTS[cut](403))) == ""
    whole = b"HTTP/1.1 403 X\r\nContent-Length: %d\r\n\r\n%s" % (len(REFUSAL), REFUSAL)
    assert code_at(serve(whole)) == "ForbiddenByRbac"


@pytest.mark.parametrize("cut", BODIES)
def test_half_a_refusal_is_still_a_refusal(cut: str, tmp_path: Path, vault: Vault, serve: Serve) -> None:
    """Its status came. So the vault is asked where Resource Manager refuses, as after a whole 403."""
    done = run("first_caller", tmp_path, vault, AZURE_MANAGEMENT_ENDPOINT=serve(CUTS[cut](403)))
    assert (done.returncode, list(vault.secrets)) == (0, ["callers"])


def code_at(url: str) -> str:
    """Return the code of the refusal that a server answers."""
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(url, timeout=10)
    with raised.value as refusal:
        return code_of(refusal)
