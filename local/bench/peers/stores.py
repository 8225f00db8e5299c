"""The stores of the peers: PostgreSQL with its default durability, and Redis with an append-only file."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from local.bench.peers.site import Site, needed
from local.stack.ports import free_port
from local.stack.process import PartError, wait_for

DEBIAN_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
SERVER_USER = "postgres"  # PostgreSQL refuses to run as root
READY_DEADLINE_S = 30.0
INIT_DEADLINE_S = 60.0


def postgres(site: Site) -> str:
    """Run a new PostgreSQL, and return its connection string. Raise PartError if it cannot run here."""
    initdb, server, client = (needed(name, "postgresql", DEBIAN_BINARIES) for name in ("initdb", "postgres", "psql"))
    data = site.folder / "postgres"
    data.mkdir()
    if os.geteuid() == 0:
        shutil.chown(data, SERVER_USER)
    as_user = _as_server_user()
    _done([*as_user, initdb, "--pgdata", str(data), "--auth", "trust", "--username", "bench", "--encoding", "UTF8"])
    port = free_port()
    options = ["-p", str(port), "-k", str(data), "-h", "127.0.0.1", "-c", "max_connections=200"]
    command = [server, "-D", str(data), *options]
    site.store("postgres", [*as_user, *command], stop=signal.SIGINT)  # SIGINT ends open connections, too
    url = f"postgresql://bench@127.0.0.1:{port}/postgres"
    if not wait_for(lambda: _answers([client, url, "--command", "SELECT 1"]), READY_DEADLINE_S):
        raise site.stores["postgres"].failure(f"not ready after {READY_DEADLINE_S:g} s")
    return url


def redis(site: Site) -> str:
    """Run a new Redis that flushes its append-only file each second, and return its URL."""
    server = needed("redis-server", "redis-server")
    port = free_port()
    options = ["--bind", "127.0.0.1", "--dir", str(site.folder), "--save", "", "--appendonly", "yes"]
    site.store("redis", [server, "--port", str(port), *options])
    if not wait_for(lambda: _listens(port), READY_DEADLINE_S):
        raise site.stores["redis"].failure(f"not ready after {READY_DEADLINE_S:g} s")
    return f"redis://127.0.0.1:{port}/0"


def version(command: str, package: str) -> str:
    """Return what a server says of its version, or that it is not installed."""
    try:
        path = needed(command, package, DEBIAN_BINARIES)
    except PartError:
        return f"no {package} here"
    return subprocess.run([path, "--version"], capture_output=True, check=False, text=True).stdout.strip()


def _as_server_user() -> list[str]:
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={SERVER_USER}", f"--regid={SERVER_USER}", "--clear-groups"]


def _done(command: Sequence[str]) -> None:
    """Run a command to its end. Raise PartError with what it wrote if it fails."""
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=INIT_DEADLINE_S, cwd="/")
    if done.returncode:
        raise PartError(Path(command[-1]).name, done.stderr.strip() or done.stdout.strip())


def _answers(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False, timeout=READY_DEADLINE_S).returncode == 0


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
